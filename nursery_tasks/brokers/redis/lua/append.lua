-- ARGV: now, writer, sequence, count, body, keep_seconds, most, how many batches go in one call, WRITER_SECONDS, an id for a new log
-- Returns 1, or 0: it was there already.

local writer, sequence, count = P .. 'events:' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stream, about = P .. 'events', P .. 'event_log'
if tonumber(call('GET', writer) or 0) >= sequence then
    return 0
end
call('SET', writer, sequence + count - 1, 'EX', ARGV[9])
call('HSETNX', about, 'id', ARGV[10])
local last = call('HINCRBY', about, 'last', count)
local number = string.format('%.0f', last - count + 1)
call('XADD', stream, number .. '-0', 'c', count, 't', string.format('%.6f', now), 'w', ARGV[2], 's', sequence, 'b', ARGV[5])

local before, up_to = now - tonumber(ARGV[6]), last - tonumber(ARGV[7])
for _ = 1, tonumber(ARGV[8]) do
    local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1] -- one at a time: they may be large
    local fields = oldest[2]
    local ends = tonumber(string.match(oldest[1], '^%d+')) + tonumber(fields[2]) - 1
    if tonumber(fields[4]) >= before and ends > up_to then
        break
    end
    call('XDEL', stream, oldest[1])
end
hint('log', '')
return done(1)
