-- What the scripts of schedules have in common. See `layout.py`.

local function forget_schedule(name)
    call('UNLINK', P .. 'schedule:' .. name)
    call('ZREM', P .. 'schedules', name)
    call('ZREM', P .. 'looks', name)
end

local function has_version(name, version)
    return tonumber(call('HGET', P .. 'schedule:' .. name, 'v') or 0) == tonumber(version)
end

-- Store a row anew, or remove it where `kept` says so.
local function put_schedule(name, look_at, kept, body)
    if kept ~= '1' then
        forget_schedule(name)
    else
        call('HSET', P .. 'schedule:' .. name, 'v', call('INCR', P .. 'seq'), 'a', look_at, 'b', body)
        call('ZADD', P .. 'schedules', 0, name)
        if look_at ~= '' then
            call('ZADD', P .. 'looks', look_at, name)
        else
            call('ZREM', P .. 'looks', name)
        end
    end
    hint('schedule', name)
end

-- Add what there is of each of these to an answer: its name, version, moment and body. Where a key was deleted by hand, its name
-- goes as well: it would stay the most overdue of all.
local function add_schedules(answer, names)
    for _, name in ipairs(names) do
        local fields = call('HMGET', P .. 'schedule:' .. name, 'v', 'a', 'b')
        if fields[1] then
            answer[#answer + 1] = name
            for place = 1, 3 do
                answer[#answer + 1] = fields[place]
            end
        else
            forget_schedule(name)
        end
    end
end

