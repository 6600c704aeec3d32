-- ARGV: now, wanted, limit, after, newest_first
-- wanted: msgpack {states as digits, queue, task, parent, tag}, each may be false. Looks at no more than 500 jobs.
-- Returns where to go on, empty at the end; then for each job its description, msgpack of what else is known of it, its
-- progress, its stored outcome and its payload.

local wanted, limit = decode(ARGV[2]), tonumber(ARGV[3])
local states, queue, task, parent, tag = wanted[1], wanted[2], wanted[3], wanted[4], wanted[5]
local LOOK = 500
-- include listing.lua
local index, found = parent and P .. 'below:' .. parent, nil
if not parent then
    found = numbers_from(tonumber(ARGV[4]), ARGV[5] == '1', LOOK)
elseif ARGV[5] == '1' then
    found = call('ZREVRANGEBYSCORE', index, ARGV[4] == '0' and '+inf' or '(' .. ARGV[4], '-inf', 'LIMIT', 0, LOOK)
else
    found = call('ZRANGEBYSCORE', index, '(' .. ARGV[4], '+inf', 'LIMIT', 0, LOOK)
end

local function is_wanted(s, m)
    if states and not string.find(states, s[STATE], 1, true) then
        return false
    elseif (queue and m[QUEUE] ~= queue) or (task and m[TASK] ~= task) then
        return false
    elseif not tag then
        return true
    end
    for _, each in ipairs(m[TAGS] or {}) do
        if each == tag then
            return true
        end
    end
    return false
end

local answer, taken = { '' }, 0
for place, n in ipairs(found) do
    if taken >= limit then
        break
    elseif place % 100 == 1 then
        fetch({ unpack(found, place, math.min(place + 99, #found)) })
    end
    local job = load(n)
    answer[1] = n
    if job and is_wanted(job.s, meta(job)) then
        local s, fields = job.s, read(n, 'g', 'o', 'p')
        taken = taken + 1
        answer[#answer + 1] = job.raw
        answer[#answer + 1] = encode({
            tonumber(n), s[STATE], s[ATTEMPTS], s[CRASHES], s[CREATED], s[DUE], s[BEGUN], s[ENDED_AT], s[WORKER],
            s[OWNER] and true or false, s[UNRESPONSIVE], s[CANCEL], s[OURS], waits_for(job),
            parked_line(job) and s[PARKED] or false,
        })
        answer[#answer + 1] = fields[1]
        answer[#answer + 1] = fields[2]
        answer[#answer + 1] = fields[3]
    elseif not job and parent then -- its key was deleted by hand
        call('ZREM', index, n)
    end
end
if #found < LOOK or taken >= limit then
    answer[1] = ''
end
return answer
