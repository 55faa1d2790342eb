CREATE TABLE IF NOT EXISTS plans (
    user TEXT PRIMARY KEY,
    plan TEXT NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY,
    user TEXT NOT NULL,
    url TEXT NOT NULL,
    -- 'waiting' and 'running' items hold a place; 'done' and 'lapsed' ones do not.
    state TEXT NOT NULL,
    -- The token of what was charged: all that renews, releases or refunds it, in whatever process.
    receipt TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS items_by_state ON items (state, id);

-- Usage per user and day.
CREATE TABLE IF NOT EXISTS usage (
    user TEXT NOT NULL,
    day TEXT NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (user, day)
) STRICT, WITHOUT ROWID;

-- What was charged and given back, each of it once.
CREATE TABLE IF NOT EXISTS ledger (
    id INTEGER PRIMARY KEY,
    user TEXT NOT NULL,
    day TEXT NOT NULL,
    -- 'charge' or 'give back'
    action TEXT NOT NULL,
    item INTEGER NOT NULL REFERENCES items (id),
    key TEXT NOT NULL,
    -- How often a charge of this key had been given back before: then it is charged anew.
    attempt INTEGER NOT NULL,
    UNIQUE (user, action, key, attempt)
) STRICT;
