-- A file as version 8 of the tables made it.
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
CREATE INDEX job_ready ON job(queue, priority DESC, coalesce(rank, seq) + 1000 * crashes) WHERE state = 1 AND gate IS NULL;
CREATE INDEX job_due ON job(at) WHERE state = 0;
CREATE INDEX job_lease ON job(at) WHERE state IN (2, 3);
CREATE INDEX job_kept ON job(at) WHERE state > 3;
CREATE INDEX job_expires ON job(expires) WHERE expires IS NOT NULL AND state < 2 AND attempts = 0 AND crashes = 0;
CREATE UNIQUE INDEX job_key ON job(task, key) WHERE key IS NOT NULL AND state <= 3;
CREATE INDEX job_parent ON job(parent) WHERE parent IS NOT NULL;
CREATE TABLE paused (queue TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE worker (name TEXT PRIMARY KEY, until REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE inbox (seq INTEGER PRIMARY KEY, queue TEXT, body NOT NULL, raw INTEGER NOT NULL DEFAULT 0);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA application_id = 1316312161;

CREATE INDEX job_owner ON job(owner) WHERE owner IS NOT NULL AND state <= 3;
CREATE TABLE owner (id BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;


CREATE TABLE outbox (seq INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL, at REAL NOT NULL);
CREATE INDEX outbox_name ON outbox(name, seq);


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


CREATE INDEX job_gate ON job(gate, CASE WHEN turn IS NULL THEN (19 - priority) * 70368744177664 + coalesce(rank, seq) + 1000 * crashes WHEN turn = 0 THEN seq ELSE turn END) WHERE state = 1 AND gate IS NOT NULL;
CREATE TRIGGER job_enters AFTER INSERT ON job WHEN new.gate IS NOT NULL AND new.state = 1
BEGIN 
    INSERT INTO gate (id, queue, name, first, opens) VALUES
        (new.gate, new.queue, substr(new.gate, instr(new.gate, ' ') + length(new.queue) + 2), (19 - new.priority) * 70368744177664 + coalesce(new.rank, new.seq) + 1000 * new.crashes, 0)
        ON CONFLICT DO UPDATE SET first = min(first, excluded.first);
 END;
CREATE TRIGGER job_comes_back AFTER UPDATE OF state, gate ON job
    WHEN new.gate IS NOT NULL AND new.state = 1 AND (old.state <> 1 OR old.gate IS NOT new.gate)
BEGIN 
    INSERT INTO gate (id, queue, name, first, opens) VALUES
        (new.gate, new.queue, substr(new.gate, instr(new.gate, ' ') + length(new.queue) + 2), (19 - new.priority) * 70368744177664 + coalesce(new.rank, new.seq) + 1000 * new.crashes, 0)
        ON CONFLICT DO UPDATE SET first = min(first, excluded.first);
 END;
CREATE TRIGGER job_leaves AFTER UPDATE OF state, gate ON job
    WHEN old.gate IS NOT NULL AND old.state = 1 AND (new.state <> 1 OR old.gate IS NOT new.gate)
BEGIN 
    DELETE FROM gate WHERE id = old.gate AND NOT EXISTS (SELECT 1 FROM job WHERE job.gate = old.gate AND job.state = 1);
    UPDATE gate SET first = (
        SELECT (19 - priority) * 70368744177664 + coalesce(rank, seq) + 1000 * crashes FROM job WHERE job.gate = old.gate AND job.state = 1 ORDER BY CASE WHEN turn IS NULL THEN (19 - priority) * 70368744177664 + coalesce(rank, seq) + 1000 * crashes WHEN turn = 0 THEN seq ELSE turn END, seq LIMIT 1
    ) WHERE id = old.gate AND (first = (19 - old.priority) * 70368744177664 + coalesce(old.rank, old.seq) + 1000 * old.crashes OR old.turn IS NOT NULL);
 END;
CREATE TRIGGER job_goes AFTER DELETE ON job WHEN old.gate IS NOT NULL AND old.state = 1
BEGIN 
    DELETE FROM gate WHERE id = old.gate AND NOT EXISTS (SELECT 1 FROM job WHERE job.gate = old.gate AND job.state = 1);
    UPDATE gate SET first = (
        SELECT (19 - priority) * 70368744177664 + coalesce(rank, seq) + 1000 * crashes FROM job WHERE job.gate = old.gate AND job.state = 1 ORDER BY CASE WHEN turn IS NULL THEN (19 - priority) * 70368744177664 + coalesce(rank, seq) + 1000 * crashes WHEN turn = 0 THEN seq ELSE turn END, seq LIMIT 1
    ) WHERE id = old.gate AND (first = (19 - old.priority) * 70368744177664 + coalesce(old.rank, old.seq) + 1000 * old.crashes OR old.turn IS NOT NULL);
 END;


CREATE TRIGGER job_is_given_back AFTER UPDATE OF state ON job
    WHEN old.limits IS NOT NULL AND (old.state IN (2, 3) OR old.turn IS NOT NULL) AND new.state NOT IN (2, 3)
BEGIN 
    UPDATE gate SET opens = 0 WHERE opens IS NULL AND name IN (SELECT held.name FROM held WHERE held.seq = old.seq AND (NOT stays OR new.state > 3));
    DELETE FROM held WHERE seq = old.seq AND (NOT stays OR new.state > 3);
 END;
CREATE TRIGGER job_is_another AFTER UPDATE OF turn ON job WHEN old.turn IS NOT NULL
BEGIN 
    UPDATE gate SET opens = 0 WHERE opens IS NULL AND name IN (SELECT held.name FROM held WHERE held.seq = old.seq AND stays);
    DELETE FROM held WHERE seq = old.seq AND stays;
 END;
CREATE TRIGGER job_goes_with_its_turn AFTER DELETE ON job WHEN old.turn IS NOT NULL
BEGIN 
    UPDATE gate SET opens = 0 WHERE opens IS NULL AND name IN (SELECT held.name FROM held WHERE held.seq = old.seq AND stays);
    DELETE FROM held WHERE seq = old.seq AND stays;
 END;

CREATE INDEX job_parked ON job(queue, parked, priority DESC, coalesce(rank, seq) + 1000 * crashes) WHERE state = 0 AND parked IS NOT NULL;

CREATE TABLE open_window (name TEXT PRIMARY KEY, id TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX open_window_until ON open_window(until);

CREATE INDEX job_aside ON job(queue) WHERE (state = 0 OR (state = 1 AND gate IS NOT NULL));

CREATE TABLE fair (
    queue TEXT NOT NULL, priority INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (queue, priority)
) WITHOUT ROWID;
CREATE TABLE share (
    queue TEXT NOT NULL, priority INTEGER NOT NULL, name TEXT NOT NULL, finish REAL NOT NULL,
    PRIMARY KEY (queue, priority, name)
) WITHOUT ROWID;
CREATE INDEX share_finish ON share(queue, priority, finish);
CREATE TRIGGER job_is_served AFTER UPDATE OF state ON job
    WHEN new.rank IS NOT NULL AND new.state = 2 AND old.state = 1
BEGIN
    INSERT INTO fair (queue, priority, at) VALUES (new.queue, new.priority, new.rank)
        ON CONFLICT DO UPDATE SET at = max(at, excluded.at);
END;


CREATE VIEW jobs AS SELECT
    seq, id, queue, task, CASE state WHEN 0 THEN 'scheduled' WHEN 1 THEN 'ready' WHEN 2 THEN 'claimed' WHEN 3 THEN 'started' WHEN 4 THEN 'succeeded' WHEN 5 THEN 'failed' WHEN 6 THEN 'cancelled' WHEN 7 THEN 'expired' WHEN 8 THEN 'dead' END AS state, unresponsive AND state IN (2, 3) AS unresponsive, priority, attempts,
    crashes, strftime('%Y-%m-%d %H:%M:%f', created, 'unixepoch') AS created_at, strftime('%Y-%m-%d %H:%M:%f', due, 'unixepoch') AS due_at, strftime('%Y-%m-%d %H:%M:%f', started, 'unixepoch') AS started_at, strftime('%Y-%m-%d %H:%M:%f', ended, 'unixepoch') AS ended_at,
    worker, cancel AS cancel_reason, key, parent, owner IS NOT NULL AS owned, tags, limits, once,
    iif(state = 0 AND parked IS NOT NULL AND parked_until = at, parked, NULL) AS parked,
    CAST(progress AS TEXT) AS progress, CAST(outcome AS TEXT) AS outcome, CAST(payload AS TEXT) AS message
FROM job;


CREATE TABLE schedule (name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, at REAL, body BLOB NOT NULL);
CREATE INDEX schedule_at ON schedule(at, name) WHERE at IS NOT NULL;


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


CREATE TABLE event_batch (
    number INTEGER PRIMARY KEY, count INTEGER NOT NULL, at REAL NOT NULL, writer TEXT NOT NULL, sequence INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE event_writer (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;

PRAGMA user_version = 8;
