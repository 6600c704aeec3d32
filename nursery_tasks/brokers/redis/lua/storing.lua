-- What stores new jobs: a piece of the scripts that do so, and no function, in which every name from outside costs a look more.
-- What they are given of the jobs is in ARGV from `first` on: how, the number of jobs, then for each its description and its
-- payload, then blobs.
-- how: msgpack, place in the batch -> {delay, start_at, expires, owner, owner_seconds, state, outcome, window, max_length,
-- {share, weight}}, for jobs where any of these is set; owner, outcome: the place among the blobs, which are bytes, and the server's msgpack knows
-- only text. state: it is stored as a job that has ended like that. window: {name, seconds, most, bytes of the id}, see
-- `layout.py`
-- Leaves in `answers` for each job 1, or the id of the job that stands for it, or 0: its queue is full.

local how, answers = decode(ARGV[first]), {}
local submitted = tonumber(ARGV[first + 1])
local blobs = first + 1 + 2 * submitted -- they begin after it
local numbers = call('INCRBY', P .. 'seq', submitted) - submitted

for i = 1, submitted do -- leases first: they count for all jobs of the batch
    local each = how[i]
    if each and each[4] then
        each[4] = ARGV[blobs + each[4]]
    end
    if each and each[4] and each[5] > 0 then
        local owner, key = each[4], P .. 'owner_leases'
        local score = tonumber(call('ZSCORE', key, owner) or now)
        if score <= 0 then -- whoever owned the jobs that are left was told that they are cancelled
            if call('ZCARD', P .. 'owned:' .. owner) > LET_GO_AT_ONCE then -- the sweeps do that, under another name
                local rest = owner .. '~' .. call('INCR', P .. 'seq')
                call('RENAME', P .. 'owned:' .. owner, P .. 'owned:' .. rest)
                call('ZADD', key, GONE_OWNER, rest)
            else
                cancel_owned(owner, OWNER_GONE)
                flush()
            end
        end
        call('ZADD', key, math.max(score, now + each[5]), owner)
    end
end

local function is_held(token)
    local job = load(cut(token, 17))
    return job and token_of(job) == token
end

local stored = {} -- queue -> jobs of this batch that wait there and are not among the counts yet

local function is_full(queue, most)
    local waiting = stored[queue] or 0
    if waiting < most then
        for _, number in ipairs(call('HMGET', P .. 'counts', SCHEDULED .. queue, READY .. queue)) do
            waiting = waiting + (tonumber(number) or 0)
        end
    end
    return waiting >= most
end

local function is_gone(each)
    return each[4] and each[5] <= 0 and not is_held(each[4])
end

local function due_at(each)
    if each[2] then
        return math.max(now, each[2])
    elseif each[1] then
        return math.max(now, now + each[1])
    end
    return now
end

local function open_window(name, id, till)
    call('HSET', P .. 'windows', name, encode({ id, till }))
    call('ZADD', P .. 'window_ends', till, name)
end

-- Let a scheduled job be another submission from now on, with its own id, owner and place.
local function replace(job, each, raw, payload, due)
    flush() -- it may be of this very batch
    stored = {}
    local s, old, id = job.s, meta(job), id_of(job)
    local _, m = read_about(raw)
    if old[LIMITS] then
        give_places_back(job, true)
    end
    if s[TURN] then
        s[TURN] = false
    end
    job.raw = cut(raw, 1, 1) .. encode(id) .. cut(raw, 2 + each[8][4])
    job.m = m
    s[DUE], s[EXPIRES] = due, each[3] and due + each[3] or false
    s[GATE] = m[LIMITS] and gate_of(m[LIMITS][1], m[QUEUE]) or false
    local key, tail = page_of(job.n)
    call('HSET', key, 's' .. tail, encode(s), 'm' .. tail, job.raw, 'p' .. tail, payload)
    call('ZADD', P .. 'due', due, job.n)
    if s[EXPIRES] then
        call('ZADD', P .. 'expiring', s[EXPIRES], job.n)
    else
        call('ZREM', P .. 'expiring', job.n)
    end
    if old[QUEUE] ~= m[QUEUE] then
        add_number(P .. 'counts', SCHEDULED .. old[QUEUE], -1)
        add_number(P .. 'counts', SCHEDULED .. m[QUEUE], 1)
    end
    if old[PARENT] ~= m[PARENT] then
        if old[PARENT] then
            call('ZREM', P .. 'below:' .. old[PARENT], job.n)
        end
        if m[PARENT] then
            call('ZADD', P .. 'below:' .. m[PARENT], tonumber(job.n), job.n)
        end
    end
    hint('due', m[QUEUE])
end

-- The job that stands for a submission whose window is open: its id, and the job if it is known. Of a debounce it is this
-- submission from now on.
local function find_in_window(each, raw, payload, new)
    local name, is_debounce, most = each[8][1], each[8][2] == 0, each[8][3]
    local found = call('HGET', P .. 'windows', name)
    local id, till = nil, 0
    if found then
        id, till = unpack(decode(found))
    end
    if till <= now then
        return
    end
    local n = new[id] or call('HGET', P .. 'ids', id)
    local job = n and load(n)
    if is_debounce then
        if not job or job.s[STATE] ~= SCHEDULED or job.s[DUE] ~= till then
            return
        end
        if not is_gone(each) then
            local due = due_at(each)
            if most then
                due = math.max(now, math.min(due, job.s[CREATED] + most))
            end
            replace(job, each, raw, payload, due)
            open_window(name, id, due)
        end
    end
    return id, job
end

local PLAIN = {} -- how nearly all are to be stored
-- Take a rank: see `brokers/rules/shares.py`.
local function rank_of(m, share)
    local line = m[PRIORITY] .. ' ' .. m[QUEUE]
    local start = tonumber(call('ZSCORE', P .. 'fair', line) or 0)
    start = math.max(start, tonumber(call('ZSCORE', P .. 'finish:' .. line, share[1]) or 0))
    call('ZADD', P .. 'finish:' .. line, start + SHARE_STEP / share[2], share[1])
    return math.floor(start)
end

local ids, keys = {}, {}
local said = {} -- place in the batch -> what the description there says without the id, and behind these the ids themselves
for from = 1, submitted, AT_ONCE do
    local to, asked, found = math.min(from + AT_ONCE - 1, submitted), {}, {}
    for i = from, to do
        local id, m = read_about(ARGV[first + 2 * i])
        asked[#asked + 1] = id
        said[i], said[submitted + i] = m, id
    end
    for place, n in ipairs(call('HMGET', P .. 'ids', unpack(asked))) do
        if n then
            ids[asked[place]] = n
            found[#found + 1] = n
        end
    end
    fetch(found)
end

-- Nearly all are stored like this: nothing is to be done for one of them alone, so that they are written together.
local packed_ready = encode({ READY, 0, 0, 0, now, false, now, false, false, false, false, false, false, false, false })
local IDS, unwritten = P .. 'ids', false -- such jobs are not in `jobs`

local function is_plain(m)
    if m.plain == nil then
        m.plain = not (m[LIMITS] or m[KEY] or m[PARENT])
        m.ready = P .. 'ready:' .. m[QUEUE]
        m.score = (19 - m[PRIORITY]) * 70368744177664
    end
    return m.plain
end

for i = 1, submitted do
    local raw = ARGV[first + 2 * i]
    local m, id = said[i], said[submitted + i]
    local each = how[i] or PLAIN
    local known = ids[id]
    if not known and m[KEY] then
        local unique = m[TASK] .. '\0' .. m[KEY]
        known = keys[unique] or call('HGET', P .. 'keys', unique)
    end
    if known and unwritten then
        flush()
        stored, unwritten = {}, false
    end
    local job, stands = known and load(known), nil
    if not job and each[8] then
        stands, job = find_in_window(each, raw, ARGV[first + 1 + 2 * i], ids)
    end
    if stands and not job then
        answers[i] = stands
    elseif job then
        if not each[4] and job.s[OWNER] and job.s[STATE] <= STARTED then
            detach(job) -- somebody else may rely on it from now on
        end
        answers[i] = id_of(job)
    elseif each == PLAIN and is_plain(m) then
        local n, queue = string.format('%014d', numbers + i), m[QUEUE]
        store(n, packed_ready, raw, ARGV[first + 1 + 2 * i])
        later(set, IDS, id, n)
        later(add, m.ready, m.score + numbers + i, n)
        count(READY, queue, 1)
        hint('work', queue)
        stored[queue] = (stored[queue] or 0) + 1
        ids[id], unwritten = n, true
        answers[i] = 1
    elseif each[6] then
        local s = {
            each[6], 0, 0, 0, now, false, now, false, false, now, false, false, false, each[4] or false, false,
        }
        job = { n = string.format('%014d', numbers + i), s = s, raw = raw, id = id, m = m, dirty = true }
        job.payload = ARGV[first + 1 + 2 * i]
        job.outcome = ARGV[blobs + each[7]]
        jobs[job.n], ids[id] = job, job.n
        dirty[#dirty + 1] = job
        hint('outcome', id)
        answers[i] = 1
    elseif (each[9] or 0) > 0 and not is_gone(each) and is_full(m[QUEUE], each[9]) then
        answers[i] = 0
    else
        local due = each == PLAIN and now or due_at(each)
        local waits = due > now
        local s = {
            waits and SCHEDULED or READY, 0, 0, 0, due, each[3] and due + each[3] or false, now, false,
            false, false, false, false, false, each[4] or false, false,
        }
        if m[LIMITS] then
            s[GATE] = gate_of(m[LIMITS][1], m[QUEUE])
        end
        if each[10] then
            s[GATE], s[PARKED], s[PARKED_UNTIL], s[TURN] = s[GATE] or false, false, false, false -- an array has no holes
            s[RANK] = rank_of(m, each[10])
        end
        job = { n = string.format('%014d', numbers + i), s = s, raw = raw, id = id, m = m, dirty = true }
        job.payload = ARGV[first + 1 + 2 * i]
        jobs[job.n], ids[id] = job, job.n
        dirty[#dirty + 1] = job
        if each ~= PLAIN and is_gone(each) then
            cancel(job, OWNER_GONE)
        else
            if each[8] then
                open_window(each[8][1], id, each[8][2] == 0 and due or now + each[8][2])
            end
            stored[m[QUEUE]] = (stored[m[QUEUE]] or 0) + 1
            hint(waits and 'due' or 'work', m[QUEUE])
            if m[KEY] then
                keys[m[TASK] .. '\0' .. m[KEY]] = job.n
            end
        end
        answers[i] = 1
    end
end
