-- ARGV: now, limit
-- Returns msgpack {due, returned, died, expired, orphaned, dropped, next due or -1, next room or -1, next look or -1, version of
-- the pauses}

-- include taking_over.lua
take_over()

local limit = tonumber(ARGV[2])
local LOOK = 4000 + limit -- lost jobs that one sweep looks at: some of them wait for what they own, and hide those behind them
local FORGET = 10000 -- rates that are as good as new, and shares of one line, and windows that are over
local LINES = 100 -- of fair queues
local AWAY_SECONDS = 3 -- no sweep for longer: nobody was there, or nobody came through
local RENEW_SECONDS = 5 -- after that, for workers and owners to be back: a call that hangs is given up after 5 s, as it comes
local NOTE_SECONDS = 0.5 -- how exactly it is noted when the last sweep was: one write per second is enough for many workers

-- Say until when leases must have been over for being taken back. Workers sweep every second, so when nobody has done that for
-- a while nobody could renew either: this server was away, or the network was. Then all leases are over at once, and whoever
-- comes back first would take the jobs of workers that live. So everybody first gets the time to renew.
local function believed()
    if tonumber(ARGV[1]) then
        return now -- a test's clock moves as it is told to
    end
    local key = P .. 'swept'
    local seen = call('HMGET', key, 'at', 'from')
    local at, from = tonumber(seen[1] or now), tonumber(seen[2] or 0)
    if now - at > AWAY_SECONDS then
        from = now + RENEW_SECONDS
        call('HSET', key, 'at', now, 'from', from)
    elseif not seen[1] or math.abs(now - at) > NOTE_SECONDS then
        call('HSET', key, 'at', now)
    end
    return now < from and 0 or now
end
local over = believed()

local function lost() -- and when each lease was over
    local key, found, numbers, ends = P .. 'lease', nil, {}, {}
    found = call('ZRANGEBYSCORE', key, '-inf', over, 'WITHSCORES', 'LIMIT', 0, LOOK)
    for i = 1, #found, 2 do
        numbers[#numbers + 1] = found[i]
        ends[found[i]] = tonumber(found[i + 1])
    end
    return loaded(key, numbers), ends
end

-- The jobs of owners that are gone, and of deliveries whose lease is over.
local left = limit
local gone = call('ZRANGEBYSCORE', P .. 'owner_leases', '-inf', over, 'WITHSCORES', 'LIMIT', 0, LOOK)
for i = 1, #gone, 2 do
    local owner, has_ended = gone[i], tonumber(gone[i + 1]) == ENDED_OWNER
    if not has_ended and lives(owner) then
        call('ZADD', P .. 'owner_leases', now + JOB_OWNER_SECONDS, owner)
    else
        left = left - cancel_owned(owner, has_ended and OWNER_ENDED or OWNER_GONE, left)
        if left > 0 then
            call('ZREM', P .. 'owner_leases', owner)
        else
            call('ZADD', P .. 'owner_leases', has_ended and ENDED_OWNER or GONE_OWNER, owner) -- another sweep goes on
        end
    end
end
if call('EXISTS', P .. 'parents') == 1 then
    flush()
    for _, job in ipairs((lost())) do
        left = left - cancel_owned(token_of(job), OWNER_ENDED, left)
    end
end
flush()

local due = loaded(P .. 'due', call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, limit))
for _, job in ipairs(due) do
    change(job)[STATE] = READY
    hint('work', meta(job)[QUEUE])
end
flush()

-- What is parked for a pause that is over, in its order.
local ready = #due
local paused_lines = call('SMEMBERS', P .. 'paused_lines')
table.sort(paused_lines)
for _, line in ipairs(paused_lines) do
    if call('HEXISTS', P .. 'pauses', name_of_line(line)) == 0 then
        local key = P .. 'parked:' .. line
        local first = ready < limit and call('ZRANGE', key, 0, limit - ready - 1) or {}
        for _, job in ipairs(loaded(key, first)) do
            if parked_line(job) == line then
                local s = change(job)
                s[STATE], s[PARKED], s[DUE] = READY, false, now
                ready = ready + 1
                hint('work', meta(job)[QUEUE])
            else
                call('ZREM', key, job.n) -- a script that does not know parking has moved it
            end
        end
        flush()
        left_parking(line)
    end
end

local expired = loaded(P .. 'expiring', call('ZRANGEBYSCORE', P .. 'expiring', '-inf', now, 'LIMIT', 0, limit))
for _, job in ipairs(expired) do
    finish_ours(job, EXPIRED)
end
flush()

local function may_return(job, lease)
    local token = token_of(job)
    if call('HEXISTS', P .. 'parents', token) == 0 then
        return true
    end
    return now >= lease + OWNED_GRACE_SECONDS and call('EXISTS', P .. 'owned:' .. token) == 0
end

local returned, died = 0, 0
local found, ends = lost()
for _, job in ipairs(found) do
    if returned + died < limit and may_return(job, ends[job.n]) then
        local s = change(job)
        s[LAPSES] = s[LAPSES] + 1
        s[CRASHES] = s[CRASHES] + (s[STATE] == STARTED and 1 or 0)
        if s[CANCEL] or s[STATE] == CLAIMED or (s[CRASHES] < meta(job)[MAX_CRASHES] and not meta(job)[ONCE]) then
            returned = returned + 1
            give_back(job, 0)
        else
            died = died + 1
            finish_ours(job, DEAD)
        end
    end
end
flush()

local kept = call('ZRANGEBYSCORE', P .. 'ended', '-inf', now, 'LIMIT', 0, limit)
local dropped = 0
for _, job in ipairs(loaded(P .. 'ended', kept)) do
    if is_needed(job) then
        call('ZADD', P .. 'ended', now + KEPT_SECONDS, job.n)
    else
        change(job)
        job.dropped = true
        dropped = dropped + 1
    end
end
for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'beats', '-inf', now, 'LIMIT', 0, limit)) do
    call('ZREM', P .. 'beats', worker)
    call('HDEL', P .. 'workers', worker)
end
flush()

for _, gate in ipairs(call('ZRANGEBYSCORE', P .. 'shut', '-inf', now, 'LIMIT', 0, LOOK)) do
    local queue = open_gate(gate)
    if queue then
        hint('work', queue)
    end
end
local new = call('ZCOUNT', P .. 'rates', '-inf', now)
if new > 0 then
    call('ZREMRANGEBYRANK', P .. 'rates', 0, math.min(new, FORGET) - 1)
end
local closed = call('ZRANGEBYSCORE', P .. 'window_ends', '-inf', now, 'LIMIT', 0, FORGET)
many('ZREM', P .. 'window_ends', closed)
many('HDEL', P .. 'windows', closed)
for _, line in ipairs(call('SPOP', P .. 'reached', LINES)) do
    local done_with = call('ZCOUNT', P .. 'finish:' .. line, '-inf', call('ZSCORE', P .. 'fair', line))
    if done_with > 0 then
        call('ZREMRANGEBYRANK', P .. 'finish:' .. line, 0, math.min(done_with, FORGET) - 1)
    end
    if done_with > FORGET then
        call('SADD', P .. 'reached', line)
    end
end
for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'locks', '-inf', now, 'LIMIT', 0, LOOK)) do
    drop_lockers(name)
    hint('lock', name)
end

local function next_of(key) -- when its first moment comes, from now
    local first = call('ZRANGE', P .. key, 0, 0, 'WITHSCORES')[2]
    return first and math.max(0, tonumber(first) - now) or -1
end

return told(encode({
    ready, returned, died, #expired, limit - left, dropped, next_of('due'), next_of('shut'), next_of('looks'),
    tonumber(call('HGET', P .. 'pauses', '') or 0),
}))
