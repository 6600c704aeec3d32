-- ARGV: now, the name of a state, its version
-- Returns 1, or 0 where it has another one.

local key = P .. 'state:' .. ARGV[2]
if call('HGET', key, 'v') ~= ARGV[3] then
    return 0
end
call('UNLINK', key)
call('ZREM', P .. 'states', ARGV[2])
return 1
