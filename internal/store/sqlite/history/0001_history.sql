-- What became of messages, for as long as [store] retention says.
-- Times are Unix time in nanoseconds; addresses are in the form that compares.
CREATE TABLE messages (
	id TEXT PRIMARY KEY, -- a ULID: rises with time
	received INTEGER NOT NULL,
	mail_from TEXT NOT NULL,
	sender TEXT NOT NULL,
	record TEXT NOT NULL -- JSON, the shape of the API
) STRICT, WITHOUT ROWID;

CREATE TABLE message_recipients (
	message_id TEXT NOT NULL,
	place INTEGER NOT NULL, -- in the envelope
	address TEXT NOT NULL,
	state TEXT NOT NULL,
	provider TEXT NOT NULL,
	provider_id TEXT NOT NULL,
	category TEXT NOT NULL,
	PRIMARY KEY (message_id, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_recipients_address ON message_recipients (address, message_id);
CREATE INDEX message_recipients_provider_id ON message_recipients (provider_id, address) WHERE provider_id <> '';

CREATE TABLE events (
	sequence INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	received INTEGER NOT NULL,
	provider TEXT NOT NULL,
	type TEXT NOT NULL,
	message_id TEXT NOT NULL,
	recipient TEXT NOT NULL,
	event TEXT NOT NULL -- JSON, the shape of the API without the sequence
) STRICT;
CREATE INDEX events_message ON events (message_id) WHERE message_id <> '';
CREATE INDEX events_recipient ON events (recipient);
CREATE INDEX events_type ON events (type);
CREATE INDEX events_provider ON events (provider);

-- Events that nobody was told to pass on, since who stored them could not: the
-- bridge does once it runs.
CREATE TABLE untold (sequence INTEGER PRIMARY KEY) STRICT;

-- What providers allow to be used once.
CREATE TABLE nonces (
	provider TEXT NOT NULL,
	nonce TEXT NOT NULL,
	received INTEGER NOT NULL,
	PRIMARY KEY (provider, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_received ON nonces (received);

CREATE TABLE suppressions (
	-- Rises with each one that is added: another process finds what is new by it.
	change INTEGER PRIMARY KEY AUTOINCREMENT,
	address TEXT NOT NULL,
	scope TEXT NOT NULL, -- empty: all mail
	reason TEXT NOT NULL,
	provider TEXT NOT NULL,
	detail TEXT NOT NULL,
	since INTEGER NOT NULL,
	UNIQUE (address, scope, reason)
) STRICT;

CREATE INDEX suppressions_reason ON suppressions (reason);

-- When a suppression was taken away: what was said of it before counts no more.
CREATE TABLE removals (
	address TEXT NOT NULL,
	scope TEXT NOT NULL,
	reason TEXT NOT NULL, -- the only one it is about; empty: all, by the operator
	removed INTEGER NOT NULL,
	PRIMARY KEY (address, scope, reason)
) STRICT, WITHOUT ROWID;

-- What became of each recipient; 0 for never.
CREATE TABLE recipients (
	address TEXT PRIMARY KEY,
	soft_bounces INTEGER NOT NULL,
	delivered INTEGER NOT NULL,
	bounced INTEGER NOT NULL,
	opened INTEGER NOT NULL,
	clicked INTEGER NOT NULL,
	touched INTEGER NOT NULL -- when the row last changed
) STRICT, WITHOUT ROWID;
CREATE INDEX recipients_touched ON recipients (touched);

-- Counts in each hour, by provider, tag or campaign.
CREATE TABLE counts (
	hour INTEGER NOT NULL, -- since 1970
	dimension TEXT NOT NULL,
	name TEXT NOT NULL,
	type TEXT NOT NULL,
	total INTEGER NOT NULL,
	-- Each recipient of a message once.
	uniques INTEGER NOT NULL,
	PRIMARY KEY (hour, dimension, name, type)
) STRICT, WITHOUT ROWID;

-- Up to when the outcomes of the SMTP path are in here.
CREATE TABLE progress (
	name TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
