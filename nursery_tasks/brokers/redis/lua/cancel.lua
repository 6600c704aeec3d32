-- ARGV: now, reason, ids...
-- Returns for each -1: unknown, or what `cancel` says.

local answers = {}
for i = 3, #ARGV do
    local job = find(ARGV[i])
    answers[#answers + 1] = job and cancel(job, ARGV[2]) or -1
end
return done(answers)
