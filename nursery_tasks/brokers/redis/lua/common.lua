-- What every script begins with: the clock, the jobs that a call touches, and the indexes that follow them.
--
-- A script changes jobs in memory (`change`), and `flush` writes them: the job's fields, and for each index only the
-- difference between where the job was and where it is. Nothing is written before the first `flush`, except for the number
-- that a submission takes; so what a script refuses, it refuses before it has changed anything.
--
-- A job here is a table: n = its number, padded; s = its state, an array, once `load` has unpacked it; raw = its description as the client packed it, of which
-- `meta` and `id_of` tell when somebody asks; before = the state in which it was found, nil for a new one; lease = when its lease
-- will be over.

local P = KEYS[1]
local call, decode, encode = redis.call, cmsgpack.unpack, cmsgpack.pack
local cut, byte = string.sub, string.byte
local layout = call('GET', P .. 'layout')
if layout and layout ~= LAYOUT then
    return redis.error_reply('ERR what is stored has layout ' .. layout .. ', and this version of nursery-tasks knows ' .. LAYOUT)
end
local now = tonumber(ARGV[1]) -- only tests say it
if not now then
    local time = call('TIME')
    now = time[1] + time[2] / 1000000
end

-- s
local STATE, ATTEMPTS, CRASHES, LAPSES, DUE, EXPIRES, CREATED, WORKER = 1, 2, 3, 4, 5, 6, 7, 8
local BEGUN, ENDED_AT, TOKEN, CANCEL, UNRESPONSIVE, OWNER, OURS = 9, 10, 11, 12, 13, 14, 15
local GATE = 16 -- of a job with limits: where it stands in line while it is ready, or will
-- the name under which a worker has parked it, until it is claimed; and the moment when that is over. Is this not `DUE`, a
-- script that does not know parking has moved the job
local PARKED, PARKED_UNTIL = 17, 18
local TURN = 19 -- of a job with an ordering key: its place in that line, if a requeue gave it one; else it is n
local RANK = 20 -- of a job in a fair queue: what stands in place of its number
-- meta
local ID, QUEUE, TASK, PRIORITY, KEEP, MAX_CRASHES, KEY, PARENT, TAGS = 1, 2, 3, 4, 5, 6, 7, 8, 9
local LIMITS, ONCE = 11, 12 -- not there, or a list of limits; whether its start is its last; 10 is for clients
local NAME, RULE, MOST, INTERVAL, TOLERANCE, REJECTS, ORDERED = 1, 2, 3, 4, 5, 6, 7 -- of a limit

local PARKED_KEPT = 7 * 86400 -- seconds that a line of parked jobs outlives the last one that came, whatever has gone from it
local LET_GO_AT_ONCE = 5000 -- jobs that are cancelled in the step in which their owners end
local GONE_OWNER, ENDED_OWNER = 0, -1 -- scores of owners that nobody can prolong
local AT_ONCE = 2000 -- arguments of one command: Lua's unpack() fails above 8000
local jobs, dirty, hints = {}, {}, {}
local rem, add, drop, set, counts = {}, {}, {}, {}, {} -- what the next `flush` writes; the last: state, queue -> how many more
local pages = {} -- that stand in the index

-- The key of the page on which a job stands, what the names of its fields there end with, and the page.
local page_keys = {}
local function page_of(n)
    local page = cut(n, 1, 12)
    local key = page_keys[page]
    if not key then
        key = P .. 'jobs:' .. page
        page_keys[page] = key
    end
    return key, cut(n, 13), page
end

local abouts = {} -- description without the id -> the same, decoded: jobs of one task are alike

-- A description: the id, and the rest as a table that jobs share.
local function read_about(raw)
    local kind, from, to = byte(raw, 2), 3, nil
    if kind == 217 then -- 32 to 255 bytes
        from = 4
        to = 3 + byte(raw, 3)
    elseif kind < 192 then -- up to 31
        to = 2 + kind - 160
    else
        from = 5
        to = 4 + 256 * byte(raw, 3) + byte(raw, 4)
    end
    local rest = cut(raw, to + 1)
    local about = abouts[rest]
    if not about then
        about = decode(raw)
        about[ID] = nil
        abouts[rest] = about
    end
    return cut(raw, from, to), about
end

-- Move a job that layout 1 has stored to where it is now; return whether there was one.
local function adopt(n)
    local old = call('HMGET', P .. 'j:' .. n, 's', 'm', 'p', 'o', 'g')
    call('ZREM', P .. 'all', n)
    if not old[1] then
        return false
    end
    local key, tail, page = page_of(n)
    local s = decode(old[1])
    if s[TOKEN] then
        s[TOKEN] = cut(s[TOKEN], 1, 16)
    end
    call('HSET', key, 's' .. tail, encode(s), 'm' .. tail, old[2], 'p' .. tail, old[3])
    for place, letter in pairs({ [4] = 'o', [5] = 'g' }) do
        if old[place] then
            call('HSET', key, letter .. tail, old[place])
        end
    end
    call('ZADD', P .. 'pages', tonumber(page), page)
    call('UNLINK', P .. 'j:' .. n)
    return true
end

-- Look for jobs of these numbers, all at once; `load` knows them from then on.
local function fetch(numbers)
    local wanted = {}
    for _, n in ipairs(numbers) do
        if jobs[n] == nil then
            jobs[n] = false
            local key, tail = page_of(n)
            local fields = wanted[key]
            if not fields then
                fields = { numbers = {} }
                wanted[key] = fields
            end
            fields.numbers[#fields.numbers + 1] = n
            fields[#fields + 1] = 's' .. tail
            fields[#fields + 1] = 'm' .. tail
        end
    end
    for key, fields in pairs(wanted) do
        local found = call('HMGET', key, unpack(fields))
        for i, n in ipairs(fields.numbers) do
            local packed, raw = found[2 * i - 1], found[2 * i]
            if not packed and adopt(n) then
                packed, raw = unpack(call('HMGET', key, fields[2 * i - 1], fields[2 * i]))
            end
            if packed then
                jobs[n] = { n = n, packed = packed, raw = raw }
            end
        end
    end
end

local function load(n)
    if jobs[n] == nil then
        fetch({ n })
    end
    local job = jobs[n]
    if job and not job.s then
        job.s = decode(job.packed)
    end
    return job
end

-- Some fields of a job, by their letters.
local function read(n, ...)
    local key, tail = page_of(n)
    local names = {}
    for i, letter in ipairs({ ... }) do
        names[i] = letter .. tail
    end
    return call('HMGET', key, unpack(names))
end

-- The jobs of numbers that stand in an index. Of one that is not there any more, somebody has deleted the key by hand: its
-- number is taken out, because what stays there would stop everything behind it.
local function loaded(key, numbers)
    local there = {}
    fetch(numbers)
    for _, n in ipairs(numbers) do
        local job = load(n)
        if job then
            there[#there + 1] = job
        else
            call('ZREM', key, n)
        end
    end
    return there
end

local function meta(job)
    if not job.m then
        job.id, job.m = read_about(job.raw)
    end
    return job.m
end

local function id_of(job)
    if not job.id then
        meta(job)
    end
    return job.id
end

-- The token of the worker that holds a job: the random bytes of its claim, and the job's number.
local function token_of(job)
    local random = job.s[TOKEN]
    return random and random .. job.n
end

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

local function hint(topic, name)
    local names = hints[topic]
    if not names then
        names = { list = {} }
        hints[topic] = names
    end
    if not names[name] then
        names[name] = true
        names.list[#names.list + 1] = name
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

-- Note that so many more jobs of a queue are in a state.
local function count(state, queue, number)
    local of_state = counts[state]
    if not of_state then
        of_state = {}
        counts[state] = of_state
    end
    of_state[queue] = (of_state[queue] or 0) + number
end

-- Write a new job's fields.
local function store(n, state, raw, payload, outcome)
    local key, tail, page = page_of(n)
    if not pages[page] then
        pages[page] = true
        later(add, P .. 'pages', tonumber(page), page)
    end
    later(set, key, 's' .. tail, state)
    later(set, key, 'm' .. tail, raw)
    later(set, key, 'p' .. tail, payload)
    if outcome then -- a record
        later(set, key, 'o' .. tail, outcome)
    end
end

local function flush()
    local owners, limited = {}, nil
    local lines, left = {}, {} -- lines that jobs have come to, or gone from; pages from which jobs have gone
    for _, job in ipairs(dirty) do
        local s, n, before, m = job.s, job.n, job.before, meta(job)
        local after = not job.dropped and s[STATE] or nil
        if not after then
            local key, tail, page = page_of(n)
            left[page] = true
            later(drop, key, 's' .. tail, 'm' .. tail)
            later(drop, key, 'p' .. tail, 'o' .. tail)
            later(drop, key, 'g' .. tail)
            if m[PARENT] then
                later(rem, P .. 'below:' .. m[PARENT], n)
            end
            later(drop, P .. 'ids', job.id)
        elseif not before then
            store(n, encode(s), job.raw, job.payload, job.outcome)
            if m[PARENT] then
                later(add, P .. 'below:' .. m[PARENT], tonumber(n), n)
            end
            later(set, P .. 'ids', job.id, n)
        else
            local key, tail = page_of(n)
            later(set, key, 's' .. tail, encode(s))
            if job.outcome then
                later(set, key, 'o' .. tail, job.outcome)
            elseif job.outcome == false then
                later(drop, key, 'o' .. tail)
            end
        end
        if before ~= after then
            if m[LIMITS] then
                limited = limited or {}
                limited[#limited + 1] = { job, before, after }
            end
            local queue = m[QUEUE]
            local from = before and index_of(job, before)
            local to, score
            if after then
                to, score = place(job, after)
                count(after, queue, 1)
            end
            if before then
                count(before, queue, -1)
            end
            if from and from ~= to then
                later(rem, from, n)
            end
            if to and from ~= to then
                later(add, to, score, n)
            end
            local lived, lives = before and before <= STARTED, after and after <= STARTED
            if lived ~= lives and m[KEY] then
                local unique = m[TASK] .. '\0' .. m[KEY]
                if lives then
                    later(set, P .. 'keys', unique, n)
                elseif lived then
                    later(drop, P .. 'keys', unique)
                end
            end
            local owner = s[OWNER]
            if owner and lived ~= lives and (lives or lived) then
                owners[owner] = (owners[owner] or 0) + (lives and 1 or -1)
                if lives and not s[CANCEL] then
                    later(add, P .. 'owned:' .. owner, tonumber(n), n)
                elseif lived and not job.asked then
                    later(rem, P .. 'owned:' .. owner, n)
                end
            end
        end
        if before and s[OWNER] and before <= STARTED and after == before and s[CANCEL] and not job.asked then
            later(rem, P .. 'owned:' .. s[OWNER], n)
        end
        if job.disowned then
            if before and before <= STARTED then
                owners[job.disowned] = (owners[job.disowned] or 0) - 1
                if not job.asked then
                    later(rem, P .. 'owned:' .. job.disowned, n)
                end
            end
            job.disowned = nil
        end
        local line = after and parked_line(job)
        if job.parked and job.parked ~= line then
            later(rem, P .. 'parked:' .. job.parked, n)
            lines[job.parked] = true
        end
        if line and job.parked ~= line then
            later(add, P .. 'parked:' .. line, score_of(job), n)
            lines[line] = true
        end
        job.parked = line
        local expiring = after and may_expire(s)
        if job.expiring and not expiring then
            later(rem, P .. 'expiring', n)
        elseif expiring and not job.expiring then
            later(add, P .. 'expiring', s[EXPIRES], n)
        end
        job.dirty, job.outcome, job.before = false, nil, after
        if not after then
            jobs[n] = false
        end
    end
    dirty = {}
    run('ZREM', rem)
    run('ZADD', add)
    for line in pairs(lines) do
        note_parking(line)
        left_parking(line)
    end
    for _, each in ipairs(limited or {}) do
        local job, before, after = each[1], each[2], each[3]
        local gate = job.s[GATE]
        local held, ended = before == CLAIMED or before == STARTED, not after or after > STARTED
        if before == READY and gate then
            left_line(gate)
        end
        if before and before <= STARTED and (ended or (held and after < CLAIMED)) then
            give_places_back(job, ended)
        end
        if after == READY and gate then
            entered(gate, score_of(job))
        end
    end
    run('HDEL', drop)
    run('HSET', set)
    for page in pairs(left) do
        if call('EXISTS', P .. 'jobs:' .. page) == 0 then
            call('ZREM', P .. 'pages', page)
        end
    end
    for state, queues in pairs(counts) do
        for queue, number in pairs(queues) do
            if number ~= 0 then
                add_number(P .. 'counts', state .. queue, number)
            end
        end
    end
    for owner, number in pairs(owners) do
        if number ~= 0 then
            add_number(P .. 'parents', owner, number)
        end
    end
    rem, add, drop, set, counts = {}, {}, {}, {}, {}
end

-- Write what is left and tell the listeners; the last thing that a script does.
local function done(answer)
    flush()
    for topic, names in pairs(hints) do
        for from = 1, #names.list, AT_ONCE do
            local to = math.min(from + AT_ONCE - 1, #names.list)
            redis.pcall('PUBLISH', P .. 'hint:' .. topic, encode({ unpack(names.list, from, to) })) -- the step stands without it
        end
    end
    return answer
end

-- The moves that more than one script makes.

local function finish(job, state)
    local s = change(job)
    s[STATE], s[TOKEN], s[UNRESPONSIVE], s[ENDED_AT] = state, false, false, now
    hint('outcome', id_of(job))
end

-- End a job whose outcome is the broker's own: clients make it of what `s` says. `OURS` is 2 where it is dead because its one
-- start was its last.
local function finish_ours(job, state)
    change(job)[OURS] = state == DEAD and meta(job)[ONCE] and 2 or true
    finish(job, state)
end

local function give_back(job, delay, park)
    local s = change(job)
    if s[CANCEL] then
        return finish_ours(job, CANCELLED)
    end
    s[TOKEN], s[UNRESPONSIVE], s[DUE] = false, false, now + math.max(0, delay)
    local waits = s[DUE] > now
    s[STATE] = waits and SCHEDULED or READY
    hint('change', id_of(job))
    hint(waits and 'due' or 'work', meta(job)[QUEUE])
    if park and waits then
        s[GATE] = s[GATE] or false -- an array has no holes
        s[PARKED], s[PARKED_UNTIL] = park, s[DUE]
        hint('work', meta(job)[QUEUE]) -- a worker that knows it may be idle
    elseif s[PARKED] then
        s[PARKED] = false
    end
end

local function cancel(job, reason) -- 0 it had ended, 1 cancelled, 2 its worker is told
    if job.s[STATE] > STARTED then
        return 0
    end
    local s = change(job)
    s[CANCEL] = s[CANCEL] or reason
    if s[TOKEN] then
        hint('cancel', id_of(job))
        return 2
    end
    finish_ours(job, CANCELLED)
    return 1
end

-- Whether an owner is a job that has not ended.
local function lives(owner)
    local job = string.sub(owner, 1, 4) == 'job:' and find(string.sub(owner, 5))
    return job and job.s[STATE] <= STARTED
end

-- Whether an ended job belongs to a job that has not ended, which may ask for its outcome again.
local function is_needed(job)
    return job.s[OWNER] and job.s[STATE] > STARTED and lives(job.s[OWNER])
end

-- Take a job that has not ended away from its owner; it is not moved before the next `flush`.
local function detach(job)
    local s = change(job)
    job.disowned, s[OWNER] = s[OWNER], false
end

-- Cancel what belongs to an owner, except for jobs that are being cancelled; return how many. Flush before.
local function cancel_owned(owner, reason, limit)
    if limit and limit <= 0 then
        return 0
    end
    local key = P .. 'owned:' .. owner
    local found = call('ZRANGE', key, 0, limit and limit - 1 or -1)
    for _, job in ipairs(loaded(key, found)) do
        cancel(job, reason)
    end
    many('ZREM', key, found) -- they were told, and the set may have another name than the owner by now: see `submit.lua`
    return #found
end

-- Let an owner go with what belongs to it; what is too much for one step is left to the sweeps. Return whether that is nothing.
local let_go = 0
local function end_owner(owner, reason)
    let_go = let_go + cancel_owned(owner, reason, LET_GO_AT_ONCE - let_go)
    if let_go >= LET_GO_AT_ONCE then
        call('ZADD', P .. 'owner_leases', reason == OWNER_ENDED and ENDED_OWNER or GONE_OWNER, owner)
    end
    return let_go < LET_GO_AT_ONCE
end


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
