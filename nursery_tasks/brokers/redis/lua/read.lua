-- ARGV: now, the number of the last event that is known, limit
-- Returns the log's id, the numbers of its last and its first event, then entries of the stream.

local stream, about = P .. 'events', P .. 'event_log'
local after, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local last = tonumber(call('HGET', about, 'last') or 0)
local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local first = oldest and string.match(oldest[1], '^%d+') or last + 1
local answer = { call('HGET', about, 'id'), last, tonumber(first) }
if after >= last or limit == 0 then
    return answer
end

-- The entry that holds the event after it is the last one that does not begin behind that.
local from = call('XREVRANGE', stream, string.format('%.0f', after + 1), '-', 'COUNT', 1)[1]
local begin = from and from[1] or '-'
for _, entry in ipairs(call('XRANGE', stream, begin, '+', 'COUNT', limit + 1)) do
    local ends = tonumber(string.match(entry[1], '^%d+')) + tonumber(entry[2][2]) - 1
    if #answer < 3 + limit and ends > after then
        answer[#answer + 1] = entry
    end
end
return answer
