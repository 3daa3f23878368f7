-- What a run looks for, so that months of talk and of runs cost it nothing. That the last two are partial keeps SQLite,
-- which knows nothing of the values, from taking them for looks that other indexes serve.
CREATE INDEX message_waking ON message (chat, seq, standing, deleted_at) WHERE wakes = 1;
CREATE INDEX message_shown ON message (chat, seq) WHERE deleted_at IS NULL AND command = 0;
CREATE INDEX run_taken ON run (folder, upto_seq) WHERE upto_seq > 0;
CREATE INDEX run_spent ON run (folder, ended_at) WHERE ended_at IS NOT NULL;
