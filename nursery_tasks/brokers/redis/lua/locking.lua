-- Locks: see `layout.py`.

-- Note when the first lease at a lock is over, or that nobody is there any more.
local function note_lock(name)
    local first = call('ZRANGE', P .. 'lockers:' .. name, 0, 0, 'WITHSCORES')
    if first[1] then
        call('ZADD', P .. 'locks', first[2], name)
    else
        call('ZREM', P .. 'locks', name)
    end
end

local function leave_lock(name, holder)
    local key = P .. 'lock:' .. name
    if call('ZRANGE', key, 0, 0)[1] == holder then
        call('HDEL', P .. 'tokens', name)
    end
    call('ZREM', P .. 'lockers:' .. name, holder)
    return call('ZREM', key, holder)
end

local function drop_lockers(name)
    for _, holder in ipairs(call('ZRANGEBYSCORE', P .. 'lockers:' .. name, '-inf', now, 'LIMIT', 0, AT_ONCE)) do
        leave_lock(name, holder)
    end
    note_lock(name)
end
