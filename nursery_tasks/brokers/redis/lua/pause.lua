-- ARGV: now, queue, 1: pause or 0: resume

if ARGV[3] == '1' then
    call('SADD', P .. 'paused', ARGV[2])
else
    call('SREM', P .. 'paused', ARGV[2])
    hint('work', ARGV[2])
end
return done(1)
