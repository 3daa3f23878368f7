-- Instants are ISO 8601 text in UTC with microseconds (they sort as text); they come from the host's clock, never from SQL.

CREATE TABLE chat (
  jid        TEXT PRIMARY KEY,
  channel    TEXT NOT NULL,
  name       TEXT NOT NULL,
  last_at    TEXT NOT NULL
);

CREATE TABLE message (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  account     TEXT NOT NULL,
  chat        TEXT NOT NULL,
  sender      TEXT NOT NULL,
  ext_id      TEXT NOT NULL,
  sender_name TEXT NOT NULL,
  text        TEXT NOT NULL,
  sent_at     TEXT NOT NULL,
  received_at TEXT NOT NULL,
  UNIQUE (account, chat, sender, ext_id)
);
CREATE INDEX message_chat ON message (chat, seq);

-- How far a group's messages have been answered. A run that fails leaves it where it was.
CREATE TABLE cursor (
  folder       TEXT PRIMARY KEY,
  answered_seq INTEGER NOT NULL
);

CREATE TABLE session (
  folder     TEXT NOT NULL,
  provider   TEXT NOT NULL,
  session_id TEXT NOT NULL,
  PRIMARY KEY (folder, provider)
);

-- attempt counts starts and fences their outcomes; failures counts those that used up a try.
CREATE TABLE run (
  id                  INTEGER PRIMARY KEY AUTOINCREMENT,
  folder              TEXT NOT NULL,
  chat                TEXT NOT NULL,
  cause               TEXT NOT NULL,
  state               TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
  attempt             INTEGER NOT NULL DEFAULT 0,
  failures            INTEGER NOT NULL DEFAULT 0,
  due_at              TEXT NOT NULL,
  created_at          TEXT NOT NULL,
  started_at          TEXT,
  ended_at            TEXT,
  after_seq           INTEGER NOT NULL DEFAULT 0,
  upto_seq            INTEGER NOT NULL DEFAULT 0,
  provider            TEXT,
  failure             TEXT,
  detail              TEXT,
  input_tokens        INTEGER NOT NULL DEFAULT 0,
  cached_input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens       INTEGER NOT NULL DEFAULT 0,
  cost_usd            REAL
);
-- The two locks of the whole program: what arrives meanwhile folds into the waiting run, and a group is strictly serial.
CREATE UNIQUE INDEX run_one_waiting ON run (folder) WHERE state = 'waiting' AND cause = 'messages';
CREATE UNIQUE INDEX run_one_running ON run (folder) WHERE state = 'running';
CREATE INDEX run_due ON run (due_at) WHERE state = 'waiting';
CREATE INDEX run_folder ON run (folder, id);

CREATE TABLE outbox (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  key         TEXT NOT NULL UNIQUE,
  chat        TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('reply', 'message', 'notice')),
  text        TEXT NOT NULL,
  run_id      INTEGER,
  state       TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'sending', 'sent', 'failed', 'unknown')),
  attempt     INTEGER NOT NULL DEFAULT 0,
  due_at      TEXT NOT NULL,
  created_at  TEXT NOT NULL,
  sent_at     TEXT,
  platform_id TEXT,
  error       TEXT
);
CREATE INDEX outbox_open ON outbox (chat, id) WHERE state IN ('ready', 'sending');
CREATE INDEX outbox_run ON outbox (run_id);
CREATE INDEX outbox_chat ON outbox (chat, id);

-- Files from mailboxes that have taken effect, with the answer they got: a file that is read again is recognised.
CREATE TABLE mailbox_file (
  key        TEXT PRIMARY KEY,
  folder     TEXT NOT NULL,
  answer     TEXT NOT NULL,
  applied_at TEXT NOT NULL
);
CREATE INDEX mailbox_file_age ON mailbox_file (applied_at);
