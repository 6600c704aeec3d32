-- ARGV: now, name, ttl_seconds (0: it goes), record

local ttl = tonumber(ARGV[3])
if ttl > 0 then
    call('ZADD', P .. 'beats', now + ttl, ARGV[2])
    call('HSET', P .. 'workers', ARGV[2], string.format('%.17g ', now) .. ARGV[4])
else
    call('ZREM', P .. 'beats', ARGV[2])
    call('HDEL', P .. 'workers', ARGV[2])
end
return 1
