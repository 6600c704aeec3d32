-- ARGV: now, lease_seconds, then for each lock its name and the holder
-- Returns 1 or 0 for each.

local answers = {}
for i = 3, #ARGV, 2 do
    local name, holder = ARGV[i], ARGV[i + 1]
    local held = call('ZRANGE', P .. 'lock:' .. name, 0, 0)[1] == holder and call('HEXISTS', P .. 'tokens', name) == 1
    answers[#answers + 1] = held and 1 or 0
    if held then
        call('ZADD', P .. 'lockers:' .. name, now + tonumber(ARGV[2]), holder)
        note_lock(name)
    end
end
return answers
