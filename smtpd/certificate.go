package smtpd

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is the pair of files that TLS listeners show. A handshake looks
// whether they have changed; what cannot be used is logged, and the last good
// certificate stays.
type certificate struct {
	logger *slog.Logger

	mu     sync.Mutex // guards the fields below
	files  TLS
	seen   [2]stamp
	loaded *tls.Certificate
}

// stamp tells one version of a file from the next.
type stamp struct {
	modified time.Time
	size     int64
}

// use reads a pair of files, or none, and keeps to them from now on. On an
// error all stays as it was.
func (c *certificate) use(files TLS) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if files == (TLS{}) {
		c.files, c.loaded = files, nil
		return nil
	}
	seen := stamps(files)
	loaded, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	c.files, c.seen, c.loaded = files, seen, &loaded
	return nil
}

// config is for one connection.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.current}
}

// current gives the certificate as it is on disk now.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen := stamps(c.files); seen != c.seen {
		c.seen = seen // each broken version is reported once
		loaded, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
		if err != nil {
			c.logger.Error("certificate cannot be used, the old one stays", "err", err)
		} else {
			c.loaded = &loaded
		}
	}
	return c.loaded, nil
}

func stamps(files TLS) [2]stamp {
	return [2]stamp{stampOf(files.CertFile), stampOf(files.KeyFile)}
}

func stampOf(name string) stamp {
	info, err := os.Stat(name)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}
