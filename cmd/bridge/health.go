package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// healthTimeout is shorter than a probe's usual patience, so that the reason gets out.
	healthTimeout = 3 * time.Second
	// maxHealthAnswer bounds what is repeated of an answer, in octets.
	maxHealthAnswer = 4 << 10
)

type health struct {
	configured

	Ready bool `help:"Ask whether it is ready for mail, not only alive."`
}

// Run asks admin_address. The file may have become invalid while the bridge runs
// on with what it read before: that is no reason to say that it is unwell, as
// long as the address can be read.
func (h health) Run(ctx context.Context, t terminal) error {
	c, invalid := h.load(t)
	page := "/healthz"
	if h.Ready {
		page = "/readyz"
	}
	answer, err := ask(ctx, "http://"+reachable(c.HTTP.AdminAddress)+page)
	if err != nil {
		return errors.Join(err, invalid)
	}
	t.printf("%s\n", answer)
	return nil
}

// reachable turns an address that listens everywhere into one to connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func ask(ctx context.Context, url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: healthTimeout}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("asking the bridge: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking the bridge: %w; is it running?", err)
	}
	defer func() { _ = response.Body.Close() }()
	var body strings.Builder
	if _, err := io.Copy(&body, io.LimitReader(response.Body, maxHealthAnswer)); err != nil {
		return "", fmt.Errorf("reading the bridge's answer: %w", err)
	}
	answer := strings.TrimSpace(body.String())
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the bridge answers %s: %s", response.Status, answer)
	}
	return answer, nil
}
