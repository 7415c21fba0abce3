package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Change is a transaction with all that it did to what is watched.
type Change struct {
	Revision   uint64
	ModifiedAt time.Time
	ModifiedBy string
	Comment    string // why, as the writer said
	RequestID  string
	Source     string // the address the write came from; "": not known
	Events     []Event
}

// changeJSON is a change as the API spells it.
type changeJSON struct {
	Revision   uint64            `json:"revision"`
	ModifiedAt time.Time         `json:"modified_at"`
	ModifiedBy string            `json:"modified_by"`
	Comment    string            `json:"comment,omitempty"`
	RequestID  string            `json:"request_id,omitempty"`
	Source     string            `json:"source,omitempty"`
	Events     []json.RawMessage `json:"events"`
}

// UnmarshalJSON reads a change as the API spells it. Its events have what they share with it.
func (c *Change) UnmarshalJSON(text []byte) error {
	var j changeJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*c = Change{
		Revision: j.Revision, ModifiedAt: j.ModifiedAt, ModifiedBy: j.ModifiedBy,
		Comment: j.Comment, RequestID: j.RequestID, Source: j.Source, Events: make([]Event, len(j.Events)),
	}
	for i := range c.Events {
		e := &c.Events[i]
		if err := json.Unmarshal(j.Events[i], e); err != nil {
			return err
		}
		e.Revision, e.ModifiedAt, e.ModifiedBy = c.Revision, c.ModifiedAt, c.ModifiedBy
		e.Comment, e.RequestID, e.Source = c.Comment, c.RequestID, c.Source
	}
	return nil
}

// MarshalJSON spells the change as the API does.
func (c Change) MarshalJSON() ([]byte, error) {
	j := changeJSON{
		Revision: c.Revision, ModifiedAt: c.ModifiedAt.UTC(), ModifiedBy: c.ModifiedBy,
		Comment: c.Comment, RequestID: c.RequestID, Source: c.Source, Events: make([]json.RawMessage, len(c.Events)),
	}
	for i := range c.Events {
		e := &c.Events[i]
		if e.Deleted {
			j.Events[i] = append(appendString([]byte(`{"path":`), e.Path), `,"action":"delete"}`...)
			continue
		}
		b := e.append(nil, false)
		j.Events[i] = append(b[:len(b)-1], `,"action":"put"}`...)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // values are shown as they are
	err := enc.Encode(j)
	return bytes.TrimSpace(out.Bytes()), err
}

// WatchOptions says which changes a watch gives.
type WatchOptions struct {
	// From is the revision after which it begins, such as that of what was read before; zero:
	// with what comes from now on, unless FromStart.
	From uint64
	// FromStart begins with the first change there ever was; From is ignored.
	FromStart bool
	// Heartbeat is how often the node says that it is there when nothing changes (default
	// DefaultHeartbeat). After MissedHeartbeats without a word another node is asked.
	Heartbeat time.Duration
}

// Watch returns the changes to the key path, or below it if it ends in a slash or is the root
// "", each once and in their order, as long as ctx lasts: whatever happens to a node, it goes
// on at another one where it was.
//
// It ends with one error: IsCompacted, if the changes that it lacks are not held any more
// (read what is there now, and watch from that revision); ctx's; or a *KeyError, or *Error,
// that another attempt cannot help.
func (c *Client) Watch(ctx context.Context, path string, o WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		target, err := pathOrSubtree("/watch", path)
		if err != nil {
			yield(Change{}, err)
			return
		}
		def(&o.Heartbeat, DefaultHeartbeat)
		w := &watch{c: c, yield: yield, query: url.Values{"heartbeat": {o.Heartbeat.String()}}}
		w.request = request{
			method: http.MethodGet, path: target, header: http.Header{"Accept": {"text/event-stream"}},
			stream: true, unbounded: true, silence: MissedHeartbeats * o.Heartbeat,
		}
		w.request.query = w.query.Encode()
		if o.From != 0 || o.FromStart {
			if o.FromStart {
				o.From = 0
			}
			w.at(o.From)
		}
		err = c.do(ctx, &w.request, w.consume)
		switch {
		case ctx.Err() != nil && !w.left:
			yield(Change{}, ctx.Err())
		case err != nil:
			yield(Change{}, err)
		}
	}
}

// watch is one Watch.
type watch struct {
	c       *Client
	yield   func(Change, error) bool
	request request
	query   url.Values
	left    bool // the caller wants no more
}

// at notes that everything up to revision rev was given: the next node begins there.
func (w *watch) at(rev uint64) {
	w.query.Set("from_revision", strconv.FormatUint(rev, 10))
	w.request.query = w.query.Encode()
}

// consume gives what a stream has. It returns nil only if the caller wants no more.
func (w *watch) consume(resp *http.Response) error {
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		return fmt.Errorf("%w: a stream of type %q", ErrAnswer, kind)
	}
	for b, err := range readBlocks(resp.Body) {
		if err == nil {
			err = w.take(&b)
		}
		if err != nil || w.left {
			return err
		}
	}
	return fmt.Errorf("%w: the node said no more", ErrBrokenOff)
}

// take takes one block of a stream.
func (w *watch) take(b *block) error {
	switch b.event {
	case "":
		if rev, err := strconv.ParseUint(b.id, 10, 64); err == nil {
			w.at(rev)
			w.request.moved = true
		}
	case "change":
		var ch Change
		if err := json.Unmarshal(b.data, &ch); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		if b.id != strconv.FormatUint(ch.Revision, 10) {
			return fmt.Errorf("%w: the change of revision %d has id %q", ErrAnswer, ch.Revision, b.id)
		}
		w.at(ch.Revision)
		w.request.moved = true
		w.c.saw(ch.Revision)
		w.left = !w.yield(ch, nil)
	case "error":
		p := &Problem{}
		if err := json.Unmarshal(b.data, p); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return p
	} // another event is of a later version
	return nil
}

// block is one of an event stream.
type block struct {
	id, event string
	data      []byte
}

// readBlocks returns the blocks of an event stream, without those that are only a comment.
func readBlocks(src io.Reader) iter.Seq2[block, error] {
	return func(yield func(block, error) bool) {
		r := bufio.NewReader(src)
		var b block
		var line []byte
		for {
			part, err := r.ReadSlice('\n')
			line = append(line, part...)
			switch {
			case len(line)+len(b.data) > MaxChangeBytes:
				yield(b, fmt.Errorf("%w: an event has more than %d bytes", ErrAnswer, MaxChangeBytes))
				return
			case errors.Is(err, bufio.ErrBufferFull):
				continue
			case errors.Is(err, io.EOF): // what has no empty line behind it is not whole
				return
			case err != nil:
				yield(b, err)
				return
			}
			text := strings.TrimSuffix(string(line[:len(line)-1]), "\r")
			line = line[:0]
			if text == "" {
				if (b.id != "" || b.event != "") && !yield(b, nil) {
					return
				}
				b = block{}
				continue
			}
			b.field(text)
		}
	}
}

// field takes one line.
func (b *block) field(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "id":
		b.id = value
	case "event":
		b.event = value
	case "data":
		if b.data != nil {
			b.data = append(b.data, '\n')
		}
		b.data = append(b.data, value...)
	}
}
