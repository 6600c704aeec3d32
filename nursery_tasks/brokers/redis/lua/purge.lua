-- ARGV: now, queue, states, limit, after
-- states: a digit for each. Looks at no more than 1000 jobs.
-- Returns how many were deleted, and where to go on: empty at the end.

-- include listing.lua
local queue, states, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local found = numbers_from(tonumber(ARGV[5]), false, 1000)
fetch(found)
local deleted, last = 0, ''
for _, n in ipairs(found) do
    local job = load(n)
    if deleted >= limit then
        break
    end
    last = n
    if job and string.find(states, job.s[STATE], 1, true) and meta(job)[QUEUE] == queue and not is_needed(job) then
        change(job)
        job.dropped = true
        deleted = deleted + 1
        hint('outcome', id_of(job))
    end
end
if #found < 1000 or deleted >= limit then
    last = ''
end
return done({ deleted, last })
