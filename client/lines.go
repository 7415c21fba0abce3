package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// line is one of a stream.
type line struct {
	n    int // from 1
	text []byte
}

// readLines returns the lines of src that hold more than space, each of at most
// MaxLineBytes and valid until the next. After an error nothing follows.
func readLines(src io.Reader) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		r := bufio.NewReaderSize(src, 64<<10)
		l := line{n: 1}
		for {
			part, err := r.ReadSlice('\n')
			l.text = append(l.text, part...)
			if len(l.text) > MaxLineBytes {
				yield(l, fmt.Errorf("line %d has more than %d bytes", l.n, MaxLineBytes))
				return
			}
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				continue
			case err != nil && !errors.Is(err, io.EOF):
				yield(l, err)
				return
			}
			if len(bytes.TrimSpace(l.text)) > 0 && !yield(l, nil) || err != nil {
				return
			}
			l = line{n: l.n + 1, text: l.text[:0]}
		}
	}
}

// ReadRecords reads records from lines, as an export of key or of one above it
// writes them ("": any): what the servers would refuse is refused here. After an error nothing follows; what is wrong with
// a line is a *SyntaxError.
func ReadRecords(src io.Reader, key string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for l, err := range readLines(src) {
			var rec Record
			if err == nil {
				rec, err = parseRecord(l, key)
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

func parseRecord(l line, key string) (Record, error) {
	s := scanner{s: string(l.text)}
	if !s.begin() || !s.skipValue(0) || !s.end() {
		err := s.err()
		err.Line = l.n
		return Record{}, err
	}
	var (
		j   recordJSON
		rec Record
	)
	d := json.NewDecoder(strings.NewReader(strings.TrimPrefix(s.s, byteOrderMark)))
	d.DisallowUnknownFields()
	err := d.Decode(&j)
	if err == nil {
		err = rec.from(&j)
	}
	switch {
	case err != nil:
	case j.Value == nil:
		err = errors.New("record has no value")
	case len(rec.Value) > MaxValueBytes:
		err = fmt.Errorf("value of %q has %d bytes, at most %d are allowed", rec.Path, len(rec.Value), MaxValueBytes)
	case key != "" && rec.Path != key && !strings.HasPrefix(rec.Path, key+"/"):
		err = fmt.Errorf("path %q is not below %q, where the import goes", rec.Path, key)
	default:
		err = CheckKey(rec.Path)
	}
	if err != nil {
		return Record{}, &SyntaxError{Line: l.n, Column: 1, Reason: strings.TrimPrefix(err.Error(), "json: ")}
	}
	return rec, nil
}
