-- ARGV: now, lease_seconds, tokens...
-- Returns for each 0: lost, 1: held, or the reason of the cancel that was asked for, which may be empty.

local until_, answers, leases, numbers = now + tonumber(ARGV[2]), {}, {}, {}
for i = 3, #ARGV do
    numbers[i - 2] = cut(ARGV[i], 17)
end
fetch(numbers)
for i = 3, #ARGV do
    local token = ARGV[i]
    local job = load(numbers[i - 2])
    if job and token_of(job) == token then
        leases[#leases + 1] = until_
        leases[#leases + 1] = job.n
        answers[#answers + 1] = job.s[CANCEL] or 1
    else
        answers[#answers + 1] = 0
    end
end
many('ZADD', P .. 'lease', leases)
return answers
