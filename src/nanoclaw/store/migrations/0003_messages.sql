-- What a message is besides its text. `quote` and `attachments` are JSON; `standing` and `wakes` were decided on arrival.
-- What was stored before counts as a waking message of a member.
ALTER TABLE message ADD COLUMN standing    TEXT NOT NULL DEFAULT 'member';
ALTER TABLE message ADD COLUMN wakes       INTEGER NOT NULL DEFAULT 1;
ALTER TABLE message ADD COLUMN quote       TEXT;
ALTER TABLE message ADD COLUMN attachments TEXT;
ALTER TABLE message ADD COLUMN edited_at   TEXT;
ALTER TABLE message ADD COLUMN deleted_at  TEXT;

-- What became of a message after it was written; one that comes before its message waits here for it. A person has one
-- reaction to a message, and a message one edit and one deletion: the latest. A newer one takes a new id.
CREATE TABLE change (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  account       TEXT NOT NULL,
  chat          TEXT NOT NULL,
  sender        TEXT NOT NULL,            -- of the message; empty: the assistant
  ext_id        TEXT NOT NULL,            -- of the message
  kind          TEXT NOT NULL CHECK (kind IN ('edit', 'deletion', 'reaction')),
  actor         TEXT NOT NULL,
  actor_name    TEXT NOT NULL,
  standing      TEXT NOT NULL,
  text          TEXT NOT NULL,
  before        TEXT NOT NULL,            -- what agents know that the message said
  at            TEXT NOT NULL,
  UNIQUE (account, chat, sender, ext_id, kind, actor)
);
CREATE INDEX change_chat ON change (chat, id);

-- Which of them agents have been told: as with messages, a run takes what there is when it starts.
ALTER TABLE cursor ADD COLUMN told_change INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN upto_change INTEGER NOT NULL DEFAULT 0;

ALTER TABLE chat ADD COLUMN is_group INTEGER;
CREATE TABLE member (
  chat    TEXT NOT NULL,
  address TEXT NOT NULL,
  name    TEXT NOT NULL,
  admin   INTEGER NOT NULL,
  PRIMARY KEY (chat, address)
);

-- `files` is JSON; `answers` is the seq of a message. `told`: that it did not arrive, or may not have, was said in main.
ALTER TABLE outbox ADD COLUMN files      TEXT;
ALTER TABLE outbox ADD COLUMN answers    INTEGER;
ALTER TABLE outbox ADD COLUMN settled_at TEXT;
ALTER TABLE outbox ADD COLUMN told       INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET told = 1, settled_at = coalesce(sent_at, created_at) WHERE state IN ('sent', 'failed', 'unknown');
CREATE INDEX outbox_untold ON outbox (settled_at) WHERE told = 0 AND state IN ('failed', 'unknown');

-- The messages that a reply went out as, in order; written as each is acknowledged, so that none of them goes twice.
CREATE TABLE part (
  key         TEXT PRIMARY KEY,
  outbox_id   INTEGER NOT NULL,
  number      INTEGER NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('sent', 'unknown')),
  platform_id TEXT,
  UNIQUE (outbox_id, number)
);
CREATE INDEX part_platform ON part (platform_id);
INSERT INTO part (key, outbox_id, number, state, platform_id)
  SELECT key || '/1', id, 1, state, platform_id FROM outbox WHERE state IN ('sent', 'unknown');

-- How far what we sent has come. A receipt may be there before the part that it is about.
CREATE TABLE receipt (
  chat        TEXT NOT NULL,
  platform_id TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('server', 'device', 'read')),
  at          TEXT NOT NULL,
  key         TEXT,
  PRIMARY KEY (chat, platform_id, state)
);
CREATE INDEX receipt_key ON receipt (key) WHERE key IS NOT NULL;
CREATE INDEX receipt_age ON receipt (at);
