package httpapi

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/confman/confman/fsm"
)

const hexDigits = "0123456789abcdef"

// appendString appends s, which is UTF-8, as a JSON string.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendRecord appends rec without the closing brace, so that the caller may add
// to it. Its cost is part of every read: no reflection, nothing kept.
func appendRecord(b []byte, rec *fsm.Record) []byte {
	b = append(b, `{"path":`...)
	b = appendString(b, rec.Key)
	b = append(b, `,"value":`...)
	b = appendValue(b, rec)
	b = append(b, `,"content_type":`...)
	b = appendString(b, rec.ContentType)
	return appendChange(b, rec)
}

// appendOctetRecord is appendRecord with the value as base64, whatever it is.
func appendOctetRecord(b []byte, rec *fsm.Record) []byte {
	b = append(b, `{"path":`...)
	b = appendString(b, rec.Key)
	b = append(b, `,"value":`...)
	b = appendBase64(b, rec.Value)
	b = append(b, `,"content_type":`...)
	b = appendString(b, rec.ContentType)
	return appendChange(b, rec)
}

// appendChange appends what is known about a record's changes.
func appendChange(b []byte, rec *fsm.Record) []byte {
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, uint64(rec.Revision), 10)
	b = append(b, `,"create_revision":`...)
	b = strconv.AppendUint(b, uint64(rec.CreateRevision), 10)
	b = append(b, `,"version":`...)
	b = strconv.AppendUint(b, rec.Version, 10)
	b = append(b, `,"modified_at":`...)
	b = appendTime(b, rec.ModifiedAt)
	b = append(b, `,"modified_by":`...)
	return appendString(b, rec.ModifiedBy)
}

// appendValue appends the value and, if it is not plain to see, its encoding.
func appendValue(b []byte, rec *fsm.Record) []byte {
	switch formOf(rec.ContentType, rec.Value) {
	case formJSON:
		return append(b, rec.Value...)
	case formText:
		return appendString(b, rec.Value)
	default:
		return appendBase64(b, rec.Value)
	}
}

func appendBase64(b, value []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, `","encoding":"base64"`...)
}

// form is how a value appears in JSON.
type form uint8

const (
	formJSON   form = iota // inline
	formText               // as a string
	formOctets             // as base64
)

func formOf(contentType string, value []byte) form {
	switch {
	case isJSONType(contentType):
		return formJSON
	case contentType != typeOctets && utf8.Valid(value):
		return formText
	}
	return formOctets
}

// isJSONType tells whether a content type is application/json or ends in +json,
// parameters apart.
func isJSONType(contentType string) bool {
	if contentType == typeJSON {
		return true
	}
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.ToLower(strings.TrimSpace(essence))
	return essence == typeJSON || strings.HasSuffix(essence, "+json")
}

// appendStrings appends a list.
func appendStrings(b []byte, texts []string) []byte {
	b = append(b, '[')
	for i := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, texts[i])
	}
	return append(b, ']')
}

// appendTime appends Unix nanoseconds.
func appendTime(b []byte, ns int64) []byte {
	b = append(b, '"')
	b = time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}
