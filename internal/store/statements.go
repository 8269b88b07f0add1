package store

import "fmt"

// statement names what the bridge asks of its databases. The texts are those of
// a dialect, in one place each: sqliteStatements.
type statement int

const (
	beginTurn statement = iota
	commitTurn
	rollbackTurn
	insertMessage
	landMessage
	amendMessage
	markReply
	markReplies
	markContinued
	messageByID
	messagesByIDs
	messageByNumber
	messagesByKey
	inheritKey
	passOnKeys
	keysInherited
	keysKnown
	expireMessages
	expireKeys
	oldestMessage
	pagesInUse
	quotaUsed
	quotaAdd
	quotaReturn
	writeProbe
	clearProbe
	readProbe

	statements // how many there are
)

// messageColumns are what message.scan reads.
const messageColumns = `number, id, instance, received, deadline, landed, ambiguous, reply,
	idempotency_key, message_key, content_key, continued_by, outcome`

// sqliteStatements are the texts in SQLite's dialect.
func sqliteStatements() [statements]string {
	return [statements]string{ //nolint:gosec // its keys are no credentials
		// The lock is taken where it can be waited for.
		beginTurn:    `BEGIN IMMEDIATE`,
		commitTurn:   `COMMIT`,
		rollbackTurn: `ROLLBACK`,

		insertMessage: `INSERT INTO messages (id, instance, received, deadline, landed, ambiguous, reply,
				idempotency_key, message_key, content_key, outcome)
			VALUES (?, ?, ?, ?, 0, ?, 0, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		landMessage:     `UPDATE messages SET landed = 1, ambiguous = ?, outcome = ? WHERE number = ?`,
		amendMessage:    `UPDATE messages SET ambiguous = ?, outcome = ? WHERE number = ?`,
		markReply:       `UPDATE messages SET reply = ? WHERE number = ?`,
		markContinued:   `UPDATE messages SET continued_by = ? WHERE number = ?`,
		messageByID:     `SELECT ` + messageColumns + ` FROM messages WHERE id = ? AND received > ?`,
		messageByNumber: `SELECT ` + messageColumns + ` FROM messages WHERE number = ? AND received > ?`,

		// A server is asked messagesByIDs, keysKnown and markReplies, of many at once.

		// Where several bridges share the database; 0, 1 and 2 are the kinds.
		messagesByKey: `SELECT ` + messageColumns + ` FROM messages
			WHERE continued_by IS NULL AND received > ?3 AND (
				CASE ?1 WHEN 0 THEN idempotency_key WHEN 1 THEN message_key ELSE content_key END = ?2
				OR number IN (SELECT number FROM inherited_keys WHERE kind = ?1 AND digest = ?2))
			ORDER BY number DESC`,

		inheritKey:    `INSERT INTO inherited_keys (number, kind, digest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		passOnKeys:    `UPDATE OR REPLACE inherited_keys SET number = ? WHERE number = ?`,
		keysInherited: `SELECT kind, digest FROM inherited_keys WHERE number = ?`,

		// What comes from the future was dated by a clock that has been set since.
		expireMessages: `DELETE FROM messages
			WHERE number IN (SELECT number FROM messages ORDER BY number LIMIT ?) AND landed >= ?
				AND (received <= ? OR received > ?)
			RETURNING number, idempotency_key, message_key, content_key`,
		expireKeys: `DELETE FROM inherited_keys
			WHERE NOT EXISTS (SELECT 1 FROM messages WHERE messages.number = inherited_keys.number)
			RETURNING number, kind, digest`,
		oldestMessage: `SELECT received FROM messages ORDER BY number LIMIT 1`,
		pagesInUse: `SELECT page_count - freelist_count
			FROM pragma_page_count, pragma_freelist_count`,

		quotaUsed: `SELECT period, used FROM quotas WHERE provider = ? AND period IN (?, ?)`,
		quotaAdd: `INSERT INTO quotas (provider, period, used) VALUES (?1, ?2, ?4), (?1, ?3, ?4)
			ON CONFLICT (provider, period) DO UPDATE SET used = used + excluded.used`,
		quotaReturn: `UPDATE quotas SET used = MAX(used - ?4, 0) WHERE provider = ?1 AND period IN (?2, ?3)`,

		writeProbe: `INSERT INTO probe (filling) VALUES (zeroblob(16384))`,
		clearProbe: `DELETE FROM probe`,
		readProbe:  `SELECT COUNT(*) FROM probe`,
	}
}

// postgresStatements are the texts in PostgreSQL's dialect, as far as they are
// others. Where two parameters would be of two types, or of none, they say which.
func postgresStatements() [statements]string {
	texts := sqliteStatements()
	texts[beginTurn] = fmt.Sprintf(`BEGIN; SELECT pg_advisory_xact_lock(%d)`, deliveryPart.lock())

	texts[insertMessage] = texts[insertMessage] + ` RETURNING number`
	// By one index or another: $1 is known before anything is searched.
	texts[messagesByKey] = `SELECT ` + messageColumns + ` FROM messages
				WHERE $1::int = 0 AND idempotency_key = $2 AND continued_by IS NULL AND received > $3
			UNION ALL SELECT ` + messageColumns + ` FROM messages
				WHERE $1 = 1 AND message_key = $2 AND continued_by IS NULL AND received > $3
			UNION ALL SELECT ` + messageColumns + ` FROM messages
				WHERE $1 = 2 AND content_key = $2 AND continued_by IS NULL AND received > $3
			UNION ALL SELECT ` + messageColumns + ` FROM inherited_keys JOIN messages USING (number)
				WHERE kind = $1 AND digest = $2 AND continued_by IS NULL AND received > $3
			ORDER BY number DESC`
	texts[passOnKeys] = `WITH gone AS (DELETE FROM inherited_keys WHERE number = $2 RETURNING kind, digest)
			INSERT INTO inherited_keys (number, kind, digest) SELECT $1::bigint, kind, digest FROM gone ON CONFLICT DO NOTHING`
	texts[messagesByIDs] = `SELECT ` + messageColumns + ` FROM messages WHERE id = ANY($1) AND received > $2`
	texts[keysKnown] = `SELECT 0, idempotency_key FROM messages WHERE idempotency_key = ANY($1)
			UNION ALL SELECT 1, message_key FROM messages WHERE message_key = ANY($1)
			UNION ALL SELECT 2, content_key FROM messages WHERE content_key = ANY($1)
			UNION ALL SELECT kind, digest FROM inherited_keys WHERE digest = ANY($1)`
	texts[markReplies] = `UPDATE messages SET reply = $1 WHERE id = ANY($2) AND received > $3`
	texts[pagesInUse] = `SELECT 0` // the server has its own bounds
	texts[quotaAdd] = `INSERT INTO quotas (provider, period, used) VALUES ($1, $2, $4::bigint), ($1, $3, $4)
			ON CONFLICT (provider, period) DO UPDATE SET used = quotas.used + excluded.used`
	texts[quotaReturn] = `UPDATE quotas SET used = GREATEST(used - $4, 0) WHERE provider = $1 AND period IN ($2, $3)`
	texts[writeProbe] = `INSERT INTO probe (filling) VALUES (decode(repeat('00', 16384), 'hex'))`
	return texts
}

// What is asked once, when the database is opened.
const (
	// sweepMessages: nobody will say any more what became of these.
	sweepMessages = `UPDATE messages SET landed = 1, reply = CASE reply WHEN 0 THEN 2 ELSE reply END
		WHERE (landed = 0 OR reply = 0) AND (instance = ?1 OR deadline <= ?2)`
	// indexedMessages are those that a key may still lead to.
	indexedMessages = `SELECT number, idempotency_key,
			CASE WHEN landed = 0 OR ambiguous = 1 OR reply <> 1 THEN message_key END,
			CASE WHEN landed = 0 OR ambiguous = 1 OR reply <> 1 THEN content_key END
		FROM messages
		WHERE continued_by IS NULL AND (idempotency_key IS NOT NULL OR landed = 0 OR ambiguous = 1 OR reply <> 1)`
	indexedKeys  = `SELECT number, kind, digest FROM inherited_keys`
	expireQuotas = `DELETE FROM quotas WHERE period < ?`

	turnOf = `SELECT turn FROM turns WHERE instance = $1`
	// expireTurns: who has not written for long is gone.
	expireTurns = `DELETE FROM turns WHERE turn < $1`

	createMigrations = `CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL)`
	migratedVersion  = `SELECT COALESCE(MAX(version), 0) FROM migrations`
	recordMigration  = `INSERT INTO migrations (version, name) VALUES (?, ?)`

	copyLog = `PRAGMA wal_checkpoint(PASSIVE)`
)
