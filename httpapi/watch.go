package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

const typeEvents = "text/event-stream"

var eventsHeader = []string{typeEvents}

// watchRequest is what GET /watch asks for.
type watchRequest struct {
	target
	from      fsm.Revision
	fromNow   bool // there is no from
	heartbeat time.Duration
	wait      time.Duration // of a long-poll
	poll      bool
}

// watch answers GET /watch: the changes after a revision as they are applied here, as a
// stream of events or, with wait, as a list of the next ones.
func (c *call) watch() error {
	r, err := c.watchRequest()
	if err != nil {
		return err
	}
	select {
	case <-c.api.drained:
		return node.ErrStopped
	default:
	}
	c.need(fsm.VerbRead, r.path())
	if r.fromNow {
		if r.from, err = c.newest(); err != nil {
			return err
		}
	}
	// Registered first: those that wait for a revision count, too.
	w, err := c.api.Node.Watch(r.path(), r.from)
	if err != nil {
		return err
	}
	defer w.Close()
	control := http.NewResponseController(c.w)
	// The connection is read from meanwhile, to see the client leave: not to time out.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	err = c.awaitStart(r.from)
	switch {
	case err != nil:
	case r.poll:
		err = c.longPoll(&r, w, control)
	default:
		err = c.stream(&r, w, control)
	}
	if err != nil { // to be told so does not take for ever
		_ = control.SetWriteDeadline(c.api.Now().Add(TransferTimeout))
	}
	return err
}

func (c *call) watchRequest() (r watchRequest, err error) {
	if r.target, err = parseTarget(c.r.URL, c.param); err != nil {
		return r, err
	}
	q, err := parseQuery(c.r.URL.RawQuery, watchParams)
	if err != nil {
		return r, err
	}
	given := false
	if r.from, given, err = q.revision("from_revision"); err != nil {
		return r, err
	}
	r.fromNow = !given
	if ids := c.r.Header["Last-Event-Id"]; len(ids) > 0 {
		id, err := strconv.ParseUint(ids[0], 10, 64)
		switch {
		case err != nil || len(ids) > 1:
			return r, invalidHeader("Last-Event-ID", "is "+quote(ids[0])+", want a revision: the id of the last event that was received")
		case given && fsm.Revision(id) < r.from:
			return r, invalidHeader("Last-Event-ID", fmt.Sprintf("is %d, which is before from_revision=%d, where the watch began: leave one of them out", id, r.from))
		}
		// Browsers reconnect with the URL that they began with: what was received since wins.
		r.from, r.fromNow = fsm.Revision(id), false
	}
	if r.wait, r.poll, err = q.duration("wait", 0, MaxWatchWait); err != nil {
		return r, err
	}
	r.heartbeat, given, err = q.duration("heartbeat", MinHeartbeat, MaxHeartbeat)
	switch {
	case err != nil:
		return r, err
	case given && r.poll:
		return r, invalidParameter("heartbeat", "contradicts wait: only a stream has heartbeats")
	case !given:
		r.heartbeat = DefaultHeartbeat
	}
	offer := typeEvents
	if r.poll {
		offer = typeJSON
	}
	if accepted(c.r, offer) < 0 {
		return r, notAcceptable(offer)
	}
	return r, nil
}

// awaitStart waits until this node has applied the revision that a watch begins after. One
// that is not here yet may be at other nodes: a quorum is asked.
func (c *call) awaitStart(from fsm.Revision) error {
	newest, err := c.newest()
	if err != nil {
		return err
	}
	status := c.api.Node.Status()
	if g, lost := status.State.GapAt(from); lost {
		return &fsm.CompactedError{Floor: g.To, Gap: g}
	}
	if from <= newest {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), ReadWait)
	defer cancel()
	if err = c.api.Node.Linearize(ctx); err != nil {
		return err
	}
	if newest, err = c.newest(); err == nil && from > newest {
		err = problemf(kindFutureRevision, "the watch begins after revision %d, the newest is %d", from, newest)
	}
	return err
}

// newest is the revision that is applied here, if the caller may, by that, go on reading what it asked for.
func (c *call) newest() (fsm.Revision, error) {
	v, _, err := c.look(time.Time{})
	if err != nil {
		return 0, err
	}
	defer v.Close()
	return v.State().Revision, nil
}

// longPoll answers with the next changes, or with none once it has waited for so long.
func (c *call) longPoll(r *watchRequest, w *node.Watcher, control *http.ResponseController) error {
	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	g := newGatherer(c, w)
	defer g.end()
	for timeout := false; ; {
		st, err := g.gather(func(batch []node.WatchChange, through fsm.Revision) {
			if len(batch) > 0 || timeout {
				c.api.counted.watchEvents.Add(float64(len(batch)))
				c.buf = appendChanges(c.buf, through, batch)
			}
		})
		if err != nil {
			return err
		}
		if timeout && len(c.buf) == 0 { // there are changes, too many for now
			c.buf = appendChanges(c.buf, w.Through(), nil)
		}
		if len(c.buf) > 0 {
			_ = control.SetWriteDeadline(c.api.Now().Add(TransferTimeout))
			status := c.api.Node.Status()
			c.w.Header()["Cache-Control"] = noStoreHeader
			c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
			return nil
		}
		if timeout, err = g.rest(timer.C); err != nil {
			return err
		}
	}
}

// stream answers with events until the client leaves or nothing more can be given.
func (c *call) stream(r *watchRequest, w *node.Watcher, control *http.ResponseController) error {
	s := &eventStream{c: c, control: control}
	g := newGatherer(c, w)
	defer g.end()
	changes := func(batch []node.WatchChange, _ fsm.Revision) {
		for i := range batch {
			s.change(&batch[i])
		}
	}
	s.bookmark(r.from) // who is cut off before the first event knows where to go on
	// The first look comes before the headers: what is not held any more is a plain error.
	st, err := g.gather(changes)
	if err != nil {
		return err
	}
	s.begin(st)
	timer := time.NewTimer(r.heartbeat)
	defer timer.Stop()
	for {
		sent, ok := s.flush()
		if g.release(); !ok {
			return nil
		}
		if sent {
			timer.Reset(r.heartbeat)
		}
		timeout, err := g.rest(timer.C)
		switch {
		case err != nil:
		case timeout:
			if _, err = c.newest(); err == nil { // nor does it go on for who may not watch any more
				s.bookmark(w.Through())
			}
		default:
			_, err = g.gather(changes)
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				s.fail(err)
			}
			return nil
		}
	}
}

// eventStream gathers events and sends them. Nothing is sent after an error.
type eventStream struct {
	c       *call
	control *http.ResponseController
}

// begin sends the headers. What it needs for that is large, and off the stack while it waits.
func (s *eventStream) begin(st standing) {
	status := s.c.api.Node.Status()
	h := s.c.w.Header()
	h["Cache-Control"] = noStoreHeader
	h["X-Accel-Buffering"] = noBufferHeader
	s.c.head(answer{status: http.StatusOK, contentType: eventsHeader, length: -1}, st, &status)
}

// flush sends what was gathered: whether there was anything, and whether the client takes it.
func (s *eventStream) flush() (sent, ok bool) {
	c := s.c
	if len(c.buf) == 0 {
		return false, true
	}
	// It bounds one batch, not the wait for the next: HTTP/2 would end the stream at it.
	_ = s.control.SetWriteDeadline(c.api.Now().Add(TransferTimeout))
	_, err := c.w.Write(c.buf)
	if err == nil {
		err = s.control.Flush()
	}
	_ = s.control.SetWriteDeadline(time.Time{})
	if c.buf = c.buf[:0]; cap(c.buf) > maxKeptBytes/16 {
		c.buf = nil // ten thousand of them wait
	}
	return true, err == nil || errors.Is(err, http.ErrNotSupported)
}

// change appends an event: a change, with its revision as the id to resume after.
func (s *eventStream) change(ch *node.WatchChange) {
	b := appendID(s.c.buf, ch.Revision)
	b = append(b, "event: change\ndata: "...)
	at := len(b)
	b = appendWatchChange(b, ch)
	s.c.buf = append(splitLines(b, at), "\n\n"...)
	s.c.api.counted.watchEvents.Inc()
}

// bookmark appends a heartbeat that moves the id on without an event.
func (s *eventStream) bookmark(through fsm.Revision) {
	s.c.buf = append(s.c.buf, ": heartbeat\n"...)
	s.c.buf = append(appendID(s.c.buf, through), '\n')
}

// fail ends the stream with the problem that err is.
func (s *eventStream) fail(err error) {
	s.c.buf = append(s.c.buf, "event: error\ndata: "...)
	p, _, leader := s.c.problem(err)
	s.c.api.counted.watchErrors.WithLabelValues(p.name).Inc()
	s.c.buf = append(p.appendJSON(s.c.buf, s.c.id, leader, 0), '\n')
	s.flush()
}

func appendID(b []byte, rev fsm.Revision) []byte {
	b = append(b, "id: "...)
	return append(strconv.AppendUint(b, uint64(rev), 10), '\n')
}

// splitLines makes of the text from at on as many data lines as it has: a JSON value may
// hold line breaks.
func splitLines(b []byte, at int) []byte {
	if bytes.IndexByte(b[at:], '\n') < 0 {
		return b
	}
	return append(b[:at:at], bytes.ReplaceAll(b[at:], []byte("\n"), []byte("\ndata: "))...)
}

// appendChanges appends the answer of a long-poll.
func appendChanges(b []byte, through fsm.Revision, batch []node.WatchChange) []byte {
	b = append(b, `{"revision":`...)
	b = strconv.AppendUint(b, uint64(through), 10)
	b = append(b, `,"changes":[`...)
	for i := range batch {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendWatchChange(b, &batch[i])
	}
	return append(b, ']', '}', '\n')
}

// appendWatchChange appends a change: who made it, when and why, and all it did to what is
// watched.
func appendWatchChange(b []byte, ch *node.WatchChange) []byte {
	b = append(b, `{"revision":`...)
	b = strconv.AppendUint(b, uint64(ch.Revision), 10)
	b = append(b, `,"modified_at":`...)
	b = appendTime(b, ch.At)
	b = append(b, `,"modified_by":`...)
	b = appendString(b, ch.Principal.String())
	b = appendWhy(b, &ch.Change)
	b = append(b, `,"events":[`...)
	for i := range ch.Events {
		e := &ch.Events[i]
		if i > 0 {
			b = append(b, ',')
		}
		if e.Deleted {
			b = append(b, `{"path":`...)
			b = appendString(b, e.Key)
			b = append(b, `,"action":"delete"}`...)
			continue
		}
		if formOf(e.Record.ContentType, e.Record.Value) == formJSON && bytes.IndexByte(e.Record.Value, '\r') >= 0 {
			b = appendOctetRecord(b, &e.Record) // an event stream would take it for the end of a line
		} else {
			b = appendRecord(b, &e.Record)
		}
		b = append(b, `,"action":"put"}`...)
	}
	return append(b, ']', '}')
}
