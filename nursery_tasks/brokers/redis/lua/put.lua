-- ARGV: now, the name of a state or nothing, its version, its body, then for each message its destination and its body
-- Returns the new version; 0: the state has another one, and nothing was done. Without a state: 1.

-- include sending.lua
local name, key, new = ARGV[2], P .. 'state:' .. ARGV[2], 1
for i = 5, #ARGV, 2 do
    if not is_line(ARGV[i]) then
        return not_a_line(ARGV[i])
    end
end
if name ~= '' then
    if tonumber(call('HGET', key, 'v') or 0) ~= tonumber(ARGV[3]) then
        return 0
    end
    new = call('INCR', P .. 'seq')
    call('HSET', key, 'v', new, 'b', ARGV[4])
    call('ZADD', P .. 'states', 0, name)
end
for i = 5, #ARGV, 2 do
    put_outgoing(ARGV[i], ARGV[i + 1])
end
return done(new)
