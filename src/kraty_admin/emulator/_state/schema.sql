-- The tables of the emulator. Times are milliseconds since the epoch.
-- After a change, raise LAYOUT in _database.py and add a step to its migrations.

CREATE TABLE players (
    id TEXT PRIMARY KEY,
    game_id TEXT NOT NULL,
    external_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    context TEXT,
    banned_at INTEGER,
    ban_reason TEXT,
    -- A retired player is erased or merged. The hash shows that an id was theirs,
    -- without keeping the id.
    retired_at INTEGER,
    former_hash TEXT,
    merged_into TEXT REFERENCES players,
    deletion_reason TEXT
);
CREATE UNIQUE INDEX live_players ON players (game_id, external_id) WHERE retired_at IS NULL;
CREATE INDEX retired_players ON players (game_id, former_hash) WHERE retired_at IS NOT NULL;
CREATE INDEX placeholders ON players (game_id, external_id) WHERE retired_at IS NOT NULL;

CREATE TABLE holdings (
    player_id TEXT NOT NULL REFERENCES players,
    kind TEXT NOT NULL CHECK (kind IN ('currency', 'item')),
    key TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (player_id, kind, key)
) WITHOUT ROWID;

CREATE TABLE ledger (
    number INTEGER PRIMARY KEY,
    game_id TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    kind TEXT NOT NULL CHECK (kind IN ('currency', 'item')),
    key TEXT NOT NULL,
    delta INTEGER NOT NULL CHECK (delta <> 0),
    operation TEXT NOT NULL,
    reason TEXT,
    source_ref_id TEXT,
    idempotency_key TEXT,
    parameters TEXT,
    at INTEGER NOT NULL
);
-- Their rows are in the order of `number`, so a page of entries is one range.
CREATE INDEX ledger_of_game ON ledger (game_id);
CREATE INDEX ledger_of_player ON ledger (player_id);
CREATE TRIGGER ledger_keeps_rows BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- A merge moves rows to another player; nothing else about them ever changes.
CREATE TRIGGER ledger_keeps_values
    BEFORE UPDATE OF number, game_id, kind, key, delta, operation, reason, source_ref_id,
        idempotency_key, parameters, at ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TABLE grants (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    studio_id TEXT NOT NULL,
    game_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    kind TEXT NOT NULL,
    entries TEXT NOT NULL,
    source_kind TEXT NOT NULL,
    source_ref_id TEXT,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    claimed_at INTEGER,
    acked_by TEXT,
    UNIQUE (studio_id, game_id, idempotency_key)
);
CREATE INDEX grants_of_player ON grants (player_id);

CREATE TABLE lobbies (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    game_id TEXT NOT NULL,
    event_key TEXT NOT NULL,
    external_key TEXT NOT NULL,
    leaderboard_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    bot_slots INTEGER NOT NULL,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    UNIQUE (game_id, event_key, external_key)
);
CREATE TABLE participants (
    lobby_id TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    PRIMARY KEY (lobby_id, player_id)
) WITHOUT ROWID;
CREATE INDEX lobbies_of_player ON participants (player_id);

CREATE TABLE answers (
    game_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    data TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (game_id, operation, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (expires_at);

CREATE TABLE migrated_rows (
    game_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (game_id, operation, idempotency_key)
) WITHOUT ROWID;

CREATE TABLE endpoints (
    url TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    -- A JSON array of names; NULL for all.
    events TEXT
) WITHOUT ROWID;
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    studio_id TEXT NOT NULL,
    game_id TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    data TEXT NOT NULL
);
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL REFERENCES events (id),
    url TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    UNIQUE (event_id, url)
);
CREATE INDEX due_deliveries ON deliveries (due_at, number) WHERE status = 'pending';
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY,
    delivery INTEGER NOT NULL REFERENCES deliveries,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER,
    error TEXT
);
CREATE INDEX attempts_of_delivery ON attempts (delivery);

CREATE TABLE scores (
    game_id TEXT NOT NULL,
    leaderboard_key TEXT NOT NULL,
    -- The empty text where a leaderboard has no segments.
    segment TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    score REAL NOT NULL,
    PRIMARY KEY (game_id, leaderboard_key, segment, player_id)
) WITHOUT ROWID;
CREATE INDEX ranks ON scores (game_id, leaderboard_key, segment, score);
CREATE INDEX scores_of_player ON scores (player_id);

CREATE TABLE event_attempts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event_key TEXT NOT NULL,
    player_id TEXT NOT NULL REFERENCES players,
    started_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    completed_at INTEGER,
    -- A JSON object of numbers.
    metrics TEXT NOT NULL
);
CREATE INDEX attempts_of_player ON event_attempts (player_id);

CREATE TABLE identities (
    player_id TEXT PRIMARY KEY REFERENCES players,
    name TEXT NOT NULL,
    avatar TEXT
) WITHOUT ROWID;

-- Each friendship is two rows, one for each of the two.
CREATE TABLE friendships (
    player_id TEXT NOT NULL REFERENCES players,
    friend_id TEXT NOT NULL REFERENCES players,
    since INTEGER NOT NULL,
    PRIMARY KEY (player_id, friend_id)
) WITHOUT ROWID;
CREATE TABLE friend_requests (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    sender_id TEXT NOT NULL REFERENCES players,
    receiver_id TEXT NOT NULL REFERENCES players,
    created_at INTEGER NOT NULL
);
CREATE INDEX requests_of_sender ON friend_requests (sender_id);
CREATE INDEX requests_of_receiver ON friend_requests (receiver_id);
CREATE TABLE blocks (
    player_id TEXT NOT NULL REFERENCES players,
    blocked_id TEXT NOT NULL REFERENCES players,
    since INTEGER NOT NULL,
    PRIMARY KEY (player_id, blocked_id)
) WITHOUT ROWID;
