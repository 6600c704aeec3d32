-- ARGV: now, reason, 1 where only the owner's jobs are meant, the owner, ids...
-- Returns for each -1: unknown, or what `cancel` says.

local answers = {}
for i = 5, #ARGV do
    local job = find(ARGV[i])
    if job and ARGV[3] == '1' and (job.s[OWNER] ~= ARGV[4] or job.s[STATE] > STARTED) then
        job = false
    end
    answers[#answers + 1] = job and cancel(job, ARGV[2]) or -1
end
return told(answers)
