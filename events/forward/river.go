package forward

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
)

// How River works here.
const (
	// queue is where the jobs are.
	queue = "forward"
	// workers is how many events are on their way at once. An application that
	// answers in 50 ms then takes 640 a second; one that never answers holds 32
	// small requests.
	workers = 32
	// fetchCooldown is the least time between two fetches, and so bounds what
	// leaves to workers in that time.
	fetchCooldown = 10 * time.Millisecond
	// pollInterval is how late a job may be noticed that nobody has told of.
	pollInterval = 2 * time.Second
	// stopTime is what requests get to end when the bridge stops; what is given
	// up then is sent again.
	stopTime = time.Second
	// never is when River gives up a job that is running: events wait for the
	// application as long as it takes, and reclaim takes what a crash has left.
	never = 10 * 365 * 24 * time.Hour
)

// reclaim makes those jobs available again whose process has ended before them;
// their attempt does not count. Only where no other process works on the database.
const reclaim = `UPDATE river_job SET state = 'available', attempt = attempt - 1 WHERE state = 'running' AND queue = '` + queue + `'`

// What takes away the jobs that are done, of a JSON list of ids: nobody asks for
// them. River would rewrite each with a statement of its own, which took two
// thirds of the processor time of forwarding.
const (
	finishSQLite   = `DELETE FROM river_job WHERE id IN (SELECT value FROM json_each(?)) AND state = 'running'`
	finishPostgres = `DELETE FROM river_job WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) AND state = 'running'`
)

// countPending counts what is still to be sent.
const countPending = `SELECT count(*) FROM river_job
	WHERE state IN ('available', 'pending', 'retryable', 'running', 'scheduled') AND queue = '` + queue + `'`

// Migrate brings River's tables to the version that this bridge knows, one bridge
// at a time where several share the database. It uses more than one transaction,
// and must not be called inside one.
func Migrate(ctx context.Context, db *sql.DB, shared bool) (err error) {
	if shared {
		unlock, err := lockMigrations(ctx, db)
		if err != nil {
			return err
		}
		defer unlock()
	}
	migrator, err := rivermigrate.New(newDriver(db, shared), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("reading River's migrations: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("bringing River's tables up to date: %w", err)
	}
	return nil
}

// driver is River's for SQLite or PostgreSQL without its notifications, which are
// rows that would be looked for twenty times a second, or need connections of
// their own: the process that inserts tells the one that works, itself. Others
// look every two seconds.
type driver struct {
	riverdriver.Driver[*sql.Tx]

	pilot *pilot
}

func newDriver(db *sql.DB, shared bool) *driver {
	if shared {
		return &driver{riverdatabasesql.New(db), &pilot{finish: finishPostgres}}
	}
	return &driver{riversqlite.New(db), &pilot{finish: finishSQLite}}
}

// SupportsListener says that River must poll.
func (*driver) SupportsListener() bool { return false }

// SupportsListenNotify keeps River from writing notifications.
func (*driver) SupportsListenNotify() bool { return false }

// PluginInit has nothing to prepare.
func (*driver) PluginInit(*baseservice.Archetype) {}

// PluginPilot hands River the pilot, through which it hands us its bell.
func (d *driver) PluginPilot() riverpilot.Pilot { return d.pilot }

// pilot is River's own, but for how it ends what is done. It keeps the function
// by which River is told of jobs that were committed behind its back.
type pilot struct {
	riverpilot.StandardPilot

	finish    string
	committed func(context.Context, []*rivertype.JobInsertResult)
}

// PilotInit is called once, when the client is made.
func (p *pilot) PilotInit(archetype *baseservice.Archetype, params *riverpilot.PilotInitParams) {
	p.StandardPilot.PilotInit(archetype, params)
	p.committed = params.NotifyNonTxJobInsert
}

// JobSetStateIfRunningMany records what became of jobs.
func (p *pilot) JobSetStateIfRunningMany(
	ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobSetStateIfRunningManyParams,
) ([]*rivertype.JobRow, error) {
	done, rest := split(params)
	if len(done) > 0 {
		ids, err := json.Marshal(done)
		if err != nil {
			return nil, err
		}
		if err := exec.Exec(ctx, p.finish, string(ids)); err != nil {
			return nil, fmt.Errorf("taking away what is sent: %w", err)
		}
	}
	if len(rest.ID) == 0 {
		return nil, nil
	}
	return p.StandardPilot.JobSetStateIfRunningMany(ctx, exec, rest)
}

// split gives the jobs that are done by their ids, and the others as they are.
func split(all *riverdriver.JobSetStateIfRunningManyParams) (done []int64, rest *riverdriver.JobSetStateIfRunningManyParams) {
	rest = &riverdriver.JobSetStateIfRunningManyParams{Now: all.Now, Schema: all.Schema}
	for i, id := range all.ID {
		if all.State[i] == rivertype.JobStateCompleted {
			done = append(done, id)
			continue
		}
		rest.ID = append(rest.ID, id)
		rest.Attempt = append(rest.Attempt, all.Attempt[i])
		rest.ErrData = append(rest.ErrData, all.ErrData[i])
		rest.FinalizedAt = append(rest.FinalizedAt, all.FinalizedAt[i])
		rest.MetadataDoMerge = append(rest.MetadataDoMerge, all.MetadataDoMerge[i])
		rest.MetadataUpdates = append(rest.MetadataUpdates, all.MetadataUpdates[i])
		rest.ScheduledAt = append(rest.ScheduledAt, all.ScheduledAt[i])
		rest.State = append(rest.State, all.State[i])
	}
	return done, rest
}

// ring lets River fetch.
func (p *pilot) ring(ctx context.Context) {
	p.committed(ctx, []*rivertype.JobInsertResult{{Job: &rivertype.JobRow{Queue: queue}}})
}

// newClient makes a client that works, and the pilot that rings it.
func (f *Forwarder) newClient(name string) (*river.Client[*sql.Tx], *pilot, error) {
	d := newDriver(f.options.DB, f.options.Shared)
	bundle := river.NewWorkers()
	if err := river.AddWorkerSafely(bundle, &worker{forwarder: f}); err != nil {
		return nil, nil, err
	}
	client, err := river.NewClient(d, &river.Config{
		DiscardedJobRetentionPeriod: f.options.Retention,
		FetchCooldown:               fetchCooldown,
		FetchPollInterval:           f.pace.poll,
		ID:                          name,
		JobTimeout:                  -1, // each request has its own
		Logger:                      slog.New(quiet{f.options.Logger.Handler()}),
		Queues:                      map[string]river.QueueConfig{queue: {MaxWorkers: workers}},
		ReindexerIndexNames:         []string{}, // what they grow by is little
		RescueStuckJobsAfter:        never,
		SoftStopTimeout:             stopTime,
		Workers:                     bundle,
	})
	return client, d.pilot, err
}

// quiet lets through what River cannot do. The rest of what it says is about
// single jobs; who watches the bridge is told of the application instead.
type quiet struct{ slog.Handler }

// Enabled is where the rest ends.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError && q.Handler.Enabled(ctx, level)
}

// WithAttrs stays quiet.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup stays quiet.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
