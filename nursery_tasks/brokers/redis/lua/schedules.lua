-- ARGV: now, the name after which the list goes on, limit
-- Returns the last name that it has looked at, empty at the end; then for each schedule its name, version, moment and body.

-- include scheduling.lua
local limit = tonumber(ARGV[3])
local found = call('ZRANGEBYLEX', P .. 'schedules', '(' .. ARGV[2], '+', 'LIMIT', 0, limit)
local answer = { #found == limit and found[limit] or '' }
add_schedules(answer, found)
return answer
