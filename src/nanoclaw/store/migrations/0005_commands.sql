-- A message that was a command for the host itself, e.g. `/status`: no agent is told of it.
ALTER TABLE message ADD COLUMN command INTEGER NOT NULL DEFAULT 0;
