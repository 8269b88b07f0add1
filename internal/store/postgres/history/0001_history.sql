-- What became of messages, for as long as [store] retention says.
-- Times are Unix time in nanoseconds; addresses are in the form that compares.
CREATE TABLE messages (
	id TEXT COLLATE "C" PRIMARY KEY, -- a ULID: rises with time
	received BIGINT NOT NULL,
	mail_from TEXT COLLATE "C" NOT NULL,
	sender TEXT COLLATE "C" NOT NULL,
	record TEXT COLLATE "C" NOT NULL -- JSON, the shape of the API
);

CREATE TABLE message_recipients (
	message_id TEXT COLLATE "C" NOT NULL,
	place BIGINT NOT NULL, -- in the envelope
	address TEXT COLLATE "C" NOT NULL,
	state TEXT COLLATE "C" NOT NULL,
	provider TEXT COLLATE "C" NOT NULL,
	provider_id TEXT COLLATE "C" NOT NULL,
	category TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (message_id, place)
);
CREATE INDEX message_recipients_address ON message_recipients (address, message_id);
CREATE INDEX message_recipients_provider_id ON message_recipients (provider_id, address) WHERE provider_id <> '';

CREATE TABLE events (
	-- Rises with each one, as they become visible: one bridge writes at a time.
	sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id TEXT COLLATE "C" NOT NULL UNIQUE,
	received BIGINT NOT NULL,
	provider TEXT COLLATE "C" NOT NULL,
	type TEXT COLLATE "C" NOT NULL,
	message_id TEXT COLLATE "C" NOT NULL,
	recipient TEXT COLLATE "C" NOT NULL,
	event TEXT COLLATE "C" NOT NULL -- JSON, the shape of the API without the sequence
);
-- With the sequence, in which they are asked for.
CREATE INDEX events_message ON events (message_id, sequence) WHERE message_id <> '';
CREATE INDEX events_recipient ON events (recipient, sequence);
CREATE INDEX events_type ON events (type, sequence);
CREATE INDEX events_provider ON events (provider, sequence);

-- Events that nobody was told to pass on, since who stored them could not: the
-- bridge does once it runs.
CREATE TABLE untold (sequence BIGINT PRIMARY KEY);

-- What providers allow to be used once.
CREATE TABLE nonces (
	provider TEXT COLLATE "C" NOT NULL,
	nonce TEXT COLLATE "C" NOT NULL,
	received BIGINT NOT NULL,
	PRIMARY KEY (provider, nonce)
);
CREATE INDEX nonces_received ON nonces (received);

CREATE TABLE suppressions (
	-- Rises with each one that is added: another process finds what is new by it.
	change BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	address TEXT COLLATE "C" NOT NULL,
	scope TEXT COLLATE "C" NOT NULL, -- empty: all mail
	reason TEXT COLLATE "C" NOT NULL,
	provider TEXT COLLATE "C" NOT NULL,
	detail TEXT COLLATE "C" NOT NULL,
	since BIGINT NOT NULL,
	UNIQUE (address, scope, reason)
);

CREATE INDEX suppressions_reason ON suppressions (reason);

-- When a suppression was taken away: what was said of it before counts no more.
CREATE TABLE removals (
	address TEXT COLLATE "C" NOT NULL,
	scope TEXT COLLATE "C" NOT NULL,
	reason TEXT COLLATE "C" NOT NULL, -- the only one it is about; empty: all, by the operator
	removed BIGINT NOT NULL,
	PRIMARY KEY (address, scope, reason)
);

-- What became of each recipient; 0 for never.
CREATE TABLE recipients (
	address TEXT COLLATE "C" PRIMARY KEY,
	soft_bounces BIGINT NOT NULL,
	delivered BIGINT NOT NULL,
	bounced BIGINT NOT NULL,
	opened BIGINT NOT NULL,
	clicked BIGINT NOT NULL,
	touched BIGINT NOT NULL -- when the row last changed
);
CREATE INDEX recipients_touched ON recipients (touched);

-- Counts in each hour, by provider, tag or campaign.
CREATE TABLE counts (
	hour BIGINT NOT NULL, -- since 1970
	dimension TEXT COLLATE "C" NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	type TEXT COLLATE "C" NOT NULL,
	total BIGINT NOT NULL,
	-- Each recipient of a message once.
	uniques BIGINT NOT NULL,
	PRIMARY KEY (hour, dimension, name, type)
);

-- Up to when the outcomes of the SMTP path are in here.
CREATE TABLE progress (
	name TEXT COLLATE "C" PRIMARY KEY,
	value BIGINT NOT NULL
);

-- What SQLite calls so: the values of a list in a document.
CREATE FUNCTION json_each(document TEXT, path TEXT) RETURNS TABLE (value TEXT) LANGUAGE sql IMMUTABLE
	AS $$ SELECT one #>> '{}' FROM jsonb_path_query(document::jsonb, (path || '[*]')::jsonpath) AS one $$;
