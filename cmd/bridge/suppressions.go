package main

import (
	"context"
	"errors"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/app"
)

type suppressions struct {
	List   listSuppressions  `cmd:"" help:"Print who is not mailed, and why."`
	Add    addSuppression    `cmd:"" help:"Put an address on the list."`
	Remove removeSuppression `cmd:"" help:"Take an address off the list."`
	Import importSuppression `cmd:"" help:"Read CSV from the standard input: as export writes it, or addresses alone."`
	Export exportSuppression `cmd:"" help:"Write the list as CSV to the standard output."`
	Sync   syncSuppressions  `cmd:"" help:"Take over the providers' own lists."`
}

// with opens the list of the configuration for f.
func (c configured) with(ctx context.Context, t terminal, f func(*app.Suppressions) error) error {
	configuration, err := c.load(t)
	if err != nil {
		return err
	}
	list, err := app.OpenSuppressions(ctx, configuration)
	if err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	return errors.Join(f(list), list.Close(context.WithoutCancel(ctx)))
}

type listSuppressions struct {
	configured

	Reason string `placeholder:"R" help:"Only those of this reason: hard_bounce, soft_bounces, complaint, unsubscribe or manual."`
}

// Run prints a line for each.
func (c listSuppressions) Run(ctx context.Context, t terminal) error {
	return c.with(ctx, t, func(list *app.Suppressions) error {
		return list.All(ctx, c.Reason, func(s events.Suppression) {
			t.printf("%s\t%s\t%s\t%s\t%s\t%s\n", s.Address, s.Reason, s.Since.Format(time.RFC3339), orDash(s.Scope), orDash(s.Provider), s.Detail)
		})
	})
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

type addSuppression struct {
	configured

	Email  string `arg:"" help:"The address."`
	Reason string `default:"manual" help:"Why: hard_bounce, soft_bounces, complaint, unsubscribe or manual."`
	Scope  string `help:"What it is limited to, such as tag:news; nothing is all mail."`
	Detail string `help:"A note."`
}

// Run says whether it was there.
func (c addSuppression) Run(ctx context.Context, t terminal) error {
	return c.with(ctx, t, func(list *app.Suppressions) error {
		added, err := list.Add(ctx, events.Suppression{
			Address: c.Email, Reason: events.Reason(c.Reason), Scope: c.Scope, Detail: c.Detail,
		})
		switch {
		case err != nil:
			return err //nolint:wrapcheck // it says what it did
		case added:
			t.printf("added %s\n", events.Address(c.Email))
		default:
			t.printf("%s is on the list already\n", events.Address(c.Email))
		}
		return nil
	})
}

type removeSuppression struct {
	configured

	Email string  `arg:"" help:"The address."`
	Scope *string `help:"Only the suppression with this scope; nothing is all of them."`
}

// Run says what is gone.
func (c removeSuppression) Run(ctx context.Context, t terminal) error {
	return c.with(ctx, t, func(list *app.Suppressions) error {
		if err := list.Remove(ctx, c.Email, c.Scope); err != nil {
			return err //nolint:wrapcheck // it says what it did
		}
		t.printf("removed %s\n", events.Address(c.Email))
		return nil
	})
}

type importSuppression struct{ configured }

// Run says how many were new.
func (c importSuppression) Run(ctx context.Context, t terminal) error {
	return c.with(ctx, t, func(list *app.Suppressions) error {
		added, err := list.Import(ctx, t.stdin)
		t.printf("added %d\n", added)
		return err //nolint:wrapcheck // it names the line
	})
}

type exportSuppression struct{ configured }

// Run writes CSV.
func (c exportSuppression) Run(ctx context.Context, t terminal) error {
	return c.with(ctx, t, func(list *app.Suppressions) error {
		return list.Export(ctx, t.stdout) //nolint:wrapcheck // it says what it did
	})
}

type syncSuppressions struct {
	configured

	Provider string `placeholder:"NAME" help:"Only the list of this provider."`
}

// Run says for each provider how many were new.
func (c syncSuppressions) Run(ctx context.Context, t terminal) error {
	return c.with(ctx, t, func(list *app.Suppressions) error {
		all, err := list.Sync(ctx, c.Provider)
		if err != nil {
			return err //nolint:wrapcheck // it says what is missing
		}
		var failed error
		for _, s := range all {
			t.printf("%s: added %d\n", s.Provider, s.Added)
			if s.Err != nil {
				t.complain("bridge: %s: %v\n", s.Provider, s.Err)
				failed = errSaid
			}
		}
		return failed
	})
}
