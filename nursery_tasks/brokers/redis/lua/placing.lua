-- Which index holds a job, with which score, and how a script says that it changes one.

-- Where a ready job stands among the others.
local function score_of(job)
    return (19 - meta(job)[PRIORITY]) * 70368744177664 + (job.s[RANK] or tonumber(job.n)) + CRASH_STEP * job.s[CRASHES]
end

local function is_ordered(gate)
    return string.sub(gate, 1, #ORDER + 1) == ORDER .. ' '
end

-- Where it stands in its line: at the gate of an ordering key by its turn, and else as among the others.
local function line_score(job)
    local gate = job.s[GATE]
    if gate and is_ordered(gate) then
        return job.s[TURN] or tonumber(job.n)
    end
    return score_of(job)
end

-- The line in which a job is parked: the queue, a space, the name; or nothing.
local function parked_line(job)
    local s = job.s
    if s[STATE] == SCHEDULED and s[PARKED] and s[PARKED_UNTIL] == s[DUE] then
        return meta(job)[QUEUE] .. ' ' .. s[PARKED]
    end
end

local function find(id)
    local n = call('HGET', P .. 'ids', id)
    return n and load(n)
end

local function may_expire(s)
    return s[EXPIRES] and s[STATE] < CLAIMED and s[ATTEMPTS] == 0 and s[CRASHES] == 0
end

-- Say that a job is about to be changed.
local function change(job)
    if not job.dirty then
        local s = job.s
        job.dirty, job.before, job.expiring, job.asked = true, s[STATE], may_expire(s), s[CANCEL]
        job.parked = parked_line(job)
        dirty[#dirty + 1] = job
    end
    return job.s
end

local function hint(topic, name, said)
    local names = hints[topic]
    if not names then
        names = { list = {} }
        hints[topic] = names
    end
    if not names[name] then
        names[name] = true
        names.list[#names.list + 1] = said or name
    end
end

local function later(buffer, key, first, second)
    local list = buffer[key]
    if not list then
        list = {}
        buffer[key] = list
    end
    list[#list + 1] = first
    if second then
        list[#list + 1] = second
    end
end

local function run(command, buffer)
    for key, list in pairs(buffer) do
        for from = 1, #list, AT_ONCE do
            call(command, key, unpack(list, from, math.min(from + AT_ONCE - 1, #list)))
        end
    end
end

local function many(command, key, list)
    for from = 1, #list, AT_ONCE do
        call(command, key, unpack(list, from, math.min(from + AT_ONCE - 1, #list)))
    end
end

local function add_number(hash, field, number)
    if call('HINCRBY', hash, field, number) == 0 then
        call('HDEL', hash, field)
    end
end

local function ready_key(job)
    local gate = job.s[GATE]
    return P .. (gate and 'line:' .. gate or 'ready:' .. meta(job)[QUEUE])
end

-- For how many seconds the outcome of such a job is kept.
local function kept_for(m, state)
    if state == FAILED or state == DEAD then
        return math.max(m[KEEP], DEAD_TTL_SECONDS)
    end
    return m[KEEP]
end

-- The index that holds a job in a state, and the job's score there.
local function place(job, state)
    if state == SCHEDULED then
        return P .. 'due', job.s[DUE]
    elseif state == READY then
        return ready_key(job), line_score(job)
    elseif state <= STARTED then
        return P .. 'lease', job.lease
    end
    return P .. 'ended', job.s[ENDED_AT] + kept_for(meta(job), state)
end

local function index_of(job, state)
    if state == SCHEDULED then
        return P .. 'due'
    elseif state == READY then
        return ready_key(job)
    end
    return P .. (state <= STARTED and 'lease' or 'ended')
end
