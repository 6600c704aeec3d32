-- ARGV: now, where the list begins, prefix, limit
-- Returns the last name that it has looked at, empty at the end; then for each state its name, version and size.

local limit = tonumber(ARGV[4])
local names = call('ZRANGEBYLEX', P .. 'states', ARGV[2], '[' .. ARGV[3] .. '\255', 'LIMIT', 0, limit)
local answer = { #names == limit and names[limit] or '' }
for _, name in ipairs(names) do
    local key = P .. 'state:' .. name
    local version = call('HGET', key, 'v')
    if version then
        answer[#answer + 1] = name
        answer[#answer + 1] = version
        answer[#answer + 1] = call('HSTRLEN', key, 'b')
    else -- an operator has deleted the key by hand
        call('ZREM', P .. 'states', name)
    end
end
return answer
