-- ARGV: now, limit, worker, lease_seconds, 16 random bytes, msgpack of the names that the worker knows or nothing, queues...
-- Returns msgpack {now, rows}, then for each job its description and its payload. A row is what jobs that follow each other have
-- in common, and the list of their numbers. A token is the random bytes and the job's number.

-- include inbox.lua
local limit, worker, until_, random = tonumber(ARGV[2]), ARGV[3], now + tonumber(ARGV[4]), ARGV[5]
local until_text = string.format('%.17g', until_) -- once, and not for each job
local LEASE = P .. 'lease'
local rows, answer, taken = {}, { false }, 0
local LOOK = 1000 -- expired jobs that one claim passes over in a queue; the sweep ends them

local lifted = {} -- n of parked jobs that stand among the ready ones meanwhile -> the line where they are parked
local lifted_taken = {}

local function expiry_of(s)
    return s[EXPIRES] and s[ATTEMPTS] == 0 and s[CRASHES] == 0 and s[EXPIRES]
end

local reached = {} -- line of a fair queue -> the last rank that was taken from it

-- The packed state of the jobs of the last row, and what it becomes; nothing, where something is to be done for each of them.
local alike, alike_after

-- Note that a job is taken, whose new state is written.
local function hand_out(n, queue, packed, raw, payload)
    local key, tail = page_of(n)
    later(set, key, 's' .. tail, packed)
    later(add, LEASE, until_text, n)
    count(READY, queue, -1)
    count(CLAIMED, queue, 1)
    taken = taken + 1
    answer[2 * taken] = raw
    answer[2 * taken + 1] = payload
    local numbers = rows[#rows][9]
    numbers[#numbers + 1] = tonumber(n)
end

local function take(n, s, raw, payload, queue)
    if s[RANK] then
        local line = decode(raw)[PRIORITY] .. ' ' .. queue
        reached[line] = math.max(reached[line] or 0, s[RANK])
    end
    if lifted[n] then
        s[DUE] = math.min(s[DUE], now) -- who knows it need not wait until its time is over
    end
    local expires = expiry_of(s)
    rows[#rows + 1] = {
        s[ATTEMPTS], s[CRASHES], s[LAPSES], expires or -1, s[DUE], s[CREATED], s[OWNER] and 1 or 0,
        not lifted[n] and s[PARKED] or false, {},
    }
    if s[PARKED] then
        s[PARKED] = false
    end
    if lifted[n] then
        lifted_taken[n] = true
    end
    if expires then
        later(rem, P .. 'expiring', n)
    end
    s[STATE], s[TOKEN], s[WORKER], s[BEGUN] = CLAIMED, random, worker, false
    alike, alike_after = nil, encode(s)
    hand_out(n, queue, alike_after, raw, payload)
end

-- Take jobs without limits from a queue where nobody else stands at an open gate.
local function take_plain(queue)
    local key, passed = P .. 'ready:' .. queue, 0
    while taken < limit and passed < LOOK do
        local numbers = call('ZRANGE', key, passed, passed + math.min(limit - taken, AT_ONCE) - 1)
        if #numbers == 0 then
            break
        end
        local found, gone = read_all(numbers, 's', 'm', 'p'), {}
        for i, n in ipairs(numbers) do
            local state = found[3 * i - 2]
            if state and state == alike then
                hand_out(n, queue, alike_after, found[3 * i - 1], found[3 * i])
                gone[#gone + 1] = n
            else
                local s = state and decode(state)
                local expires = s and expiry_of(s)
                if expires and now >= expires then
                    passed = passed + 1
                else
                    gone[#gone + 1] = n -- also where somebody has deleted the job's fields by hand
                    if s then
                        take(n, s, found[3 * i - 1], found[3 * i], queue)
                        if not expires and not s[RANK] and not lifted[n] then
                            alike = state
                        end
                    end
                end
            end
        end
        many('ZREM', key, gone)
    end
end

-- Jobs with limits: one after the other, in one order with those that have none.

local function full_at(name)
    return tonumber(call('ZSCORE', P .. 'rates', name) or -math.huge)
end

local function has_room(each)
    if each[MOST] > 0 then
        return call('SCARD', P .. 'held:' .. each[NAME]) < each[MOST]
    end
    return now >= full_at(each[NAME]) - each[TOLERANCE]
end

local shut = {} -- gates that this claim has closed

local function close(gate, each, queue)
    shut[gate] = true
    call('ZREM', P .. 'open:' .. queue, gate)
    if each[MOST] == 0 then
        call('ZADD', P .. 'shut', full_at(each[NAME]) - each[TOLERANCE], gate)
        hint('due', queue)
    end
end

-- Let a ready job stand in line for another of its limits, which has no room.
local function move(job, each, queue)
    local before, after, score = job.s[GATE], gate_of(each, queue), score_of(job)
    call('ZREM', P .. 'line:' .. before, job.n)
    left_line(before)
    job.s[GATE] = after
    local key, tail = page_of(job.n)
    call('HSET', key, 's' .. tail, encode(job.s))
    call('ZADD', P .. 'line:' .. after, score, job.n)
    entered(after, score)
    if call('ZSCORE', P .. 'open:' .. queue, after) then
        close(after, each, queue)
    end
end

local function hold(job, each)
    call('SADD', P .. 'held:' .. each[NAME], job.n)
    call('ZADD', P .. 'limits', 0, each[NAME])
end

local function take_limited(job, gate, queue)
    local limits = meta(job)[LIMITS]
    for _, each in ipairs(limits) do
        if each[MOST] > 0 then
            hold(job, each)
        else
            call('ZADD', P .. 'rates', math.max(full_at(each[NAME]), now) + each[INTERVAL], each[NAME])
        end
    end
    if is_ordered(gate) then -- it keeps its turn, and stands elsewhere when it comes back
        job.s[GATE] = limits[2] and gate_of(limits[2], queue) or false
    end
    call('ZREM', P .. 'line:' .. gate, job.n)
    left_line(gate)
    take(job.n, job.s, job.raw, read(job.n, 'p')[1], queue)
end

local function take_in_order(queue)
    local key, open, late = P .. 'ready:' .. queue, P .. 'open:' .. queue, {}
    local page, at, passed, looks = {}, 1, 0, CLAIM_LOOKS

    -- The open gate whose first comes before those of the others, with that job's score and number.
    local function first_open()
        while true do
            local found = call('ZRANGE', open, 0, 0, 'WITHSCORES')
            local gate = found[1]
            if not gate then
                return nil
            end
            local score, n = first_at(gate, late[gate])
            if not score then
                call('ZREM', open, gate) -- it comes back below
            elseif score == tonumber(found[2]) then
                return gate, score, n
            else
                call('ZADD', open, score, gate)
            end
        end
    end

    local function first_plain()
        if not page[at] and passed < LOOK then
            page = call('ZRANGE', key, passed, passed + math.min(limit - taken, 100) - 1, 'WITHSCORES')
            at = 1
        end
        return page[at], tonumber(page[at + 1])
    end

    local function look_at(gate, n)
        local job = load(n)
        if not job then
            call('ZREM', P .. 'line:' .. gate, n)
            return left_line(gate)
        end
        local limits, blocker = meta(job)[LIMITS], nil
        for _, each in ipairs(limits) do
            local has = (each[ORDERED] and not is_ordered(gate)) or has_room(each) -- it has its turn, or waits for it here
            if not has and not each[REJECTS] and gate_of(each, queue) == gate then
                return close(gate, each, queue)
            end
            blocker = blocker or (not has and each)
        end
        local expires = expiry_of(job.s)
        if expires and now >= expires then
            late[gate] = (late[gate] or 0) + 1
        elseif not blocker then
            return take_limited(job, gate, queue)
        elseif blocker[REJECTS] then
            cancel(job, NO_ROOM .. blocker[NAME])
            flush()
            if lifted[n] then -- for `flush` it did not stand here
                call('ZREM', P .. 'line:' .. gate, n)
                left_line(gate)
            end
        else
            if is_ordered(gate) then
                hold(job, limits[1])
            end
            move(job, blocker, queue)
        end
    end

    while taken < limit do
        local gate, score, n = first_open()
        local plain, plain_score = first_plain()
        if gate and (not plain or score < plain_score) then
            if looks == 0 then
                hint('work', queue) -- another claim goes on
                break
            end
            local before = taken
            look_at(gate, n)
            looks = looks - (taken == before and 1 or 0)
        elseif plain then
            at = at + 2
            local fields = read_all({ plain }, 's', 'm', 'p')
            local s = fields[1] and decode(fields[1])
            local expires = s and expiry_of(s)
            if expires and now >= expires then
                passed = passed + 1
            else
                call('ZREM', key, plain)
                if s then
                    take(plain, s, fields[2], fields[3], queue)
                end
            end
        else
            break
        end
    end
    for gate in pairs(late) do -- whoever was passed over stands in front again
        local score = not shut[gate] and first_at(gate)
        if score then
            call('ZADD', open, score, gate)
        end
    end
end

-- Parked jobs whose names the worker knows: `lift` puts the first of a queue among its ready ones, where they stand in their
-- places for all that a claim heeds, and `put_down` takes out what is still there. Their own state stays what it is.

local function lift_line(line, queue)
    local key, found = P .. 'parked:' .. line, 0
    while found < PARKED_LOOKS do
        local numbers, here = call('ZRANGE', key, found, PARKED_LOOKS - 1), found
        for _, job in ipairs(loaded(key, numbers)) do
            if parked_line(job) == line then
                found = found + 1
                lifted[job.n] = line
                call('ZADD', ready_key(job), line_score(job), job.n)
                if job.s[GATE] then
                    entered(job.s[GATE], score_of(job))
                end
            else
                call('ZREM', key, job.n) -- see PARKED_UNTIL
            end
        end
        if #numbers < PARKED_LOOKS - here then
            break
        end
    end
    left_parking(line)
end

local names -- that the worker knows; read where something is parked

local function lift(queue)
    names = names or decode(ARGV[6])
    for _, line in ipairs(parked_lines(queue, names)) do
        lift_line(line, queue)
    end
end

local function put_down(queue)
    local number = 0
    for n, line in pairs(lifted) do
        if lifted_taken[n] then
            number = number + 1
            call('ZREM', P .. 'due', n)
            call('ZREM', P .. 'parked:' .. line, n)
            left_parking(line)
        else
            local job = load(n)
            if job then
                call('ZREM', ready_key(job), n)
                if job.s[GATE] then
                    left_line(job.s[GATE])
                end
            end
        end
    end
    if number > 0 then
        add_number(P .. 'counts', SCHEDULED .. queue, -number)
        add_number(P .. 'counts', READY .. queue, number)
    end
    lifted, lifted_taken = {}, {}
end

local claimed = {}
for i = 7, #ARGV do
    claimed[ARGV[i]] = true
end
for _, gate in ipairs(call('ZRANGEBYSCORE', P .. 'shut', '-inf', now, 'LIMIT', 0, LOOK)) do
    local queue = open_gate(gate)
    if queue and not claimed[queue] then
        hint('work', queue) -- no sweep will find it closed any more
    end
end
local is_parked = ARGV[6] ~= '' and call('EXISTS', P .. 'parked') == 1
for i = 7, #ARGV do
    local queue = ARGV[i]
    if taken < limit and call('SISMEMBER', P .. 'paused', queue) == 0 then
        if is_parked then
            lift(queue)
        end
        if call('EXISTS', P .. 'open:' .. queue) == 0 then
            take_plain(queue)
        else
            take_in_order(queue)
        end
        if is_parked then
            put_down(queue)
        end
    end
end
for line, rank in pairs(reached) do
    call('ZADD', P .. 'fair', 'GT', rank, line)
    call('SADD', P .. 'reached', line)
end
if taken == 0 then
    answer = {}
else
    answer[1] = encode({ now, rows })
end
return told(answer)
