-- ARGV: now, ids...
-- Returns msgpack, a row for each id, then for each its stored outcome or nothing.
-- row: false: unknown; or {state, unresponsive, ours, crashes, attempts, worker, ended_at, cancel}

local rows, answer, ids = {}, { false }, { unpack(ARGV, 2) }
local numbers, found = call('HMGET', P .. 'ids', unpack(ids)), {}
for _, n in ipairs(numbers) do
    found[#found + 1] = n or nil
end
fetch(found)
for place, n in ipairs(numbers) do
    local job = n and load(n)
    if job then
        local s = job.s
        rows[place] = { s[STATE], s[UNRESPONSIVE], s[OURS], s[CRASHES], s[ATTEMPTS], s[WORKER], s[ENDED_AT], s[CANCEL] }
        answer[place + 1] = read(n, 'o')[1]
    else
        rows[place], answer[place + 1] = false, false
    end
end
answer[1] = encode(rows)
return answer
