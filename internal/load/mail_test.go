package load_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime/quotedprintable"
	"slices"
	"strings"
	"time"
)

// head is what a web application's mail library writes, but for the Message-ID,
// which sendOne adds.
func head() string {
	return "Date: " + time.Now().Format(time.RFC1123Z) + "\r\n" +
		"From: \"Example Shop\" <app@example.com>\r\n" +
		"To: User <user@example.net>\r\n" +
		"Reply-To: help@example.com\r\n" +
		"Subject: =?utf-8?Q?Your_order_=E2=80=94_thank_you?=\r\n" +
		"X-Mailer: Example 1.0\r\n" +
		"MIME-Version: 1.0\r\n"
}

// textMail is one text part, size octets in all.
func textMail(size int) []byte {
	fields := head() + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
	return append([]byte(fields), prose(size-len(fields))...)
}

// multipartMail is what a shop sends: text and HTML, and a file, 30 KiB in all.
func multipartMail() []byte {
	var mail bytes.Buffer
	mail.WriteString(head() + "Content-Type: multipart/mixed; boundary=outer\r\n\r\n" +
		"--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n")
	mail.WriteString("--inner\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	quote(&mail, prose(4<<10))
	mail.WriteString("\r\n--inner\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	quote(&mail, markup(14<<10))
	mail.WriteString("\r\n--inner--\r\n--outer\r\n")
	file(&mail, (30<<10-mail.Len())*3/4)
	mail.WriteString("--outer--\r\n")
	return mail.Bytes()
}

// attachmentMail is a short text and one file of size octets.
func attachmentMail(size int) []byte {
	var mail bytes.Buffer
	mail.Grow(size/57*78 + 4<<10)
	mail.WriteString(head() + "Content-Type: multipart/mixed; boundary=outer\r\n\r\n" +
		"--outer\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nYour invoice.\r\n--outer\r\n")
	file(&mail, size)
	mail.WriteString("--outer--\r\n")
	return mail.Bytes()
}

// file writes a part of random octets in base64, in lines of 76 (RFC 2045, 6.8).
func file(mail *bytes.Buffer, size int) {
	mail.WriteString("Content-Type: application/pdf; name=invoice.pdf\r\n" +
		"Content-Disposition: attachment; filename=invoice.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for line := range slices.Chunk(noise(size), 57) {
		mail.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
}

// noise is always the same random octets.
func noise(size int) []byte {
	octets := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(octets)
	return octets
}

func quote(mail *bytes.Buffer, text []byte) {
	w := quotedprintable.NewWriter(mail)
	_, _ = w.Write(text)
	_ = w.Close()
}

// prose is size octets of lines with what JSON has to escape, and UTF-8.
func prose(size int) []byte {
	const line = "She said \"thank you\" \u2014 the caf\u00e9 is open until 22:00,\tsee C:\\menu or the site. %06d\r\n"
	return lines(size, line)
}

// markup is size octets of an HTML table.
func markup(size int) []byte {
	const row = "<tr><td class=\"item\" style=\"color:#333\">Item %06d</td><td>&euro;&nbsp;12.00</td></tr>\r\n"
	return lines(size, row)
}

// lines repeats a numbered line; the last one is filled up to the size.
func lines(size int, format string) []byte {
	var text bytes.Buffer
	text.Grow(size)
	for n := 0; ; n++ {
		line := fmt.Sprintf(format, n)
		if text.Len()+len(line)+2 > size {
			break
		}
		text.WriteString(line)
	}
	text.WriteString(strings.Repeat(".", size-text.Len()-2) + "\r\n")
	return text.Bytes()
}
