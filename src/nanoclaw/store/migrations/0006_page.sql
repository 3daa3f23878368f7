-- What the page looks for, so that a long history costs it nothing.
CREATE INDEX run_open ON run (folder) WHERE state IN ('waiting', 'running');
CREATE INDEX run_ended ON run (ended_at);
CREATE INDEX outbox_lost ON outbox (created_at) WHERE state IN ('failed', 'unknown');
CREATE INDEX network_refused ON network_decision (verdict) WHERE verdict = 'refused';
CREATE INDEX network_refused_of ON network_decision (folder) WHERE verdict = 'refused';

-- One row, written to find out whether writing works.
CREATE TABLE health (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at TEXT NOT NULL
);
