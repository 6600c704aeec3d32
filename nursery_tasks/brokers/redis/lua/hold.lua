-- ARGV: now, lease_seconds, owners...
-- Returns 1 or 0 for each.

local seconds, answers, key = tonumber(ARGV[2]), {}, P .. 'owner_leases'
for i = 3, #ARGV do
    local owner = ARGV[i]
    local score = tonumber(call('ZSCORE', key, owner) or 0)
    if score <= 0 then
        answers[#answers + 1] = 0
    else
        answers[#answers + 1] = 1
        if seconds > 0 then
            call('ZADD', key, now + seconds, owner)
        else
            if end_owner(owner, OWNER_GONE) then
                call('ZREM', key, owner)
            end
        end
    end
end
return told(answers)
