-- What became of the requests that sandboxes made, for people to look at; the counts of a day outlive the rows.
CREATE TABLE network_decision (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  at         TEXT NOT NULL,
  folder     TEXT NOT NULL,
  host       TEXT NOT NULL,
  port       INTEGER NOT NULL,
  verdict    TEXT NOT NULL CHECK (verdict IN ('allowed', 'refused', 'failed')),
  reason     TEXT NOT NULL,
  uploaded   INTEGER NOT NULL,
  downloaded INTEGER NOT NULL,
  ms         INTEGER NOT NULL
);
CREATE INDEX network_decision_folder ON network_decision (folder, id);
CREATE INDEX network_decision_age ON network_decision (at);

CREATE TABLE network_day (
  folder              TEXT NOT NULL,
  day                 TEXT NOT NULL,
  requests            INTEGER NOT NULL,
  refused             INTEGER NOT NULL,
  uploaded            INTEGER NOT NULL,
  downloaded          INTEGER NOT NULL,
  provider_requests   INTEGER NOT NULL,
  provider_uploaded   INTEGER NOT NULL,
  provider_downloaded INTEGER NOT NULL,
  input_tokens        INTEGER NOT NULL,
  cached_input_tokens INTEGER NOT NULL,
  output_tokens       INTEGER NOT NULL,
  PRIMARY KEY (folder, day)
);
