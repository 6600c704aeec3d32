-- ARGV: now, name, 1: a pause begins or is changed, or 0: it ends; its record
-- Returns 0 where there is none to end, else 1.

local key, name = P .. 'pauses', ARGV[2]
if ARGV[3] == '1' then
    call('HSET', key, name, string.format('%.17g ', now) .. ARGV[4])
elseif call('HDEL', key, name) == 0 then
    return 0
end
call('HSET', key, '', call('INCR', P .. 'seq'))
hint('pause', name)
return done(1)
