-- What every script begins with: the clock, and what it knows and writes of the jobs that a call touches.
--
-- A script changes jobs in memory (`change`), and `flush` writes them: the job's fields, and for each index only the
-- difference between where the job was and where it is. Nothing is written before the first `flush`, except for the number
-- that a submission takes; so what a script refuses, it refuses before it has changed anything.
--
-- A job here is a table: n = its number, padded; packed = its state as it was found; s = the same as an array, once `load` has
-- unpacked it; raw = its description as the client packed it, of which `meta` and `id_of` tell when somebody asks; before = the
-- state in which it was found, nil for a new one; lease = when its lease will be over.

local P = KEYS[1]
local call, decode, encode = redis.call, cmsgpack.unpack, cmsgpack.pack
local cut, byte = string.sub, string.byte
local layout = call('GET', P .. 'layout')
if layout and layout ~= LAYOUT then
    return redis.error_reply('ERR what is stored has layout ' .. layout .. ', and this version of nursery-tasks knows ' .. LAYOUT)
end
local now = tonumber(ARGV[1]) -- only tests say it
if not now then
    local time = call('TIME')
    now = time[1] + time[2] / 1000000
end
local jobs, dirty, hints = {}, {}, {}
local ends = {} -- rows of the jobs that this script has ended itself, see `told`
local rem, add, drop, set, counts = {}, {}, {}, {}, {} -- what the next `flush` writes; the last: state, queue -> how many more
local pages, page_keys = {}, {} -- page -> whether it stands in the index; its key
local abouts = {} -- description without the id -> the same, decoded: jobs of one task are alike
