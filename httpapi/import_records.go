package httpapi

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// recordsMemory is the most that an import of records holds of MaxBodyMemoryBytes:
// the line being read, and the transactions in flight with the next one. A small
// body holds its line and its values at most.
const recordsMemory = MaxLineBytes + (MaxImportInFlight+1)*MaxImportBytes

// records adds the records of a stream of lines, one JSON object each, as an
// export writes them. Transactions leave while later lines are still arriving.
func (l *loader) records(b *body, src source) error {
	held := int64(recordsMemory)
	if n := b.c.r.ContentLength; n >= 0 {
		held = min(held, 2*n)
	}
	if err := b.hold(held); err != nil {
		return err
	}
	lines := lineReader{src: bufio.NewReaderSize(b, 64<<10)}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && len(bytes.TrimSpace(line)) > 0 {
			var (
				op    fsm.Op
				fault *syntaxError
			)
			if op, fault = parseRecord(line, src.target, l.c.api.MaxValueBytes); fault != nil {
				_, column := position(line, fault.offset)
				return fault.problemAt(lines.n, column, src.file)
			}
			err = l.add(op)
		}
		if err != nil {
			return err
		}
	}
}

// lineReader reads lines of at most MaxLineBytes.
type lineReader struct {
	src *bufio.Reader
	buf []byte
	n   int // of the line last returned, from 1
}

// next returns a line, valid until the next call; io.EOF after the last.
func (r *lineReader) next() ([]byte, error) {
	r.n++
	r.buf = r.buf[:0]
	for {
		part, err := r.src.ReadSlice('\n')
		r.buf = append(r.buf, part...)
		if len(r.buf) > MaxLineBytes {
			return nil, tooLarge("line "+strconv.Itoa(r.n), MaxLineBytes)
		}
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(r.buf) > 0:
			return r.buf, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// record is what a line says, member by member.
type record struct {
	path, contentType, encoding string
	value                       []byte // its JSON text
	typed                       bool   // content_type is there
	pathAt, typeAt, encodingAt  int
	valueAt                     int
}

// parseRecord reads a line. The operation's value is not part of it.
func parseRecord(line []byte, t target, maxValue int) (fsm.Op, *syntaxError) {
	s := scanner{b: line}
	rec, fault := s.record()
	if fault != nil {
		return fsm.Op{}, fault
	}
	if reason := checkKey(rec.path); reason != "" {
		return fsm.Op{}, s.fault(rec.pathAt, "%s", reason)
	}
	if rec.path != t.key && !strings.HasPrefix(rec.path, t.prefix()) {
		return fsm.Op{}, s.fault(rec.pathAt, "path %q is not below %q, where the import goes", rec.path, t.key)
	}
	if !rec.typed {
		rec.contentType = typeJSON
	}
	value, fault := s.recordValue(&rec)
	if fault != nil {
		return fsm.Op{}, fault
	}
	if fault = s.checkSize(&rec, value, maxValue); fault != nil {
		return fsm.Op{}, fault
	}
	return put(rec.path, value, rec.contentType), nil
}

// checkSize refuses a record's value that is too large.
func (s *scanner) checkSize(rec *record, value []byte, limit int) *syntaxError {
	if len(value) <= limit {
		return nil
	}
	fault := s.fault(rec.valueAt, "value of %q has %d bytes, at most %d are allowed", rec.path, len(value), limit)
	fault.kind, fault.limit = kindTooLarge, int64(limit)
	return fault
}

func (s *scanner) record() (rec record, fault *syntaxError) {
	if fault = s.begin(); fault != nil {
		return rec, fault
	}
	fault = s.object("a record, which is an object", func(name string, at int) *syntaxError {
		return s.recordMember(&rec, name, at)
	})
	if fault != nil {
		return rec, fault
	}
	if fault = s.end(); fault != nil {
		return rec, fault
	}
	switch {
	case rec.pathAt == 0:
		return rec, s.fault(0, "record has no path")
	case rec.valueAt == 0:
		return rec, s.fault(0, "record has no value")
	}
	return rec, nil
}

// recordMember reads one member's value. What an export says about a record's
// past is skipped: an import makes its own.
func (s *scanner) recordMember(rec *record, name string, at int) (fault *syntaxError) {
	text := func(into *string, where *int) *syntaxError {
		*where = s.i
		*into, fault = s.text()
		return fault
	}
	switch name {
	case "path":
		return text(&rec.path, &rec.pathAt)
	case "content_type":
		rec.typed = true
		return text(&rec.contentType, &rec.typeAt)
	case "encoding":
		return text(&rec.encoding, &rec.encodingAt)
	case "value":
		rec.valueAt = s.i
		rec.value, fault = s.raw()
		return fault
	case "revision", "create_revision", "version", "modified_at", "modified_by":
		return s.skipValue(0)
	}
	return s.fault(at, "member %q is not one of a record", name)
}

// recordValue is the value's bytes, a copy.
func (s *scanner) recordValue(rec *record) ([]byte, *syntaxError) {
	if reason := checkContentType(rec.contentType); reason != "" && rec.contentType != "" {
		return nil, s.fault(rec.typeAt, "content_type %s", reason)
	}
	isJSON := isJSONType(rec.contentType)
	switch rec.encoding {
	case "":
		if isJSON {
			return bytes.Clone(rec.value), nil
		}
		in := scanner{b: rec.value}
		if in.peek() != '"' {
			return nil, s.fault(rec.valueAt, "value must be a string: its content type, %s, is not JSON", rec.contentType)
		}
		text, fault := in.unquote()
		if fault != nil {
			fault.offset += rec.valueAt
			return nil, fault
		}
		return []byte(text), nil
	case "base64":
		in := scanner{b: rec.value}
		if in.peek() != '"' {
			return nil, s.fault(rec.valueAt, "value must be a string: its encoding is base64")
		}
		text, fault := in.unquote()
		value, err := base64.StdEncoding.Strict().DecodeString(text)
		if fault != nil || err != nil {
			return nil, s.fault(rec.valueAt, "value is not base64")
		}
		if isJSON {
			if fault = checkJSON(value); fault != nil {
				return nil, s.fault(rec.valueAt, "value, decoded, is not JSON: %v", fault)
			}
		}
		return value, nil
	}
	return nil, s.fault(rec.encodingAt, "encoding is %q, want base64 or none", rec.encoding)
}
