-- ARGV: now, msgpack of the names that the worker knows, queues...
-- Returns 1 where a job of these queues is parked under one of them, else 0.

if call('EXISTS', P .. 'parked') == 0 then
    return 0
end
local names = decode(ARGV[2])
for i = 3, #ARGV do
    if #parked_lines(ARGV[i], names) > 0 then
        return 1
    end
end
return 0
