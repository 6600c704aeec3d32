-- ARGV: now, limit, worker, lease_seconds, 16 random bytes, queues...
-- Returns msgpack {now, rows of numbers}, then for each job its description and its payload. A token is the random bytes and
-- the job's number.

local limit, worker, until_, random = tonumber(ARGV[2]), ARGV[3], now + tonumber(ARGV[4]), ARGV[5]
local rows, answer, leases, expiring, counts = {}, { false }, {}, {}, {}
local LOOK = 1000 -- expired jobs that one claim passes over in a queue; the sweep ends them

for i = 6, #ARGV do
    local queue = ARGV[i]
    local key, passed, taken = P .. 'ready:' .. queue, 0, {}
    while #rows < limit and passed < LOOK and call('SISMEMBER', P .. 'paused', queue) == 0 do
        local found = call('ZRANGE', key, passed, passed + math.min(limit - #rows, AT_ONCE) - 1)
        if #found == 0 then
            break
        end
        for _, n in ipairs(found) do
            local job = P .. 'j:' .. n
            local fields = call('HMGET', job, 's', 'm', 'p')
            local s = fields[1] and decode(fields[1])
            local expires = s and s[EXPIRES] and s[ATTEMPTS] == 0 and s[CRASHES] == 0 and s[EXPIRES]
            if not s then
                call('ZREM', key, n) -- somebody has deleted the job's key by hand
            elseif expires and now >= expires then
                passed = passed + 1
            else
                rows[#rows + 1] = {
                    tonumber(n), s[ATTEMPTS], s[CRASHES], s[LAPSES], expires or -1, s[DUE], s[CREATED], s[OWNER] and 1 or 0,
                }
                answer[#answer + 1] = fields[2]
                answer[#answer + 1] = fields[3]
                s[STATE], s[TOKEN], s[WORKER], s[BEGUN] = CLAIMED, random .. n, worker, false
                call('HSET', job, 's', encode(s))
                leases[#leases + 1] = until_
                leases[#leases + 1] = n
                taken[#taken + 1] = n
                if expires then
                    expiring[#expiring + 1] = n
                end
            end
        end
        many('ZREM', key, taken)
        if #taken > 0 then
            counts[queue] = (counts[queue] or 0) + #taken
        end
        taken = {}
    end
end
if #rows == 0 then
    return {}
end
many('ZADD', P .. 'lease', leases)
many('ZREM', P .. 'expiring', expiring)
for queue, number in pairs(counts) do
    add_number(P .. 'counts', READY .. queue, -number)
    add_number(P .. 'counts', CLAIMED .. queue, number)
end
answer[1] = encode({ now, rows })
return answer
