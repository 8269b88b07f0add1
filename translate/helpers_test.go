package translate_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"smtpbridge/translate"
)

// checkBase64 holds OpenBase64 to the content that Open gave.
func checkBase64(t *testing.T, p *translate.Part, data []byte) []byte {
	t.Helper()
	encoded := readAll(t, p.OpenBase64)
	if got := int64(len(encoded)); got != p.Base64Len() {
		t.Errorf("part %s %q gave %d octets of base64, Base64Len says %d", p.Type, p.Name, got, p.Base64Len())
	}
	decoded, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil || string(decoded) != string(data) {
		t.Errorf("base64 of part %s %q does not give its content back (%v): %q", p.Type, p.Name, err, encoded)
	}
	return data
}

// parseIn is parse for benchmarks.
func parseIn(dir string, raw []byte) (*translate.Message, error) {
	spool, err := translate.NewSpool(bytes.NewReader(raw), translate.Limits{SpoolDir: dir})
	if err != nil {
		return nil, err
	}
	return translate.Parse(spool, translate.Envelope{Recipients: []string{"to@example.org"}})
}
