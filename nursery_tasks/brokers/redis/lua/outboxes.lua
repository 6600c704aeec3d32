-- ARGV: now, the destination after which the list goes on, limit
-- Returns the last destination that it has looked at, empty at the end; the time; then for each its name, how many messages wait,
-- and when the first was stored.

local limit = tonumber(ARGV[3])
local destinations = call('ZRANGEBYLEX', P .. 'outboxes', '(' .. ARGV[2], '+', 'LIMIT', 0, limit)
local answer = { #destinations == limit and destinations[limit] or '', string.format('%.6f', now) }
for _, destination in ipairs(destinations) do
    local key = P .. 'outgoing:' .. destination
    local first = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    if first then
        answer[#answer + 1] = destination
        answer[#answer + 1] = call('XLEN', key)
        answer[#answer + 1] = first[2][2]
    else -- an operator has deleted the key by hand
        call('ZREM', P .. 'outboxes', destination)
    end
end
return answer
