-- ARGV: now, name, holder, lease_seconds, 1 where it waits
-- Returns the token, or 0.

local name, holder, seconds = ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = P .. 'lock:' .. name
drop_lockers(name)
if not call('ZSCORE', key, holder) then
    if ARGV[5] == '0' and call('EXISTS', key) == 1 then
        return 0
    end
    call('ZADD', key, call('INCR', P .. 'seq'), holder)
end
call('ZADD', P .. 'lockers:' .. name, now + seconds, holder)
note_lock(name)
if call('ZRANGE', key, 0, 0)[1] ~= holder then
    return 0
end
local token = call('HGET', P .. 'tokens', name)
if not token then
    token = call('INCR', P .. 'seq')
    call('HSET', P .. 'tokens', name, token)
end
return tonumber(token)
