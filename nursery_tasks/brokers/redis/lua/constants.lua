-- Names for numbers, which `scripts.py` puts in their place.

-- s
STATE, ATTEMPTS, CRASHES, LAPSES, DUE, EXPIRES, CREATED, WORKER = 1, 2, 3, 4, 5, 6, 7, 8
BEGUN, ENDED_AT, TOKEN, CANCEL, UNRESPONSIVE, OWNER, OURS = 9, 10, 11, 12, 13, 14, 15
GATE = 16 -- of a job with limits: where it stands in line while it is ready, or will
-- the name under which a worker has parked it, until it is claimed; and the moment when that is over. Is this not `DUE`, a
-- script that does not know parking has moved the job
PARKED, PARKED_UNTIL = 17, 18
TURN = 19 -- of a job with an ordering key: its place in that line, if a requeue gave it one; else it is n
RANK = 20 -- of a job in a fair queue: what stands in place of its number

-- meta
ID, QUEUE, TASK, PRIORITY, KEEP, MAX_CRASHES, KEY, PARENT, TAGS = 1, 2, 3, 4, 5, 6, 7, 8, 9
LIMITS, ONCE = 11, 12 -- not there, or a list of limits; whether its start is its last; 10 is for clients
NAME, RULE, MOST, INTERVAL, TOLERANCE, REJECTS, ORDERED = 1, 2, 3, 4, 5, 6, 7 -- of a limit

PARKED_KEPT = 604800 -- seconds that a line of parked jobs outlives the last one that came, whatever has gone from it
LET_GO_AT_ONCE = 5000 -- jobs that are cancelled in the step in which their owners end
GONE_OWNER, ENDED_OWNER = 0, -1 -- scores of owners that nobody can prolong
TOLD_BYTES = 8192 -- of outcomes that one call says with its hints: all who wait for any job get them
AT_ONCE = 2000 -- arguments of one command: Lua's unpack() fails above 8000
