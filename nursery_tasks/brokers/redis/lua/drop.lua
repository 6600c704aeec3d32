-- ARGV: now, destination, up to which position
-- Returns how many were dropped.

local key = P .. 'outgoing:' .. ARGV[2]
local dropped = call('XTRIM', key, 'MINID', string.format('%.0f', tonumber(ARGV[3]) + 1))
if call('XLEN', key) == 0 then
    call('UNLINK', key)
    call('ZREM', P .. 'outboxes', ARGV[2])
end
return dropped
