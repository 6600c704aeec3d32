-- ARGV: now, id
-- Returns nothing, or the job as `jobs.lua` does.

local job = find(ARGV[2])
if not job then
    return {}
end
local s, fields = job.s, read(job.n, 'g', 'o', 'p')
local rest = encode({
    tonumber(job.n), s[STATE], s[ATTEMPTS], s[CRASHES], s[CREATED], s[DUE], s[BEGUN], s[ENDED_AT], s[WORKER],
    s[OWNER] and true or false, s[UNRESPONSIVE], s[CANCEL], s[OURS], waits_for(job),
    parked_line(job) and s[PARKED] or false,
})
return { job.raw, rest, fields[1], fields[2], fields[3] }
