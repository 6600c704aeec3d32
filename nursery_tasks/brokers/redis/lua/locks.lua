-- ARGV: now
-- Returns for each of at most 1000 locks its name, and msgpack {token or 0, end of the first lease, how many stand there}.

local answer = {}
for _, name in ipairs(call('ZRANGE', P .. 'locks', 0, 999)) do
    local key = P .. 'lock:' .. name
    local token = tonumber(call('HGET', P .. 'tokens', name) or 0)
    local until_ = tonumber(call('ZSCORE', P .. 'lockers:' .. name, call('ZRANGE', key, 0, 0)[1]))
    answer[#answer + 1] = name
    answer[#answer + 1] = encode({ token, until_, call('ZCARD', key) })
end
return answer
