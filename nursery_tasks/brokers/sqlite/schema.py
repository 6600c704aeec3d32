"""What stands in the file. Everything that this broker stores is listed here.

    job(seq, id, ...)              one row per job, from its submission until its outcome has been kept long enough
    owner(id, until)               owners' leases; until 0: it is gone, and sweeps are cancelling what belongs to it
    paused(queue)                  queues from which nobody may claim
    pause(name, at, record)        tasks, and values of their arguments, that are paused since then, as JSON
    worker(name, until, record)    the last heartbeat of each worker, as JSON
    inbox(seq, queue, body, raw)   what other programs put in; a claim or a sweep makes jobs of it
    outbox(seq, name, body, at)    replies to them; they take them out
    outgoing(seq, destination, ..) messages that wait until a worker has sent them; no number is given twice
    outlet(destination, count)     how many of them there are for each destination, while there are any; triggers count
    state(name, version, body)     small values under a name
    gate(id, queue, ...)           where ready jobs stand in line for a limit: see `brokers/rules/gates.py`; while any do
    held(name, seq, stays)         the jobs of each limit that workers hold, if it counts what is held; stays 1: the one that
                                   has the turn of an ordering key, until it has ended
    rate(name, full_at)            how far a limit that is a rate is used up: see `model.limits`
    open_window(name, id, until)   the job that stands for all submissions of a name until then: see `model.windows`
    fair(queue, priority, at)      the virtual times of fair queues: see `brokers/rules/shares.py`; a trigger moves them
    share(queue, ..., finish)      the finish of each share's last job, until the virtual time has reached that
    lock(name, place, ...)         who stands in line for a lock; the first has it, once there is a token
    schedule(name, version, ...)   what is to be submitted when; `at`: when somebody has to look at it, NULL: not by itself
    event_batch(number, ...)       the log of events, if an app keeps one: see `model.event_log`
    event_writer(name, ...)        how far each process has come that appends to it, and when it last did
    meta(name, value)              `clock`: the latest moment that any process has seen, against clocks that are set back;
                                   `token`: the last one of a lock; `schedule`, `state`: the last version of any; `pause`: that
                                   of the list of pauses; `event_log`: the id of the log of events; `events`: the number of the
                                   last one
    jobs                           a view of `job` with words for states and readable times, for people

Columns of `job`. Moments are epoch seconds on the broker's clock.

    seq          the order of submission, never given twice; and with `token` the address of a delivery
    state        0 scheduled 1 ready 2 claimed 3 started 4 succeeded 5 failed 6 cancelled 7 expired 8 dead
    at           when time moves the job on: scheduled: due; held: the lease is over; ended: it may be dropped; ready: NULL
    due          when it may start (or might have)
    lapses       leases on it that ran out, started or not
    expires      when it ends if no attempt was made; NULL: never
    token        16 random bytes of the claim that holds it, then `seq` in digits; NULL while nobody does
    owner        the id of a row in `owner`, or the token of another job; NULL: it is detached; `job:` and a job's id: it
                 belongs to that job, which has a row in `owner` too
    unresponsive 1: the worker that holds it said that the handler does not end; stale while nobody holds it
    worker       who held it last
    cancel       NULL: nobody asked for a cancel; else the reason, which may be empty
    created      when it was submitted, or requeued
    tags         as a JSON array; NULL for none
    raw          1: the payload is no message, but what another program put in
    once         1: its start is its last: it is delivered at most once
    rank         in a fair queue: what stands in place of `seq` in the order; NULL: it has no share
    gate         where it stands in line while it is ready, or will; NULL: it has no limits, or none but a turn that it has
    limits       as a JSON array of `Limit`; NULL for none
    turn         of a job with an ordering key, its place in that line: 0: that of its submission; else from a requeue
    parked       while it is scheduled: the name under which a worker has parked it; after that until its next return the same
    parked_until its `at` when it was parked; when it is another one, a program that does not know parking has moved the job
    keep         seconds that an outcome is kept
    outcome      packed; of the job once it has ended, before that of the last attempt that failed
    payload      the message, as it came

Columns of `gate`.

    id           the rule, a space, the queue, a space, and the limit's name
    first        the first who stands there: (19 - priority) * 2^46 + (rank or seq) + 1000 * crashes
    opens        0: it is open; NULL: when a held job gives its place back; else the moment when its rate has room

Gates and places are kept by triggers, so that no statement that moves jobs can forget them, also none of an older program that
has the file open. (A program of version 3 does not heed limits itself.)

Columns that every call reads come first, because SQLite decodes a row from the left; the payload, which may be large, comes
last. (In a file that was made by an older version, what was added since then comes after it.)
The indexes are partial, so that a job is only in those that its state needs, and new entries go to their ends.

Plain tables and not STRICT ones: the file is meant to be opened by other programs, and SQLite before 3.37, which is what some
of them have, could not read it at all.
"""

from __future__ import annotations

from typing import Final

from ...model.event_log import WRITER_SECONDS
from ..common.states import STATES
from ..protocol import CRASH_STEP

APPLICATION_ID: Final = 0x4E755461  # "NuTa" in the file's header, so that `file` and this broker know whose it is
SCHEMA_VERSION: Final = 9

SCHEDULED, READY, CLAIMED, STARTED, SUCCEEDED, FAILED, CANCELLED, EXPIRED, DEAD = range(len(STATES))

# Conditions that must stand word for word in a query for SQLite to use the partial index that has them.
HELD: Final = f"state IN ({CLAIMED}, {STARTED})"
ENDED: Final = f"state > {STARTED}"
NOT_ENDED: Final = f"state <= {STARTED}"
OWNED: Final = f"owner IS NOT NULL AND {NOT_ENDED}"
PLAIN: Final = f"state = {READY} AND gate IS NULL"
IN_LINE: Final = f"state = {READY} AND gate IS NOT NULL"
ASIDE: Final = f"(state = {SCHEDULED} OR (state = {READY} AND gate IS NOT NULL))"  # what waits and is not PLAIN
PARKED: Final = f"state = {SCHEDULED} AND parked IS NOT NULL"
STILL_PARKED: Final = f"{PARKED} AND parked_until = at"
MAY_EXPIRE: Final = f"expires IS NOT NULL AND state < {CLAIMED} AND attempts = 0 AND crashes = 0"

# Where a job stands among those of its priority; and the same in one number. And where it stands at a gate.
PLACE: Final = f"coalesce(rank, seq) + {CRASH_STEP} * crashes"
SCORE: Final = f"(19 - priority) * 70368744177664 + {PLACE}"
STAND: Final = f"CASE WHEN turn IS NULL THEN {SCORE} WHEN turn = 0 THEN seq ELSE turn END"

_STATE_NAMES: Final = " ".join(f"WHEN {number} THEN '{state}'" for number, state in enumerate(STATES))


def place_of(job: str) -> str:
    """Return `PLACE` for a row called *job*."""
    return f"coalesce({job}.rank, {job}.seq) + {CRASH_STEP} * {job}.crashes"


def is_needed(job: str) -> str:
    """Return the condition that a row called *job* belongs to a job that has not ended, which may ask for its outcome."""
    its_owner = f"needs.id = CAST(substr({job}.owner, 5) AS TEXT)"
    is_a_job = f"{job}.owner >= x'6a6f623a' AND {job}.owner < x'6a6f623b'"  # it begins with `job:`
    return f"{is_a_job} AND EXISTS (SELECT 1 FROM job AS needs WHERE {its_owner} AND needs.{NOT_ENDED})"


def _readable(column: str) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%f', {column}, 'unixepoch') AS {column}_at"


_OWNERS: Final = f"""
CREATE INDEX job_owner ON job(owner) WHERE {OWNED};
CREATE TABLE owner (id BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
_OUTBOX: Final = """
CREATE TABLE outbox (seq INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL, at REAL NOT NULL);
CREATE INDEX outbox_name ON outbox(name, seq);
"""
_READY: Final = f"CREATE INDEX job_ready ON job(queue, priority DESC, {PLACE}) WHERE {PLAIN};"
_FAIR: Final = """
CREATE TABLE fair (
    queue TEXT NOT NULL, priority INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (queue, priority)
) WITHOUT ROWID;
CREATE TABLE share (
    queue TEXT NOT NULL, priority INTEGER NOT NULL, name TEXT NOT NULL, finish REAL NOT NULL,
    PRIMARY KEY (queue, priority, name)
) WITHOUT ROWID;
CREATE INDEX share_finish ON share(queue, priority, finish);
"""
_BOUNDS: Final = f"CREATE INDEX job_aside ON job(queue) WHERE {ASIDE};"
_PARKING: Final = f"CREATE INDEX job_parked ON job(queue, parked, priority DESC, {PLACE}) WHERE {PARKED};"


def _score(row: str) -> str:
    return f"(19 - {row}.priority) * 70368744177664 + {place_of(row)}"


# What the triggers do to gates, places and virtual times; {0} is the condition.
_ENTER: Final = f"""
    INSERT INTO gate (id, queue, name, first, opens)
        SELECT new.gate, new.queue, substr(new.gate, instr(new.gate, ' ') + length(new.queue) + 2), {_score("new")}, 0
        WHERE new.gate IS NOT NULL AND {{0}}
        ON CONFLICT DO UPDATE SET first = min(first, excluded.first);
"""
_LEAVE: Final = f"""
    DELETE FROM gate WHERE id = old.gate AND {{0}}
        AND NOT EXISTS (SELECT 1 FROM job WHERE job.gate = old.gate AND job.state = {READY});
    UPDATE gate SET first = (
        SELECT {SCORE} FROM job WHERE job.gate = old.gate AND job.state = {READY} ORDER BY {STAND}, seq LIMIT 1
    ) WHERE id = old.gate AND {{0}} AND (first = {_score("old")} OR old.turn IS NOT NULL);
"""
_FREE: Final = """
    UPDATE gate SET opens = 0 WHERE opens IS NULL AND name IN (SELECT held.name FROM held WHERE held.seq = old.seq AND {0});
    DELETE FROM held WHERE seq = old.seq AND {0};
"""
_SERVE: Final = """
    INSERT INTO fair (queue, priority, at) SELECT new.queue, new.priority, new.rank WHERE new.rank IS NOT NULL AND {0}
        ON CONFLICT DO UPDATE SET at = max(at, excluded.at);
"""
_LIMITS: Final = """
CREATE TABLE gate (
    id TEXT PRIMARY KEY, queue TEXT NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL, opens REAL
) WITHOUT ROWID;
CREATE INDEX gate_open ON gate(queue, first) WHERE opens = 0;
CREATE INDEX gate_closed ON gate(opens) WHERE opens > 0;
CREATE INDEX gate_name ON gate(name);
CREATE TABLE held (
    name TEXT NOT NULL, seq INTEGER NOT NULL, stays INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (name, seq)
) WITHOUT ROWID;
CREATE INDEX held_seq ON held(seq);
CREATE TABLE rate (name TEXT PRIMARY KEY, full_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE lock (
    name TEXT NOT NULL, place INTEGER NOT NULL, holder BLOB NOT NULL, until REAL NOT NULL, token INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, place)
) WITHOUT ROWID;
CREATE INDEX lock_until ON lock(until);
"""
_WINDOWS: Final = """
CREATE TABLE open_window (name TEXT PRIMARY KEY, id TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX open_window_until ON open_window(until);
"""
_LINES: Final = f"""
CREATE INDEX job_gate ON job(gate, {STAND}) WHERE {IN_LINE};
CREATE TRIGGER job_enters AFTER INSERT ON job WHEN new.gate IS NOT NULL AND new.state = {READY}
BEGIN {_ENTER.format("true")} END;
CREATE TRIGGER job_goes AFTER DELETE ON job WHEN old.gate IS NOT NULL AND old.state = {READY}
BEGIN {_LEAVE.format("true")} END;
"""
_TURNS: Final = f"""
CREATE TRIGGER job_is_another AFTER UPDATE OF turn ON job WHEN old.turn IS NOT NULL
BEGIN {_FREE.format("stays")} END;
CREATE TRIGGER job_goes_with_its_turn AFTER DELETE ON job WHEN old.turn IS NOT NULL
BEGIN {_FREE.format("stays")} END;
"""
_GATE_CHANGES: Final = "old.gate IS NOT new.gate"
_COMES: Final = f"new.state = {READY} AND (old.state <> {READY} OR {_GATE_CHANGES})"
_LEAVES: Final = f"old.state = {READY} AND (new.state <> {READY} OR {_GATE_CHANGES})"
_IS_GIVEN_BACK: Final = (
    f"(old.{HELD} OR old.turn IS NOT NULL) AND old.state <> new.state AND new.state NOT IN ({CLAIMED}, {STARTED}) "
    f"AND (NOT stays OR new.{ENDED})"
)
_IS_SERVED: Final = f"new.state = {CLAIMED} AND old.state = {READY}"
# One trigger for all that has to happen when a job moves, and one condition that is false for a job without limits in a queue
# that is not fair: each further trigger would cost each move of every job a third of a microsecond.
_MOVES: Final = f"""
CREATE TRIGGER job_moves AFTER UPDATE OF state, gate ON job WHEN old.limits IS NOT NULL OR new.rank IS NOT NULL
BEGIN
    {_SERVE.format(_IS_SERVED)}
    {_FREE.format(_IS_GIVEN_BACK)}
    {_LEAVE.format(_LEAVES)}
    {_ENTER.format(_COMES)}
END;
"""
_VIEW: Final = f"""
CREATE VIEW jobs AS SELECT
    seq, id, queue, task, CASE state {_STATE_NAMES} END AS state, unresponsive AND {HELD} AS unresponsive, priority, attempts,
    crashes, {_readable("created")}, {_readable("due")}, {_readable("started")}, {_readable("ended")},
    worker, cancel AS cancel_reason, key, parent, owner IS NOT NULL AS owned, tags, limits, once,
    iif({STILL_PARKED}, parked, NULL) AS parked,
    CAST(progress AS TEXT) AS progress, CAST(outcome AS TEXT) AS outcome, CAST(payload AS TEXT) AS message
FROM job;
"""
_SCHEDULES: Final = """
CREATE TABLE schedule (name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, at REAL, body BLOB NOT NULL);
CREATE INDEX schedule_at ON schedule(at, name) WHERE at IS NOT NULL;
"""
_OUTGOING: Final = """
CREATE TABLE outgoing (seq INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, at REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX outgoing_destination ON outgoing(destination, seq);
CREATE TABLE outlet (destination TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER outgoing_comes AFTER INSERT ON outgoing BEGIN
    INSERT INTO outlet (destination, count) VALUES (new.destination, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER outgoing_goes AFTER DELETE ON outgoing BEGIN
    UPDATE outlet SET count = count - 1 WHERE destination = old.destination;
    DELETE FROM outlet WHERE destination = old.destination AND count <= 0;
END;
CREATE TABLE state (name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, body BLOB NOT NULL);
"""
_EVENTS: Final = """
CREATE TABLE event_batch (
    number INTEGER PRIMARY KEY, count INTEGER NOT NULL, at REAL NOT NULL, writer TEXT NOT NULL, sequence INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE event_writer (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
"""
# All that follows an append, so that it is one statement: each further step would hold the lock for longer, see `database.py`.
_APPENDS: Final = f"""
CREATE TRIGGER event_batch_comes AFTER INSERT ON event_batch
BEGIN
    INSERT INTO event_writer (name, sequence, at) VALUES (new.writer, new.sequence + new.count - 1, new.at)
        ON CONFLICT DO UPDATE SET sequence = excluded.sequence, at = excluded.at;
    INSERT INTO meta (name, value) VALUES ('event_log', lower(hex(randomblob(4)))) ON CONFLICT DO NOTHING;
    INSERT INTO meta (name, value) VALUES ('events', new.number + new.count - 1)
        ON CONFLICT DO UPDATE SET value = excluded.value;
    DELETE FROM event_writer WHERE new.sequence = 1 AND at < new.at - {int(WRITER_SECONDS)};
END;
"""
_PAUSES: Final = "CREATE TABLE pause (name TEXT PRIMARY KEY, at REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;"
_STAMP: Final = f"PRAGMA user_version = {SCHEMA_VERSION};"
TABLES: Final = f"""
CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    queue TEXT NOT NULL,
    task TEXT NOT NULL,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    lapses INTEGER NOT NULL DEFAULT 0,
    at REAL,
    due REAL NOT NULL,
    expires REAL,
    token BLOB,
    worker TEXT,
    cancel TEXT,
    owner BLOB,
    unresponsive INTEGER NOT NULL DEFAULT 0,
    max_crashes INTEGER NOT NULL,
    keep REAL NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    key TEXT,
    parent TEXT,
    tags TEXT,
    raw INTEGER NOT NULL DEFAULT 0,
    once INTEGER NOT NULL DEFAULT 0,
    gate TEXT,
    limits TEXT,
    turn INTEGER,
    parked TEXT,
    parked_until REAL,
    rank INTEGER,
    progress BLOB,
    outcome BLOB,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX job_id ON job(id);
{_READY}
CREATE INDEX job_due ON job(at) WHERE state = {SCHEDULED};
CREATE INDEX job_lease ON job(at) WHERE {HELD};
CREATE INDEX job_kept ON job(at) WHERE {ENDED};
CREATE INDEX job_expires ON job(expires) WHERE {MAY_EXPIRE};
CREATE UNIQUE INDEX job_key ON job(task, key) WHERE key IS NOT NULL AND {NOT_ENDED};
CREATE INDEX job_parent ON job(parent) WHERE parent IS NOT NULL;
CREATE TABLE paused (queue TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE worker (name TEXT PRIMARY KEY, until REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE inbox (seq INTEGER PRIMARY KEY, queue TEXT, body NOT NULL, raw INTEGER NOT NULL DEFAULT 0);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
{_OWNERS}
{_OUTBOX}
{_LIMITS}
{_LINES}
{_TURNS}
{_PARKING}
{_WINDOWS}
{_BOUNDS}
{_FAIR}
{_MOVES}
{_VIEW}
{_SCHEDULES}
{_OUTGOING}
{_EVENTS}
{_APPENDS}
{_PAUSES}
{_STAMP}
"""

_TO_3: Final = f"""
ALTER TABLE job ADD COLUMN raw INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbox ADD COLUMN raw INTEGER NOT NULL DEFAULT 0;
{_OUTBOX}
"""
_TO_4: Final = f"""
ALTER TABLE job ADD COLUMN gate TEXT;
ALTER TABLE job ADD COLUMN limits TEXT;
ALTER TABLE job ADD COLUMN turn INTEGER;
{_LIMITS}
{_TURNS}
"""
_TO_5: Final = f"""
ALTER TABLE job ADD COLUMN parked TEXT;
ALTER TABLE job ADD COLUMN parked_until REAL;
ALTER TABLE job ADD COLUMN rank INTEGER;
DROP INDEX job_ready;
{_READY}
{_PARKING}
{_LINES}
"""
_TO_6: Final = f"""
ALTER TABLE job ADD COLUMN once INTEGER NOT NULL DEFAULT 0;
DROP VIEW jobs;
{_VIEW}
{_SCHEDULES}
{_WINDOWS}
{_BOUNDS}
{_FAIR}
"""
_TO_7: Final = _OUTGOING
_TO_8: Final = _EVENTS
_TO_9: Final = f"""
{_MOVES}
{_APPENDS}
{_PAUSES}
{_STAMP}
"""
_FROM_8: Final = f"""
DROP TRIGGER job_comes_back;
DROP TRIGGER job_leaves;
DROP TRIGGER job_is_given_back;
DROP TRIGGER job_is_served;
{_TO_9}
"""
_NO_LINES: Final = """
DROP INDEX job_gate;
DROP TRIGGER job_enters;
DROP TRIGGER job_comes_back;
DROP TRIGGER job_leaves;
DROP TRIGGER job_goes;
DROP TRIGGER job_is_given_back;
ALTER TABLE job ADD COLUMN turn INTEGER;
ALTER TABLE held ADD COLUMN stays INTEGER NOT NULL DEFAULT 0;
"""
_FROM_5: Final = f"""
{_NO_LINES}
DROP INDEX job_ready;
DROP INDEX job_parked;
ALTER TABLE job ADD COLUMN rank INTEGER;
{_READY}
{_PARKING}
{_LINES}
{_TURNS}
"""
_FROM_4: Final = f"""
{_NO_LINES}
{_TO_5}
{_TURNS}
UPDATE gate SET first = (SELECT min({SCORE}) FROM job WHERE job.gate = gate.id AND job.state = {READY});
"""

# version -> how a file of that version becomes one of this version, while older programs may have it open
MIGRATIONS: Final = {
    1: f"""
ALTER TABLE job ADD COLUMN owner BLOB;
ALTER TABLE job ADD COLUMN unresponsive INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN tags TEXT;
{_OWNERS}
{_TO_3}
{_TO_4}
{_TO_5}
{_TO_6}
{_TO_7}{_TO_8}{_TO_9}
""",
    2: f"{_TO_3}{_TO_4}{_TO_5}{_TO_6}{_TO_7}{_TO_8}{_TO_9}",
    3: f"{_TO_4}{_TO_5}{_TO_6}{_TO_7}{_TO_8}{_TO_9}",
    4: f"{_FROM_4}{_TO_6}{_TO_7}{_TO_8}{_TO_9}",
    5: f"{_FROM_5}{_TO_6}{_TO_7}{_TO_8}{_TO_9}",
    6: f"{_TO_7}{_TO_8}{_FROM_8}",
    7: f"{_TO_8}{_FROM_8}",
    8: _FROM_8,
}
