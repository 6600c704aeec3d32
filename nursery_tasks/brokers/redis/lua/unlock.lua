-- ARGV: now, then for each lock its name and the holder
-- Returns 1 or 0 for each.

local answers = {}
for i = 2, #ARGV, 2 do
    local name = ARGV[i]
    answers[#answers + 1] = leave_lock(name, ARGV[i + 1])
    if answers[#answers] == 1 then
        note_lock(name)
        hint('lock', name)
    end
end
return done(answers)
