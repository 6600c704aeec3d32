-- ARGV: now, then for each change: name, version, look_at or nothing, 1 where there is a body, the body
-- Returns 1 for each that was made, and 0 for each whose schedule has another version.

-- include scheduling.lua
local answers = {}
for i = 2, #ARGV, 5 do
    local current = has_version(ARGV[i], ARGV[i + 1])
    if current then
        put_schedule(ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    end
    answers[#answers + 1] = current and 1 or 0
end
return done(answers)
