-- Parked jobs: see `layout.py`.

-- The lines of a queue where jobs are parked under one of these names. It asks for each name, of which a worker has some, and
-- does not look through the lines: other programs can make as many as they like.
local function parked_lines(queue, names)
    local lines, there = {}, {}
    for i, name in ipairs(names) do
        lines[i] = queue .. ' ' .. name
    end
    for from = 1, #lines, AT_ONCE do
        local to = math.min(from + AT_ONCE - 1, #lines)
        for i, is_there in ipairs(call('SMISMEMBER', P .. 'parked', unpack(lines, from, to))) do
            if is_there == 1 then
                there[#there + 1] = lines[from + i - 1]
            end
        end
    end
    return there
end

local function name_of_line(line)
    return string.sub(line, string.find(line, ' ', 1, true) + 1)
end

-- Jobs have come to where they are parked, or gone from there.
local function note_parking(line)
    call('SADD', P .. 'parked', line)
    if string.sub(name_of_line(line), 1, #PAUSED) == PAUSED then
        call('SADD', P .. 'paused_lines', line)
    end
    call('EXPIRE', P .. 'parked:' .. line, PARKED_KEPT)
end

-- Jobs have gone from where they were parked.
local function left_parking(line)
    if call('EXISTS', P .. 'parked:' .. line) == 0 then
        call('SREM', P .. 'parked', line)
        call('SREM', P .. 'paused_lines', line)
    end
end
