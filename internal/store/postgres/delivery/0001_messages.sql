-- What is on its way and what became of it, for 24 hours.
CREATE TABLE messages (
	-- Rises with each message, as they become visible: one bridge writes at a time.
	number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id TEXT COLLATE "C" NOT NULL UNIQUE,
	-- The bridge that put it on record.
	instance TEXT NOT NULL,
	-- When the mail came, and from when on no request of it can be under way:
	-- Unix time in nanoseconds.
	received BIGINT NOT NULL,
	deadline BIGINT NOT NULL,
	-- 0: in flight.
	landed SMALLINT NOT NULL,
	-- 1: of some recipient it is not known what became of it.
	ambiguous SMALLINT NOT NULL,
	-- 0: not known, 1: given, 2: not given.
	reply SMALLINT NOT NULL,
	-- Digests.
	idempotency_key BYTEA,
	message_key BYTEA,
	content_key BYTEA,
	-- The number of the message that has taken its place.
	continued_by BIGINT,
	-- The recipients and what is known of each (outcome.go), with room to grow.
	outcome BYTEA NOT NULL
) -- What changes is in no index, so that it changes in its page, where there is room.
WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX messages_idempotency ON messages (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX messages_message ON messages (message_key) WHERE message_key IS NOT NULL;
CREATE INDEX messages_content ON messages (content_key) WHERE content_key IS NOT NULL;
CREATE INDEX messages_deadline ON messages (deadline);

-- Keys of messages that were continued by one without that key: they lead to
-- the one that has taken their place.
CREATE TABLE inherited_keys (
	number BIGINT NOT NULL,
	kind SMALLINT NOT NULL, -- 0: idempotency, 1: Message-ID, 2: content
	digest BYTEA NOT NULL,
	PRIMARY KEY (number, kind, digest)
);
CREATE INDEX inherited_keys_digest ON inherited_keys (digest);

-- Recipients per provider in a UTC day, "2006-01-02", and month, "2006-01".
CREATE TABLE quotas (
	provider TEXT COLLATE "C" NOT NULL,
	period TEXT COLLATE "C" NOT NULL,
	used BIGINT NOT NULL,
	PRIMARY KEY (provider, period)
) WITH (fillfactor = 50);

-- The last transaction of each bridge: who got no answer to a COMMIT finds out
-- here whether it was one. It rises, and is about when it began: Unix time in
-- nanoseconds.
CREATE TABLE turns (
	instance TEXT PRIMARY KEY,
	turn BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Is written to find out whether it can be; empty.
CREATE TABLE probe (filling BYTEA NOT NULL);
