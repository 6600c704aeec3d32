-- Owners, and what belongs to them.

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
