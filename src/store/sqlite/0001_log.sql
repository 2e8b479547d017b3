-- The log, and what the broker must not forget. Append-only: what holds in code holds here too.

-- 'SEBR': a store of this program.
PRAGMA application_id = 0x53454252;

CREATE TABLE record (
    number      INTEGER PRIMARY KEY CHECK (number >= 1),
    digest      BLOB    NOT NULL CHECK (length(digest) = 32),
    time        INTEGER NOT NULL,
    envelope    TEXT    NOT NULL CHECK (octet_length(envelope) < 65536),
    kind        TEXT    NOT NULL,
    agent       TEXT,
    authority   TEXT,
    target      TEXT,
    resource    TEXT,
    certificate BLOB    CHECK (length(certificate) = 32),
    mutation_id TEXT,
    decision    TEXT    CHECK (decision IN ('allow', 'deny')),
    state       TEXT,
    reason      TEXT
) STRICT;

-- The number follows each column by itself: it is the row's id. A mutation's records are found by its certificate: an
-- index in the order of digests costs a page for each row, and one is enough.
CREATE INDEX record_by_time        ON record (time);
CREATE INDEX record_by_kind        ON record (kind)        WHERE kind NOT IN ('decision', 'outcome');
CREATE INDEX record_by_agent       ON record (agent)       WHERE agent IS NOT NULL;
CREATE INDEX record_by_target      ON record (target)      WHERE target IS NOT NULL;
CREATE INDEX record_by_resource    ON record (resource)    WHERE resource IS NOT NULL;
CREATE INDEX record_by_certificate ON record (certificate) WHERE certificate IS NOT NULL;
CREATE INDEX record_by_reason      ON record (reason)      WHERE reason IS NOT NULL;
CREATE INDEX record_by_state       ON record (state)       WHERE state IS NOT NULL AND state <> 'succeeded';

CREATE TRIGGER record_follows BEFORE INSERT ON record
WHEN NEW.number <> 1 + (SELECT coalesce(max(number), 0) FROM record)
BEGIN
    SELECT raise(ABORT, 'a record does not follow the one before');
END;

CREATE TRIGGER record_stays BEFORE UPDATE ON record
BEGIN
    SELECT raise(ABORT, 'a record never changes');
END;

CREATE TRIGGER record_remains BEFORE DELETE ON record
BEGIN
    SELECT raise(ABORT, 'a record is never removed');
END;

CREATE TABLE artefact (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32),
    media_type TEXT NOT NULL,
    content    BLOB NOT NULL CHECK (length(content) <= 8388608)
) STRICT;

-- One row for each use of a certificate: the two unique keys are what makes a second use impossible (I3).
CREATE TABLE execution (
    decision     INTEGER PRIMARY KEY REFERENCES record (number),
    mutation_id  TEXT    NOT NULL UNIQUE,
    certificate  BLOB    NOT NULL CHECK (length(certificate) = 32),
    ordinal      INTEGER NOT NULL,
    uses         INTEGER NOT NULL,
    use_key      TEXT    NOT NULL,
    request      BLOB    NOT NULL CHECK (length(request) = 32),
    agent        TEXT    NOT NULL,
    authority    TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    decided_at   INTEGER NOT NULL,
    -- Its place among the executions of its agent and of its authority: counting is subtracting.
    of_agent     INTEGER NOT NULL,
    of_authority INTEGER NOT NULL,
    state        TEXT    NOT NULL DEFAULT 'running',
    outcome      INTEGER REFERENCES record (number),
    outcome_at   INTEGER,
    UNIQUE (certificate, ordinal),
    CHECK (ordinal BETWEEN 1 AND uses),
    CHECK (use_key <> '' OR uses = 1),
    CHECK ((state = 'running') = (outcome IS NULL))
) STRICT;

-- The key of an only use is empty, and (certificate, 1) is unique anyway.
CREATE UNIQUE INDEX execution_by_use ON execution (certificate, use_key) WHERE use_key <> '';
CREATE INDEX execution_by_agent     ON execution (agent, decided_at, of_agent);
CREATE INDEX execution_by_authority ON execution (authority, decided_at, of_authority);
CREATE INDEX execution_open         ON execution (decision) WHERE state IN ('running', 'unknown');

CREATE TRIGGER execution_follows BEFORE INSERT ON execution
WHEN NEW.state <> 'running'
  OR NEW.ordinal <> 1 + (SELECT coalesce(max(ordinal), 0) FROM execution WHERE certificate = NEW.certificate)
BEGIN
    SELECT raise(ABORT, 'a use does not follow the one before');
END;

CREATE TRIGGER execution_goes_on BEFORE UPDATE ON execution
WHEN NOT (
        OLD.state = 'running' AND NEW.state IN ('succeeded', 'rejected', 'not_started', 'aborted', 'unknown',
                                                'reconciled_applied', 'reconciled_not_applied', 'indeterminate')
     OR OLD.state = 'unknown' AND NEW.state IN ('reconciled_applied', 'reconciled_not_applied', 'indeterminate')
  )
  OR (OLD.decision, OLD.mutation_id, OLD.certificate, OLD.ordinal, OLD.uses, OLD.use_key, OLD.request, OLD.agent,
      OLD.authority, OLD.target, OLD.decided_at, OLD.of_agent, OLD.of_authority)
     IS NOT
     (NEW.decision, NEW.mutation_id, NEW.certificate, NEW.ordinal, NEW.uses, NEW.use_key, NEW.request, NEW.agent,
      NEW.authority, NEW.target, NEW.decided_at, NEW.of_agent, NEW.of_authority)
BEGIN
    SELECT raise(ABORT, 'an execution cannot go on this way');
END;

CREATE TRIGGER execution_remains BEFORE DELETE ON execution
BEGIN
    SELECT raise(ABORT, 'an execution is never removed');
END;

-- The newest epoch statement of each authority: a high-water mark.
CREATE TABLE epoch (
    authority TEXT    PRIMARY KEY,
    sequence  INTEGER NOT NULL CHECK (sequence >= 0),
    statement BLOB    NOT NULL
) STRICT;

CREATE TRIGGER epoch_never_backwards BEFORE UPDATE ON epoch
WHEN NEW.sequence <= OLD.sequence OR NEW.authority <> OLD.authority
BEGIN
    SELECT raise(ABORT, 'an epoch statement cannot take the place of a newer one');
END;

CREATE TRIGGER epoch_remains BEFORE DELETE ON epoch
BEGIN
    SELECT raise(ABORT, 'an epoch statement is never removed');
END;
