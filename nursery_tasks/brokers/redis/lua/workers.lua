-- ARGV: now
-- Returns for each worker that counts when it was seen, a space, and its record.

local names = call('ZRANGEBYSCORE', P .. 'beats', string.format('(%.17g', now), '+inf')
local answer = {}
for _, name in ipairs(names) do
    answer[#answer + 1] = call('HGET', P .. 'workers', name)
end
return answer
