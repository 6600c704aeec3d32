-- ARGV: now
-- Returns the version; then for each pause its name, when it began, a space and its record, and how many jobs are parked for it.

local fields, waiting = call('HGETALL', P .. 'pauses'), {}
for _, line in ipairs(call('SMEMBERS', P .. 'paused_lines')) do
    local name = name_of_line(line)
    waiting[name] = (waiting[name] or 0) + call('ZCARD', P .. 'parked:' .. line)
end
local answer = { 0 }
for i = 1, #fields, 2 do
    if fields[i] == '' then
        answer[1] = tonumber(fields[i + 1])
    else
        answer[#answer + 1] = fields[i]
        answer[#answer + 1] = fields[i + 1]
        answer[#answer + 1] = waiting[fields[i]] or 0
    end
end
return answer
