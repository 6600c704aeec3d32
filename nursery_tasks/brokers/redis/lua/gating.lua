-- Gates: see `layout.py`. A gate is named by the rule, the queue and the name of its limit.

local function gate_of(limit, queue)
    return limit[RULE] .. ' ' .. queue .. ' ' .. limit[NAME]
end

local function gate_parts(gate) -- queue, name of the limit
    local _, queue, name = string.match(gate, '^(%S+) (%S+) (.*)$')
    return queue, name
end

local function forget_limit(name)
    if call('EXISTS', P .. 'gates:' .. name, P .. 'held:' .. name) == 0 then
        call('ZREM', P .. 'limits', name)
    end
end

-- The score of the first who stands at a gate, or of the one behind so many; and its n. Nothing: nobody is there.
local function first_at(gate, behind)
    local first = call('ZRANGE', P .. 'line:' .. gate, behind or 0, behind or 0, 'WITHSCORES')
    if not first[1] or not is_ordered(gate) then
        return tonumber(first[2]), first[1]
    end
    local job = load(first[1])
    return job and score_of(job) or 0, first[1] -- 0: somebody has deleted its key by hand; a claim takes it out
end

-- A job with this score has come to stand at a gate, which is open if it is new; returns whether it is.
local function entered(gate, score)
    local queue, name = gate_parts(gate)
    if call('SADD', P .. 'gates:' .. name, gate) == 1 then
        call('ZADD', P .. 'limits', 0, name)
        call('ZADD', P .. 'open:' .. queue, score, gate)
        return true
    end
    call('ZADD', P .. 'open:' .. queue, 'XX', 'LT', score, gate)
    return false
end

-- Jobs have gone from a gate, which is no more when nobody stands there.
local function left_line(gate)
    if call('EXISTS', P .. 'line:' .. gate) == 0 then
        local queue, name = gate_parts(gate)
        call('SREM', P .. 'gates:' .. name, gate)
        call('ZREM', P .. 'open:' .. queue, gate)
        call('ZREM', P .. 'shut', gate)
        forget_limit(name)
    end
end

-- Open a gate, if somebody stands there and it is closed; returns its queue, or nothing.
local function open_gate(gate)
    local queue = gate_parts(gate)
    local score = first_at(gate)
    call('ZREM', P .. 'shut', gate)
    if score and call('ZADD', P .. 'open:' .. queue, 'NX', score, gate) == 1 then
        return queue
    end
end

-- A worker does not hold a job any more: its places are free, and its turn, if it has ended.
local function give_places_back(job, ended)
    for _, limit in ipairs(meta(job)[LIMITS]) do
        local name = limit[NAME]
        if limit[MOST] > 0 and (ended or not limit[ORDERED]) and call('SREM', P .. 'held:' .. name, job.n) == 1 then
            for _, gate in ipairs(call('SMEMBERS', P .. 'gates:' .. name)) do
                local queue = open_gate(gate)
                if queue then
                    hint('work', queue)
                end
            end
            forget_limit(name)
        end
    end
end

-- The limit that a ready job waits for, when that had no room at the last look; else false.
local function waits_for(job)
    local gate = job.s[GATE]
    if job.s[STATE] ~= READY or not gate then
        return false
    end
    local queue, name = gate_parts(gate)
    return not call('ZSCORE', P .. 'open:' .. queue, gate) and name
end
