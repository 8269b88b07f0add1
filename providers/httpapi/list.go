package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"time"

	"smtpbridge/providers"
)

const (
	// maxPage is how much of a page of a list is read, in octets.
	maxPage = 8 << 20
	// maxPages bounds a list: more pages than any has, of some hundred entries each.
	maxPages = 10_000
)

var (
	errPage   = errors.New("a page is longer than 8 MiB, or broke off")
	errPages  = errors.New("it has more than 10000 pages")
	errRepeat = errors.New("the provider gives the same page again")
)

// List is something that an API gives page by page. A cursor says which page; the
// first has an empty one, and an empty next one is the end.
type List[T any] struct {
	// Name is what an error calls it, Permission what the credentials must be
	// allowed to read it.
	Name, Permission string
	// Request asks for a page.
	Request func(cursor string) providers.Request
	// Refusal reads an answer that is no page; nil where it is one.
	Refusal func(resp providers.Response) *providers.Error
	// Read gives the entries of a page.
	Read func(cursor string, resp providers.Response) (entries []T, next string, err error)
	// Divides: Read is given pages that are not whole too, and asks for smaller ones.
	Divides bool
	// Pause is how long the API wants to be left alone between two pages.
	Pause time.Duration
}

// Ask makes one request that sends no mail and gives its answer, unless refusal
// finds an error in it. The error is a [*providers.Error] and shows no secret.
func (p *Provider) Ask(ctx context.Context, r providers.Request, refusal func(providers.Response) *providers.Error) (providers.Response, error) {
	answer, _, failure := p.exchangeWithin(ctx, r, maxPage, p.Timeout())
	if failure != nil {
		return providers.Response{}, failure
	}
	if failure = refusal(answer.Response); failure != nil {
		return providers.Response{}, answer.secrets.cleanError(failure)
	}
	return answer.Response, nil
}

// Entries reads lists one after another, until the first error, which names the
// list and is the last that it gives.
func Entries[T any](ctx context.Context, p *Provider, lists ...List[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, list := range lists {
			for entry, err := range list.entries(ctx, p) {
				if err != nil {
					err = list.describe(err)
				}
				if !yield(entry, err) || err != nil {
					return
				}
			}
		}
	}
}

// describe names the list, and what is lacking where it may not be read.
func (l List[T]) describe(err error) error {
	if refusal, ok := errors.AsType[*providers.Error](err); ok && refusal.Category == providers.Authentication {
		return fmt.Errorf("reading %s, for which the credentials need %s: %w", l.Name, l.Permission, err)
	}
	return fmt.Errorf("reading %s: %w", l.Name, err)
}

func (l List[T]) entries(ctx context.Context, p *Provider) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		cursor, known := "", make(pages)
		for n := range maxPages {
			if n > 0 && !pause(ctx, l.Pause) {
				yield(none, context.Cause(ctx))
				return
			}
			entries, next, err := l.page(ctx, p, cursor, known)
			if err != nil {
				yield(none, err)
				return
			}
			for _, entry := range entries {
				if !yield(entry, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			cursor = next
		}
		yield(none, errPages)
	}
}

// page reads one page that is none of those that are known.
func (l List[T]) page(ctx context.Context, p *Provider, cursor string, known pages) ([]T, string, error) {
	resp, err := p.Ask(ctx, l.Request(cursor), l.Refusal)
	if err != nil {
		return nil, "", err
	}
	if resp.Truncated && !l.Divides {
		return nil, "", errPage
	}
	entries, next, err := l.Read(cursor, resp)
	if err != nil {
		return nil, "", err
	}
	if known.has([]byte("page "+cursor)) || len(entries) > 0 && known.has(resp.Body) {
		return nil, "", errRepeat
	}
	return entries, next, nil
}

// pages are digests of what was asked for and of what was read.
type pages map[[sha256.Size]byte]bool

// has reports that it was there before, and remembers it.
func (p pages) has(what []byte) bool {
	digest := sha256.Sum256(what)
	before := p[digest]
	p[digest] = true
	return before
}

// pause reports false where the wait was ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
