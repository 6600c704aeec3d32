-- Take over what layout 1 has stored, and keep its workers from touching what they would not understand.

local AT_A_TIME = 500

-- The two keys where layout 1 had sets under these names stay as strings, which each claim and each sweep of its scripts stumbles
-- over before it has moved a job. Its clients may submit: what they store is found, and taken over.
local function fence()
    if call('GET', P .. 'layout') and call('TYPE', P .. 'closed').ok == 'string' and call('TYPE', P .. 'owners').ok == 'string' then
        return
    end
    for old, new in pairs({ closed = 'shut', owners = 'owner_leases' }) do
        if call('TYPE', P .. old).ok == 'zset' then
            call('ZUNIONSTORE', P .. new, 2, P .. new, P .. old, 'AGGREGATE', 'MAX')
        end
        call('SET', P .. old, 'see layout')
    end
    call('SET', P .. 'layout', LAYOUT)
end

-- Move some of the jobs; return how many. 0: there are no more.
local function take_over()
    fence()
    local numbers = call('ZRANGE', P .. 'all', 0, AT_A_TIME - 1)
    for _, n in ipairs(numbers) do
        adopt(n)
    end
    return #numbers
end
