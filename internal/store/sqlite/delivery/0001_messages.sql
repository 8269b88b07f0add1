-- What is on its way and what became of it, for 24 hours.
CREATE TABLE messages (
	-- Rises with each message; the oldest go first.
	number INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	-- The bridge that put it on record.
	instance TEXT NOT NULL,
	-- When the mail came, and from when on no request of it can be under way:
	-- Unix time in nanoseconds.
	received INTEGER NOT NULL,
	deadline INTEGER NOT NULL,
	-- 0: in flight.
	landed INTEGER NOT NULL,
	-- 1: of some recipient it is not known what became of it.
	ambiguous INTEGER NOT NULL,
	-- 0: not known, 1: given, 2: not given.
	reply INTEGER NOT NULL,
	-- Digests. No index: a bridge that is alone keeps in memory what a key may
	-- still lead to, and random places in an index cost more than all the rest.
	idempotency_key BLOB,
	message_key BLOB,
	content_key BLOB,
	-- The number of the message that has taken its place.
	continued_by INTEGER,
	-- The recipients and what is known of each (outcome.go), with room to grow.
	outcome BLOB NOT NULL
) STRICT;

-- Keys of messages that were continued by one without that key: they lead to
-- the one that has taken their place.
CREATE TABLE inherited_keys (
	number INTEGER NOT NULL,
	kind INTEGER NOT NULL, -- 0: idempotency, 1: Message-ID, 2: content
	digest BLOB NOT NULL,
	PRIMARY KEY (number, kind, digest)
) STRICT, WITHOUT ROWID;

-- Recipients per provider in a UTC day, "2006-01-02", and month, "2006-01".
CREATE TABLE quotas (
	provider TEXT NOT NULL,
	period TEXT NOT NULL,
	used INTEGER NOT NULL,
	PRIMARY KEY (provider, period)
) STRICT, WITHOUT ROWID;

-- Is written to find out whether it can be; empty.
CREATE TABLE probe (filling BLOB NOT NULL) STRICT;
