-- ARGV: now
-- Returns the counts, as a hash does (a digit for the state, then the queue's name; the number), and the paused queues.

return { call('HGETALL', P .. 'counts'), call('SMEMBERS', P .. 'paused') }
