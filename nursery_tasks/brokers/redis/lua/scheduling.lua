-- What the scripts of schedules have in common. See `layout.py`.

local function forget_schedule(name)
    call('UNLINK', P .. 'schedule:' .. name)
    call('ZREM', P .. 'schedules', name)
    call('ZREM', P .. 'looks', name)
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

