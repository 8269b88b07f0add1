package app

import (
	"fmt"
	"os"
	"path/filepath"
)

const dataDirRemedy = "it needs a directory that the bridge may write to"

// prepareSpool makes <data_dir>/spool, for the bridge's eyes only, and tries
// whether it can be written: at the start, not at the first large mail.
func prepareSpool(dataDir string) (string, error) {
	dir := filepath.Join(dataDir, "spool")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making data_dir: %w; %s", err, dataDirRemedy)
	}
	probe, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return "", fmt.Errorf("writing to data_dir: %w; %s", err, dataDirRemedy)
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return "", fmt.Errorf("writing to data_dir: %w", err)
	}
	return dir, nil
}
