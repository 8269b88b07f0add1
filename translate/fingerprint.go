package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Fingerprint is the same for two mails that read the same: Date, Received and the
// boundaries between the parts, which differ when a program sends a mail again,
// are left out. It reads the whole mail.
func (m *Message) Fingerprint() (string, error) {
	hash := sha256.New()
	write := func(values ...any) { _, _ = fmt.Fprintf(hash, "%q\n", values) }
	for _, author := range []*Address{m.From, m.Sender} {
		if author != nil {
			write(*author)
		}
	}
	write(m.To, m.Cc, m.ReplyTo, m.Subject, m.InReplyTo, m.References, m.Headers)
	write(m.Directives.Tags, m.Directives.SendAt, m.Directives.Provider, m.Directives.Options)
	for _, key := range slices.Sorted(maps.Keys(m.Directives.Metadata)) {
		write(key, m.Directives.Metadata[key])
	}
	for _, body := range []*Part{m.Text, m.HTML, m.AMP} {
		if err := hashPart(hash, body); err != nil {
			return "", err
		}
	}
	for i := range m.Parts {
		if err := hashPart(hash, &m.Parts[i]); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func hashPart(hash io.Writer, p *Part) error {
	if p == nil {
		_, _ = io.WriteString(hash, "none\n")
		return nil
	}
	_, _ = fmt.Fprintf(hash, "%q %q %q %d\n", p.Type, p.Name, p.ContentID, p.Size)
	content, err := p.Open()
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // reading is done
	_, err = io.Copy(hash, content)
	return err
}
