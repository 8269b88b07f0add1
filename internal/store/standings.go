package store

import (
	"context"
	"database/sql"
	"time"

	"smtpbridge/events"
)

const (
	getStanding  = `SELECT soft_bounces, delivered, bounced, opened, clicked FROM recipients WHERE address = ?`
	standingsOf  = `SELECT address, soft_bounces, delivered, bounced, opened, clicked FROM recipients WHERE address IN (VALUES {?})`
	putStandings = `INSERT INTO recipients (address, soft_bounces, delivered, bounced, opened, clicked, touched)
		VALUES {?, ?, ?, ?, ?, ?, ?}
		ON CONFLICT (address) DO UPDATE SET soft_bounces = excluded.soft_bounces, delivered = excluded.delivered, bounced = excluded.bounced, opened = excluded.opened,
			clicked = excluded.clicked, touched = excluded.touched`
)

// standing is what a transaction knows of an address, and what of it is written.
type standing struct {
	events.Standing

	written stamps
}

// stamps are what is kept of a standing.
type stamps struct {
	softBounces                         int
	delivered, bounced, opened, clicked int64
}

func stampsOf(s events.Standing) stamps {
	return stamps{s.SoftBounces, stamp(s.LastDelivered), stamp(s.LastBounced), stamp(s.LastOpened), stamp(s.LastClicked)}
}

func (s *stamps) standing() events.Standing {
	return events.Standing{
		SoftBounces: s.softBounces, LastDelivered: moment(s.delivered), LastBounced: moment(s.bounced),
		LastOpened: moment(s.opened), LastClicked: moment(s.clicked),
	}
}

// loadStandings has w.standings know these addresses.
func (w *work) loadStandings(ctx context.Context, addresses []string) error {
	var unknown []string
	for _, address := range addresses {
		address = w.kept(address)
		if w.standings[address] == nil {
			w.standings[address] = new(standing)
			unknown = append(unknown, address)
		}
	}
	return w.askRows(ctx, standingsOf, column(unknown), func(rows *sql.Rows) error {
		var (
			address string
			at      stamps
		)
		if err := rows.Scan(&address, &at.softBounces, &at.delivered, &at.bounced, &at.opened, &at.clicked); err != nil {
			return err
		}
		w.standings[address] = &standing{at.standing(), at}
		return nil
	})
}

// putStandings writes those that have changed.
func (w *work) putStandings(ctx context.Context, now time.Time) error {
	var rows [][]any
	for address, s := range w.standings {
		if at := stampsOf(s.Standing); at != s.written {
			rows = append(rows, []any{address, at.softBounces, at.delivered, at.bounced, at.opened, at.clicked, now.UnixNano()})
		}
	}
	return w.putRows(ctx, putStandings, rows)
}

// stamp is a time in a column, 0 for the zero time.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(stamp int64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return time.Unix(0, stamp).UTC()
}
