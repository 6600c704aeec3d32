-- A file as version 2 of the tables made it.
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
    progress BLOB,
    outcome BLOB,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX job_id ON job(id);
CREATE INDEX job_ready ON job(queue, priority DESC, seq) WHERE state = 1;
CREATE INDEX job_due ON job(at) WHERE state = 0;
CREATE INDEX job_lease ON job(at) WHERE state IN (2, 3);
CREATE INDEX job_kept ON job(at) WHERE state > 3;
CREATE INDEX job_expires ON job(expires) WHERE expires IS NOT NULL AND state < 2 AND attempts = 0 AND crashes = 0;
CREATE UNIQUE INDEX job_key ON job(task, key) WHERE key IS NOT NULL AND state <= 3;
CREATE INDEX job_parent ON job(parent) WHERE parent IS NOT NULL;
CREATE TABLE paused (queue TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE worker (name TEXT PRIMARY KEY, until REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE inbox (seq INTEGER PRIMARY KEY, queue TEXT, body NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE INDEX job_owner ON job(owner) WHERE owner IS NOT NULL AND state <= 3;
CREATE TABLE owner (id BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE VIEW jobs AS SELECT
    seq, id, queue, task, CASE state WHEN 0 THEN 'scheduled' WHEN 1 THEN 'ready' WHEN 2 THEN 'claimed' WHEN 3 THEN 'started' WHEN 4 THEN 'succeeded' WHEN 5 THEN 'failed' WHEN 6 THEN 'cancelled' WHEN 7 THEN 'expired' WHEN 8 THEN 'dead' END AS state, unresponsive AND state IN (2, 3) AS unresponsive, priority, attempts,
    crashes, strftime('%Y-%m-%d %H:%M:%f', created, 'unixepoch') AS created_at, strftime('%Y-%m-%d %H:%M:%f', due, 'unixepoch') AS due_at, strftime('%Y-%m-%d %H:%M:%f', started, 'unixepoch') AS started_at, strftime('%Y-%m-%d %H:%M:%f', ended, 'unixepoch') AS ended_at,
    worker, cancel AS cancel_reason, key, parent, owner IS NOT NULL AS owned, tags,
    CAST(progress AS TEXT) AS progress, CAST(outcome AS TEXT) AS outcome, CAST(payload AS TEXT) AS message
FROM job;
PRAGMA application_id = 1316312161;
PRAGMA user_version = 2;
