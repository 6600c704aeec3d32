-- What a script has changed in memory is written, and listeners are told.

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

-- The same for scripts that end jobs themselves: beside the answer stands which.
local function told(answer)
    return { done(answer), #ends > 0 and encode(ends) }
end
