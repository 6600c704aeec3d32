-- ARGV: now, ids...
-- Returns msgpack, a row for each id, then for each its stored outcome or nothing.
-- row: false: unknown; or {state, unresponsive, ours, crashes, attempts, worker, ended_at, cancel}

local rows, answer, ids = {}, { false }, { unpack(ARGV, 2) }
for place, n in ipairs(call('HMGET', P .. 'ids', unpack(ids))) do
    local fields = n and call('HMGET', P .. 'j:' .. n, 's', 'o')
    if fields and fields[1] then
        local s = decode(fields[1])
        rows[place] = { s[STATE], s[UNRESPONSIVE], s[OURS], s[CRASHES], s[ATTEMPTS], s[WORKER], s[ENDED_AT], s[CANCEL] }
        answer[place + 1] = fields[2]
    else
        rows[place], answer[place + 1] = false, false
    end
end
answer[1] = encode(rows)
return answer
