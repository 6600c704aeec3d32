-- ARGV: now, name, version, look_at or nothing, 1 where there is a body, the body, then the jobs as `storing.lua` takes them
-- Returns nothing when the schedule has another version; else the answers of `storing.lua`.

-- include scheduling.lua
local name, key = ARGV[2], P .. 'schedule:' .. ARGV[2]
if tonumber(call('HGET', key, 'v') or 0) ~= tonumber(ARGV[3]) then
    return false
end
local first = 7
-- include storing.lua
if ARGV[5] == '1' then
    call('HSET', key, 'v', call('INCR', P .. 'seq'), 'a', ARGV[4], 'b', ARGV[6])
    call('ZADD', P .. 'schedules', 0, name)
    if ARGV[4] ~= '' then
        call('ZADD', P .. 'looks', ARGV[4], name)
    else
        call('ZREM', P .. 'looks', name)
    end
else
    forget_schedule(name)
end
hint('schedule', name)
return done(answers)
