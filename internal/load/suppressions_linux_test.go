package load_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/store/postgrestest"
)

// The commands change the list of a bridge that runs, in its own directory, and of
// those that share its database: each honours it within a second.
func TestSuppressionsBesideBridges(t *testing.T) {
	t.Parallel()
	tables := fmt.Sprintf("[store]\nurl = %q\n[[provider]]\ntype = \"sandbox\"\n", postgrestest.Start(t).Database(t))
	m := &member{binary: buildBridge(t), smtp: freeAddress(t), admin: freeAddress(t), config: filepath.Join(t.TempDir(), "config.toml")}
	text := fmt.Sprintf("data_dir = \"data\"\n[[smtp.listener]]\naddress = %q\n[http]\nwebhook_address = \"127.0.0.1:0\"\nadmin_address = %q\n", m.smtp, m.admin)
	if err := os.WriteFile(m.config, []byte(text+tables), 0o600); err != nil {
		t.Fatal(err)
	}
	m.process = serve(t, m.binary, m.config, m.smtp)
	bridges := []string{m.smtp, startTables(t, tables).smtp}

	m.suppressions(t, "", "added gone@sandbox.test", "add", "Gone@sandbox.test")
	expectSoon(t, bridges, "gone@sandbox.test", "5.7.1 suppressed")
	m.suppressions(t, "", "gone@sandbox.test\tmanual\t", "list")
	expectStatus(t, http.MethodGet, "http://"+m.admin+"/api/v1/suppressions/gone@sandbox.test", "", http.StatusOK)
	exported := m.suppressions(t, "", "gone@sandbox.test,,manual,", "export")
	m.suppressions(t, "", "removed gone@sandbox.test", "remove", "gone@sandbox.test")
	expectSoon(t, bridges, "gone@sandbox.test", "250 ")
	m.suppressions(t, exported+"more@sandbox.test,,complaint,,,\n", "added 2", "import")
	expectSoon(t, bridges, "gone@sandbox.test", "5.7.1 suppressed")
	expectSoon(t, bridges, "more@sandbox.test", "5.7.1 suppressed")
}

// suppressions runs a command and gives what it prints.
func (m *member) suppressions(t *testing.T, input, want string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.binary, slices.Concat([]string{"suppressions"}, args, []string{"--config", m.config})...)
	cmd.Stdin = strings.NewReader(input)
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	if err := cmd.Run(); err != nil || !strings.Contains(words.String(), want) {
		t.Fatalf("bridge suppressions %v: %v\n%s, want %q", args, err, &words, want)
	}
	return words.String()
}

// expectSoon waits for a reply at each bridge.
func expectSoon(t *testing.T, bridges []string, recipient, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a second, on a machine that is busy
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, address := range bridges {
		for reply := ""; !strings.Contains(reply, want); {
			reply = sendPlain(t, address, recipient)
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("a bridge still answers %q to %s, want %q", reply, recipient, want)
			}
		}
	}
}
