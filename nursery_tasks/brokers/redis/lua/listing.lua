-- Jobs in the order of their submission, from page to page.

-- The numbers of so many jobs behind one, or before it; 0: from the end.
local function numbers_from(after, newest_first, most)
    local numbers, command, from, to = {}, 'ZRANGEBYSCORE', math.floor(after / 10), '+inf'
    if newest_first then
        command, from, to = 'ZREVRANGEBYSCORE', after == 0 and '+inf' or from, '-inf'
    end
    local looked = 0
    while #numbers < most do
        local found = call(command, P .. 'pages', from, to, 'LIMIT', looked, 50)
        for _, page in ipairs(found) do
            local here, fields = {}, call('HKEYS', P .. 'jobs:' .. page)
            if #fields == 0 then -- somebody has deleted the key by hand
                call('ZREM', P .. 'pages', page)
            end
            for _, field in ipairs(fields) do
                local n = page .. cut(field, 2)
                local behind = tonumber(n) > after
                if newest_first then
                    behind = after == 0 or tonumber(n) < after
                end
                if cut(field, 1, 1) == 's' and behind then
                    here[#here + 1] = n
                end
            end
            table.sort(here, newest_first and function(one, other) return one > other end or nil)
            for _, n in ipairs(here) do
                numbers[#numbers + 1] = #numbers < most and n or nil
            end
        end
        looked = looked + 50
        if #found < 50 then
            break
        end
    end
    return numbers
end
