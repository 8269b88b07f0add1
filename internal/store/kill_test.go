package store_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"smtpbridge/internal/store"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// victimDir and historyVictimDir, in the environment, make this program the one
// that is killed.
const (
	victimDir        = "STORE_TEST_VICTIM"
	historyVictimDir = "STORE_TEST_HISTORY_VICTIM"
)

func TestMain(m *testing.M) {
	for variable, victim := range map[string]func(string) error{victimDir: victim, historyVictimDir: historyVictim} {
		if dir := os.Getenv(variable); dir != "" {
			fmt.Fprintln(os.Stderr, victim(dir))
			return
		}
	}
	if err := flag.Set("rapid.checks", modelChecks); err != nil { // the command line still has the last word
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// someDay is one on which the tests do not run.
func someDay() time.Time { return time.Date(2100, 1, 2, 0, 0, 0, 0, time.UTC) }

// victim delivers for ever and says what is on record.
func victim(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards the output
	say := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, id)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Run(ctx) }()
	for worker := range 20 {
		go func() {
			for i := range 1 << 30 {
				id := fmt.Sprint(worker, "-", i)
				if past, err := s.Begin(ctx, flight(id)); past != nil || err != nil {
					failed <- fmt.Errorf("Begin(%s) = %v, %w", id, past, err)
				}
				say("begun", id)
				taken, err := s.Take(ctx, "p", 1, delivery.QuotaLimits{Day: 1 << 30}, someDay())
				if !taken || err != nil {
					failed <- fmt.Errorf("Take = %v, %w", taken, err)
				}
				say("taken", id)
				if i%3 == 0 {
					continue
				}
				if err := s.Land(ctx, id, accepted()); err != nil {
					failed <- err
				}
				say("landed", id)
			}
		}()
	}
	return <-failed
}

// What a call has put on record survives a kill of the process: the next finds it
// and knows what it does not know.
func TestKill(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dir := t.TempDir()
		said := kill(t, exe, victimDir+"="+dir)
		s, stop := run(t, store.Config{}, store.Options{DataDir: dir})
		landed := make(map[string]bool)
		for _, id := range said["landed"] {
			landed[id] = true
		}
		for _, id := range said["begun"] {
			past, err := s.Begin(t.Context(), flight(id+" again"))
			if past != nil || err != nil {
				t.Fatalf("Begin of another = %v, %v", past, err)
			}
			f := flight("again " + id)
			f.Keys.Idempotency = id
			past, err = s.Begin(t.Context(), f)
			switch {
			case err != nil || past == nil || past.ID != id || past.InFlight:
				t.Errorf("after the kill, Begin of a repeat of %s = %+v, %v", id, past, err)
			case landed[id] && past.Outcome[0].State != providers.Accepted:
				t.Errorf("%s had landed, and is %s", id, past.Outcome[0].State)
			}
		}
		if day, _, err := s.Used(t.Context(), "p", someDay()); err != nil || day < int64(len(said["taken"])) {
			t.Errorf("Used = %d, %v, want at least %d", day, err, len(said["taken"]))
		}
		stop()
	}
}

// kill starts the victim, kills it while it works, and gives what it said.
func kill(t *testing.T, exe, variable string) map[string][]string {
	t.Helper()
	command := exec.CommandContext(t.Context(), exe)
	command.Env = append(os.Environ(), variable)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(map[string][]string)
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == 1000 {
			if err := command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if what, id, whole := strings.Cut(lines.Text(), " "); whole {
			said[what] = append(said[what], id)
		}
	}
	var killed *exec.ExitError
	if err := command.Wait(); !errors.As(err, &killed) {
		t.Fatalf("the victim ended by itself: %v", err)
	}
	if len(said["landed"]) == 0 {
		t.Fatalf("the victim did nothing: %v", said)
	}
	return said
}
