-- ARGV: now, destination, limit, most bytes
-- Returns the position and the body of each of the oldest; the first, however large it is.

local key, limit, room = P .. 'outgoing:' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, from = {}, '-'
while limit > 0 do
    local entries = call('XRANGE', key, from, '+', 'COUNT', math.min(limit, 16))
    for _, entry in ipairs(entries) do
        local body = entry[2][4]
        if #answer > 0 and #body > room then
            return answer
        end
        room = room - #body
        answer[#answer + 1] = string.match(entry[1], '^%d+')
        answer[#answer + 1] = body
    end
    if #entries < 16 then
        break
    end
    limit, from = limit - #entries, '(' .. entries[#entries][1]
end
return answer
