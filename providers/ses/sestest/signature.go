package sestest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// maxSkew is how far the time of a signature may be from that of AWS.
	maxSkew = 15 * time.Minute
)

// signature is what an Authorization field says.
type signature struct {
	key, date, region, service string
	signed                     []string
	value                      string
}

func forbidden(name, format string, args ...any) *refusal {
	return &refusal{http.StatusForbidden, name, fmt.Sprintf(format, args...)}
}

// authenticate verifies AWS Signature Version 4 ("Create a signed AWS API
// request" in the IAM user guide), from the manual and not by the SDK's signer.
func (f *Fake) authenticate(r *http.Request, body []byte) *refusal {
	if r.Header.Get("Authorization") == "" {
		return forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	s, ok := parseSignature(r.Header.Get("Authorization"))
	if !ok {
		return &refusal{http.StatusBadRequest, "IncompleteSignatureException", "Authorization header requires Credential, SignedHeaders, Signature"}
	}
	at, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	skew := at.Sub(f.account.Now())
	switch {
	case err != nil || at.Format("20060102") != s.date:
		return &refusal{http.StatusBadRequest, "IncompleteSignatureException", "Date in Credential scope does not match X-Amz-Date"}
	case s.key != f.account.AccessKeyID, r.Header.Get("X-Amz-Security-Token") != f.account.SessionToken:
		return forbidden("UnrecognizedClientException", "The security token included in the request is invalid.")
	case s.region != f.account.Region:
		return forbidden("InvalidSignatureException", "Credential should be scoped to a valid region.")
	case s.service != "ses":
		return forbidden("InvalidSignatureException", "Credential should be scoped to correct service: 'ses'.")
	case skew < -maxSkew:
		return forbidden("InvalidSignatureException", "Signature expired: %s is now earlier than the time allowed", at.Format(timeFormat))
	case skew > maxSkew:
		return forbidden("InvalidSignatureException", "Signature not yet current: %s is still later than the time allowed", at.Format(timeFormat))
	}
	if missing := mustSign(r, s.signed); missing != "" {
		return forbidden("InvalidSignatureException", "%s must be signed", missing)
	}
	if !hmac.Equal([]byte(s.value), []byte(f.sign(r, s, body))) {
		return forbidden("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	}
	return nil
}

func parseSignature(field string) (s signature, ok bool) {
	rest, ok := strings.CutPrefix(field, algorithm+" ")
	if !ok {
		return s, false
	}
	parts := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	scope := strings.Split(parts["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" || parts["SignedHeaders"] == "" || parts["Signature"] == "" {
		return s, false
	}
	signed := strings.Split(parts["SignedHeaders"], ";")
	return signature{scope[0], scope[1], scope[2], scope[3], signed, parts["Signature"]}, slices.IsSorted(signed)
}

// mustSign names a field that has to be signed and is not.
func mustSign(r *http.Request, signed []string) string {
	if !slices.Contains(signed, "host") {
		return "host"
	}
	for name := range r.Header {
		name = strings.ToLower(name)
		if (name == "content-type" || strings.HasPrefix(name, "x-amz-")) && !slices.Contains(signed, name) {
			return name
		}
	}
	return ""
}

// sign is the signature that the request should have.
func (f *Fake) sign(r *http.Request, s signature, body []byte) string {
	var fields strings.Builder
	for _, name := range s.signed {
		fields.WriteString(name + ":" + fieldValue(r, name) + "\n")
	}
	canonical := strings.Join([]string{
		r.Method, canonicalPath(r.URL), strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20"), fields.String(), strings.Join(s.signed, ";"), digest(body),
	}, "\n")
	scope := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	text := strings.Join([]string{algorithm, r.Header.Get("X-Amz-Date"), scope, digest([]byte(canonical))}, "\n")
	key := []byte("AWS4" + f.account.SecretAccessKey)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func fieldValue(r *http.Request, name string) string {
	switch name {
	case "host":
		return r.Host
	case "content-length":
		return strconv.FormatInt(r.ContentLength, 10)
	}
	values := slices.Clone(r.Header.Values(name))
	for i, value := range values {
		values[i] = strings.Join(strings.Fields(value), " ")
	}
	return strings.Join(values, ",")
}

// canonicalPath is the path as it was sent, each of its segments encoded again.
func canonicalPath(u *url.URL) string {
	var out strings.Builder
	for _, c := range []byte(u.EscapedPath()) {
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' ||
			(c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
