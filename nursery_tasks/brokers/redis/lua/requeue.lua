-- ARGV: now, ids...
-- Returns 1 or 0 for each.

local answers = {}
for i = 2, #ARGV do
    local job = find(ARGV[i])
    local may = job and job.s[STATE] > SUCCEEDED
    if may and meta(job)[KEY] then
        may = call('HEXISTS', P .. 'keys', meta(job)[TASK] .. '\0' .. meta(job)[KEY]) == 0
    end
    answers[#answers + 1] = may and 1 or 0
    if may then
        change(job)
        local gate, first = job.s[GATE], meta(job)[LIMITS] and meta(job)[LIMITS][1]
        if first and (not gate or first[ORDERED]) then -- it was stored as a job that had ended; or it had its turn
            gate = gate_of(first, meta(job)[QUEUE])
        end
        local rank = job.s[RANK]
        job.s = { READY, 0, 0, 0, now, false, now, false, false, false, false, false, false, false, false }
        job.s[GATE] = gate
        if first and first[ORDERED] then
            job.s[PARKED], job.s[PARKED_UNTIL], job.s[TURN] = false, false, call('INCR', P .. 'seq')
        end
        if rank then
            for place = GATE, TURN do
                job.s[place] = job.s[place] or false -- an array has no holes
            end
            job.s[RANK] = rank
        end
        local key, tail = page_of(job.n)
        later(drop, key, 'o' .. tail, 'g' .. tail)
        hint('work', meta(job)[QUEUE])
        flush() -- the next one may have the same key
    end
end
return done(answers)
