-- ARGV: now, limit
-- Returns msgpack {now, seconds until the next look or -1}, then for each schedule its name, version, moment and body.

-- include scheduling.lua
local limit = tonumber(ARGV[2])
local found = call('ZRANGEBYSCORE', P .. 'looks', '-inf', now, 'LIMIT', 0, limit)
local after = call('ZRANGE', P .. 'looks', #found, #found, 'WITHSCORES')[2]
local answer = { encode({ now, after and math.max(0, tonumber(after) - now) or -1 }) }
add_schedules(answer, found)
return answer
