CREATE TABLE task (
  id             TEXT PRIMARY KEY,
  folder         TEXT NOT NULL,
  prompt         TEXT NOT NULL,
  schedule_type  TEXT NOT NULL CHECK (schedule_type IN ('cron', 'interval', 'once')),
  schedule_value TEXT NOT NULL,
  timezone       TEXT NOT NULL,
  context_mode   TEXT NOT NULL CHECK (context_mode IN ('group', 'isolated')),
  missed         TEXT NOT NULL CHECK (missed IN ('coalesce', 'skip', 'all')),
  state          TEXT NOT NULL CHECK (state IN ('active', 'paused', 'done', 'cancelled')),
  next_at        TEXT,
  created_at     TEXT NOT NULL,
  ended_at       TEXT,
  failures       INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX task_due ON task (next_at) WHERE state = 'active';
CREATE INDEX task_folder ON task (folder);

-- A run that a task caused; the index makes a second run for the same moment impossible, whoever tries.
ALTER TABLE run ADD COLUMN task_id TEXT;
ALTER TABLE run ADD COLUMN scheduled_for TEXT;
CREATE UNIQUE INDEX run_task_moment ON run (task_id, scheduled_for) WHERE task_id IS NOT NULL;
