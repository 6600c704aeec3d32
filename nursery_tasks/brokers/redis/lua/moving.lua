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
    local m, s = meta(job), job.s
    local once = m[ONCE] and true or false -- an array has no holes
    ends[#ends + 1] = { id_of(job), m[QUEUE], m[TASK], state, s[ATTEMPTS], s[WORKER], s[CANCEL], s[CRASHES], once }
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
