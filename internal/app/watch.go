package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long files must stay as they are before they are read: a file
// that is being written is empty at first, and an empty one would be valid.
const settle = 200 * time.Millisecond

// maxLinks is how many links may lead from one to the next, as in Linux.
const maxLinks = 40

// source is where a configuration came from, and what stood there when it was
// read: what has changed since then is news, however soon it did.
type source struct {
	files  []string
	digest [sha256.Size]byte
}

// read reads a file and takes it in; one that cannot be read has its own digest.
func (s *source) read(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	hash := sha256.New()
	hash.Write(s.digest[:])
	_, _ = fmt.Fprintf(hash, "%q %t\n", file, err == nil)
	hash.Write(content)
	hash.Sum(s.digest[:0])
	s.files = append(s.files, file)
	return content, err //nolint:wrapcheck // it stands for os.ReadFile
}

// note takes in files that others read; one without a name is none.
func (s *source) note(files ...string) {
	for _, file := range files {
		if file != "" {
			_, _ = s.read(file) // what cannot be read counts too
		}
	}
}

// again is what stands in the same files now.
func (s *source) again() source {
	var now source
	now.note(s.files...)
	return now
}

// directories hold the files and the links that lead to them, also where the
// last one leads nowhere for a while. Kubernetes swaps a link beside a file, a
// release one above it, an editor the file itself: only the directory hears all.
func (s *source) directories() []string {
	var out []string
	for _, file := range s.files {
		for range maxLinks {
			link, rest := firstLink(file)
			directory := filepath.Dir(link)
			out = append(out, directory)
			target, err := os.Readlink(link)
			if err != nil {
				break // it is the file
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(directory, target)
			}
			file = filepath.Join(target, rest)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// firstLink is the first part of a path that is a link, with what follows it; all
// of the path where none is.
func firstLink(path string) (link, rest string) {
	for at := 1; at < len(path); at++ {
		if path[at] == filepath.Separator {
			if info, err := os.Lstat(path[:at]); err == nil && info.Mode().Type() == fs.ModeSymlink {
				return path[:at], path[at+1:]
			}
		}
	}
	return path, ""
}

// watch reloads when the configuration or a secret has changed, until ctx ends.
func (a *App) watch(ctx context.Context) {
	if a.load == nil {
		return
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		a.logger.WarnContext(ctx, "files are not watched, SIGHUP reloads them", slog.Any("err", err))
		return
	}
	defer func() { _ = notify.Close() }()
	a.follow(ctx, notify)
	look := time.After(settle) // what has changed since the start counts too
	var before source
	for {
		events := notify.Events
		if look != nil {
			events = nil // it will see what comes until then; the lines of a log beside the files wake nobody
		}
		select {
		case <-ctx.Done():
			return
		case <-a.reloaded:
			a.follow(ctx, notify)
		case <-events:
			look = time.After(settle)
		case err := <-notify.Errors:
			a.logger.WarnContext(ctx, "watching files", slog.Any("err", err))
			look = time.After(settle) // events may be lost
		case <-look:
			look = nil
			read := a.source.Load()
			now := read.again()
			switch now.digest {
			case read.digest:
			case before.digest:
				a.reload(ctx)
			default: // it may not be done yet
				look = time.After(settle)
			}
			before = now
			a.follow(ctx, notify) // a swapped link leads elsewhere now
		}
	}
}

// follow watches the directories of the configuration read last, no others.
func (a *App) follow(ctx context.Context, notify *fsnotify.Watcher) {
	directories := a.source.Load().directories()
	for _, old := range notify.WatchList() {
		if !slices.Contains(directories, old) {
			_ = notify.Remove(old) // it may be gone by itself
		}
	}
	for _, directory := range directories {
		if err := notify.Add(directory); err != nil {
			a.logger.WarnContext(ctx, "directory is not watched, SIGHUP reloads", slog.Any("err", err))
		}
	}
}

// wakeWatcher never blocks: one waiting wake-up is as good as two.
func (a *App) wakeWatcher() {
	select {
	case a.reloaded <- struct{}{}:
	default:
	}
}
