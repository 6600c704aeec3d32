-- ARGV: now
-- Returns how many jobs of layout 1 it has moved; 0: there are no more.

-- include taking_over.lua
return take_over()
