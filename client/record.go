package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// TypeJSON is the content type of a value that is JSON text.
const TypeJSON = "application/json"

const typeOctets = "application/octet-stream"

// Record is one key's value and what is known about its changes.
type Record struct {
	Path string
	// Value is the value's bytes, as they were put.
	Value       []byte
	ContentType string
	// Revision is that of the key's last change, CreateRevision of its first since
	// it was last absent; Version counts its changes from there.
	Revision, CreateRevision, Version uint64
	ModifiedAt                        time.Time
	ModifiedBy                        string
}

// recordJSON is a record as the API spells it.
type recordJSON struct {
	Path           string          `json:"path"`
	Value          json.RawMessage `json:"value"`
	Encoding       string          `json:"encoding"`
	ContentType    *string         `json:"content_type"`
	Revision       uint64          `json:"revision"`
	CreateRevision uint64          `json:"create_revision"`
	Version        uint64          `json:"version"`
	ModifiedAt     time.Time       `json:"modified_at"`
	ModifiedBy     string          `json:"modified_by"`
}

// UnmarshalJSON reads a record as the API spells it. A record without a content
// type is JSON.
func (r *Record) UnmarshalJSON(text []byte) error {
	var j recordJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	return r.from(&j)
}

func (r *Record) from(j *recordJSON) error {
	contentType := TypeJSON
	if j.ContentType != nil {
		contentType = *j.ContentType
	}
	*r = Record{
		Path: j.Path, ContentType: contentType,
		Revision: j.Revision, CreateRevision: j.CreateRevision, Version: j.Version,
		ModifiedAt: j.ModifiedAt, ModifiedBy: j.ModifiedBy,
	}
	switch {
	case j.Value == nil:
		return nil
	case j.Encoding == "" && IsJSONType(contentType):
		r.Value = j.Value
		return nil
	case j.Encoding != "" && j.Encoding != "base64":
		return fmt.Errorf("record %q: encoding %q is not known", j.Path, j.Encoding)
	}
	var text string
	if err := json.Unmarshal(j.Value, &text); err != nil {
		return fmt.Errorf("record %q: value must be a string: %w", j.Path, err)
	}
	r.Value = []byte(text)
	if j.Encoding == "" {
		return nil
	}
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("record %q: value is not base64: %w", j.Path, err)
	}
	r.Value = value
	return nil
}

// MarshalJSON spells the record as the API does.
func (r Record) MarshalJSON() ([]byte, error) { return r.append(nil, false), nil }

// AppendJSON appends the record as the API spells it, on one line and so that
// every byte of its value comes back: a JSON value with line breaks goes as base64.
func (r *Record) AppendJSON(b []byte) []byte { return r.append(b, true) }

func (r *Record) append(b []byte, line bool) []byte {
	b = r.appendHead(b, line)
	if r.Revision != 0 {
		b = append(b, `,"revision":`...)
		b = strconv.AppendUint(b, r.Revision, 10)
		b = append(b, `,"create_revision":`...)
		b = strconv.AppendUint(b, r.CreateRevision, 10)
		b = append(b, `,"version":`...)
		b = strconv.AppendUint(b, r.Version, 10)
		b = append(b, `,"modified_at":"`...)
		b = r.ModifiedAt.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","modified_by":`...)
		b = appendString(b, r.ModifiedBy)
	}
	return append(b, '}')
}

// appendHead appends what an import needs of the record, without the closing brace.
func (r *Record) appendHead(b []byte, line bool) []byte {
	b = append(b, `{"path":`...)
	b = appendString(b, r.Path)
	b = append(b, ',')
	b = r.appendValue(b, line)
	b = append(b, `,"content_type":`...)
	return appendString(b, r.ContentType)
}

// appendValue appends the members value and, if it needs one, encoding. exact: so that
// every byte comes back, which the space around a JSON value and its line breaks do not.
func (r *Record) appendValue(b []byte, exact bool) []byte {
	b = append(b, `"value":`...)
	isJSON := IsJSONType(r.ContentType)
	switch {
	case isJSON && len(r.Value) > 0 && (!exact || survives(r.Value)):
		return append(b, r.Value...)
	case !isJSON && r.ContentType != typeOctets && utf8.Valid(r.Value):
		return appendString(b, string(r.Value))
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, r.Value)
	return append(b, `","encoding":"base64"`...)
}

// survives tells whether a JSON value comes back from a line as it is.
func survives(value []byte) bool {
	return !bytes.ContainsAny(value, "\r\n") && len(bytes.TrimSpace(value)) == len(value)
}

// IsJSONType tells whether values of a content type are JSON text: it is
// application/json or ends in +json, parameters apart.
func IsJSONType(contentType string) bool {
	if contentType == TypeJSON {
		return true
	}
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.ToLower(strings.TrimSpace(essence))
	return essence == TypeJSON || strings.HasSuffix(essence, "+json")
}

const hexDigits = "0123456789abcdef"

// appendString appends s, which is UTF-8, as a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
