-- What the scripts of outgoing messages have in common. See `layout.py`.

-- Whether a message can be put at the end of this line; not, where another program has made another thing of its key.
local function is_line(destination)
    local kind = call('TYPE', P .. 'outgoing:' .. destination).ok
    return kind == 'stream' or kind == 'none'
end

-- Refuse a script before it has changed anything.
local function not_a_line(destination)
    return redis.error_reply('ERR the key outgoing:' .. destination .. ' is no stream, somebody has made another thing of it')
end

local function put_outgoing(destination, body)
    local position = call('INCR', P .. 'seq') .. '-0'
    call('XADD', P .. 'outgoing:' .. destination, position, 'a', string.format('%.6f', now), 'b', body)
    call('ZADD', P .. 'outboxes', 0, destination)
    hint('outgoing', destination)
end
