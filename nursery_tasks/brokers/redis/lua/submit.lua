-- ARGV: now, then the jobs as `storing.lua` takes them
-- Returns the answers of that.

local first = 2
-- include storing.lua
return told(answers)
