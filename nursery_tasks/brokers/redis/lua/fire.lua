-- ARGV: now, name, version, look_at or nothing, 1 where there is a body, the body, then the jobs as `storing.lua` takes them
-- Returns nothing when the schedule has another version; else the answers of `storing.lua`.

-- include scheduling.lua
if not has_version(ARGV[2], ARGV[3]) then
    return false
end
local first = 7
-- include storing.lua
put_schedule(ARGV[2], ARGV[4], ARGV[5], ARGV[6])
return done(answers)
