package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// instanceFile holds the name of a bridge among those that share a database: a
// bridge that starts again in its directory is the same, and knows that what was
// in flight of it is not any more.
const instanceFile = "instance"

// instanceOf gives the name in a directory, and makes one where there is none.
// The directory must be locked.
func instanceOf(dir string) (string, error) {
	path := filepath.Join(dir, instanceFile)
	found, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the name of this bridge: %w", err)
	}
	if name := strings.TrimSpace(string(found)); name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "bridge" // it only helps to recognise it
	}
	name := host + "-" + rand.Text()
	if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the name of this bridge: %w", err)
	}
	return name, nil
}
