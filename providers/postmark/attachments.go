package postmark

import (
	"cmp"
	"mime"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

const (
	octetStream = "application/octet-stream"
	// namelessFile and namelessInvitation stand where the mail gives no name: the
	// API wants one.
	namelessFile       = "attachment"
	namelessInvitation = "invite.ics"
)

// extensions of files without a name. "bin" is not among them: the API takes no
// such file.
var extensions = map[string]string{
	"application/gzip":                        ".gz",
	"application/json":                        ".json",
	"application/ms-tnef":                     ".dat",
	"application/msword":                      ".doc",
	"application/pdf":                         ".pdf",
	"application/pgp-keys":                    ".asc",
	"application/pgp-signature":               ".asc",
	"application/pkcs7-signature":             ".p7s",
	"application/rtf":                         ".rtf",
	"application/vnd.ms-excel":                ".xls",
	"application/vnd.ms-powerpoint":           ".ppt",
	"application/vnd.oasis.opendocument.text": ".odt",
	"application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":         ".xlsx",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document":   ".docx",
	"application/xml":         ".xml",
	"application/zip":         ".zip",
	"audio/mp4":               ".m4a",
	"audio/mpeg":              ".mp3",
	"audio/ogg":               ".ogg",
	"audio/wav":               ".wav",
	"image/bmp":               ".bmp",
	"image/gif":               ".gif",
	"image/heic":              ".heic",
	"image/jpeg":              ".jpg",
	"image/png":               ".png",
	"image/svg+xml":           ".svg",
	"image/tiff":              ".tif",
	"image/webp":              ".webp",
	"message/delivery-status": ".txt",
	"message/rfc822":          ".eml",
	"text/calendar":           ".ics",
	"text/csv":                ".csv",
	"text/html":               ".html",
	"text/rfc822-headers":     ".txt",
	"text/vcard":              ".vcf",
	"text/x-amp-html":         ".html",
	"text/xml":                ".xml",
	"video/mp4":               ".mp4",
	"video/mpeg":              ".mpeg",
	"video/quicktime":         ".mov",
	"video/webm":              ".webm",
}

func (p *payload) attachments() {
	var files []*translate.Part
	for i := range p.m.Parts {
		if part := &p.m.Parts[i]; providers.CarriesPart(p.capabilities, part) {
			files = append(files, part)
		}
	}
	if len(files) == 0 {
		return
	}
	p.Key("Attachments")
	p.Array(func() {
		for _, file := range files {
			p.Object(func() { p.attachment(file) })
		}
	})
}

func (p *payload) attachment(file *translate.Part) {
	name, _ := providers.FitFileName(p.capabilities, file.Name)
	p.field("Name", cmp.Or(name, fallbackName(file)))
	p.field("ContentType", contentType(file))
	// The prefix is the API's own: the HTML says src="cid:logo".
	if id := strings.TrimSpace(providers.OneLine(file.ContentID)); file.Role == translate.Inline && id != "" {
		p.field("ContentID", "cid:"+id)
	}
	p.Key("Content")
	p.Base64(file.Base64Len(), file.OpenBase64)
}

func fallbackName(file *translate.Part) string {
	extension, known := extensions[file.Type]
	switch {
	case file.Role == translate.Alternative && file.Type == "text/calendar":
		return namelessInvitation
	case known:
	case strings.HasPrefix(file.Type, "text/"):
		extension = ".txt"
	default:
		extension = ".dat"
	}
	return namelessFile + extension
}

// contentType keeps what a text cannot be read without: its charset, and of an
// invitation the method (article 1101 writes a type so).
func contentType(file *translate.Part) string {
	params := make(map[string]string, 2)
	if strings.HasPrefix(file.Type, "text/") {
		for _, name := range [...]string{"charset", "method"} {
			if value := file.Params[name]; isToken(value) {
				params[name] = value
			}
		}
		if file.Role == translate.Alternative { // it was converted
			params["charset"] = "utf-8"
		}
	}
	if formatted := mime.FormatMediaType(file.Type, params); strings.Contains(formatted, "/") {
		return formatted
	}
	return octetStream
}

// isToken: what stands in a parameter without quotes (RFC 2045, 5.1), of which
// charsets and methods (RFC 5545, 3.7.2) need no more.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && !strings.ContainsRune("-_.:+", r) && (r > 'z' || !isLetter(byte(r)))
	})
}
