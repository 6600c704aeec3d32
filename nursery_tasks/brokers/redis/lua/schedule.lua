-- ARGV: now, names...
-- Returns for each its version, moment and body; nothing where there is no such schedule.

local answers = {}
for i = 2, #ARGV do
    local fields = call('HMGET', P .. 'schedule:' .. ARGV[i], 'v', 'a', 'b')
    answers[i - 1] = fields[1] and fields
end
return answers
