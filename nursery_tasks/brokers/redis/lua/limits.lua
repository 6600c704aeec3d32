-- ARGV: now, limit
-- Returns for each limit in use its name, and msgpack {running, waiting, when it opens or false}.

local answer = {}
for _, name in ipairs(call('ZRANGEBYLEX', P .. 'limits', '-', '+', 'LIMIT', 0, math.max(0, tonumber(ARGV[2])))) do
    local waiting, opens_at = 0, false
    for _, gate in ipairs(call('SMEMBERS', P .. 'gates:' .. name)) do
        waiting = waiting + call('ZCARD', P .. 'line:' .. gate)
        local moment = tonumber(call('ZSCORE', P .. 'shut', gate) or nil)
        if moment and (not opens_at or moment < opens_at) then
            opens_at = moment
        end
    end
    answer[#answer + 1] = name
    answer[#answer + 1] = encode({ call('SCARD', P .. 'held:' .. name), waiting, opens_at })
end
return answer
