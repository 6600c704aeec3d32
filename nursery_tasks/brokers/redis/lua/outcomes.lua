-- ARGV: now, ids...
-- Returns msgpack, a row for each id, then for each its stored outcome or nothing.
-- row: false: unknown; or {state, unresponsive, ours, crashes, attempts, worker, ended_at, cancel}

local ids, numbers, places = { unpack(ARGV, 2) }, {}, {}
local rows, answer, alike = {}, { false }, {} -- alike: packed state -> row
for place, n in ipairs(call('HMGET', P .. 'ids', unpack(ids))) do
    rows[place], answer[place + 1] = false, false
    if n then
        numbers[#numbers + 1], places[#places + 1] = n, place
    end
end
local found = read_all(numbers, 's', 'o')
for i, place in ipairs(places) do
    local packed = found[2 * i - 1]
    if packed and not alike[packed] then
        local s = decode(packed)
        alike[packed] = {
            s[STATE], s[UNRESPONSIVE], s[OURS], s[CRASHES], s[ATTEMPTS], s[WORKER], s[ENDED_AT], s[CANCEL],
        }
    end
    rows[place] = packed and alike[packed]
    answer[place + 1] = packed and found[2 * i]
end
answer[1] = encode(rows)
return answer
