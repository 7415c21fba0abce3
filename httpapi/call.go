package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// call is one request and its answer. It is reused: nothing may keep it, or its
// buffer, past the handler.
type call struct {
	api   *api
	w     http.ResponseWriter
	r     *http.Request
	param string // the catch-all part of the path
	id    string
	buf   []byte // for the answer's body
	// values are those of headers that are made for this answer, which so share one piece of memory: see head.
	values *[5]string
	// proposed: a command may have left; a failure that knows no better is unknown.
	proposed bool
	begun    bool // the answer's headers are out of our hands

	counted *routeMetrics
	began   time.Duration
	status  int    // of the answer, once it has begun
	name    string // the name of that it was answered with; "": none

	public  bool // the route is for everybody
	who     caller
	needs   []fsm.Need   // what the caller must be allowed to do
	allowed bool         // it was found to be
	again   *fsm.Command // may have been done before: its answer may be read by who sent it
	// wrote is when a write of this call began, if it was applied: views hold all that was
	// acknowledged by then.
	wrote time.Time
}

var calls = sync.Pool{New: func() any { return new(call) }}

// maxKeptBytes is the largest buffer that is kept for the next call.
const maxKeptBytes = 64 << 10

// end makes an answer of a panic and gives the call back.
func (c *call) end() {
	if cause := recover(); cause != nil {
		if cause == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
			c.done(outcomeAborted)
			panic(cause)
		}
		c.api.Logger.Error("panic in a handler", slog.String("request_id", c.id),
			slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
		if c.begun {
			c.done(outcomeAborted)
			panic(http.ErrAbortHandler)
		}
		p := problemf(kindInternal, "the log of this node tells more, under the request's id")
		if c.proposed {
			p.outcome = node.Unknown
		}
		c.fail(p)
	}
	outcome := outcomeOK
	if c.name != "" {
		outcome = c.name
	}
	c.done(outcome)
	if cap(c.buf) > maxKeptBytes {
		c.buf = nil
	}
	*c = call{buf: c.buf, needs: c.needs[:0]}
	calls.Put(c)
}

// done counts the call.
func (c *call) done(outcome string) {
	c.counted.done(c.status, outcome, c.api.clock()-c.began)
}

const unknown = "unknown"

var (
	unknownHeader = []string{unknown}
	jsonHeader    = []string{typeJSON}
	problemHeader = []string{typeProblem}
	recordsHeader = []string{typeRecords}
	yamlHeader    = []string{typeYAML}
	noSniffHeader = []string{"nosniff"}
	varyHeader    = []string{"Accept, Accept-Datetime, Accept-Encoding"}
	noCacheHeader = []string{"no-cache"}
	closeHeader   = []string{"close"}
	// noBufferHeader tells nginx, and who took it over from there, to pass each event on at once.
	noBufferHeader = []string{"no"}
)

// setID takes the client's request id if it is usable, else makes one.
func (c *call) setID() {
	h := c.w.Header()
	if ids := c.r.Header["X-Request-Id"]; len(ids) == 1 && usableID(ids[0]) {
		c.id = ids[0]
		h["X-Request-Id"] = ids
		return
	}
	c.id = c.api.newID()
	c.values = new([5]string)
	c.values[4] = c.id
	h["X-Request-Id"] = c.values[4:5:5]
}

// standing is how an answer relates to the cluster's history.
type standing struct {
	revision fsm.Revision
	age      time.Duration
	fresh    bool // age is proven
	// memento is when the revision's change was accepted, in Unix nanoseconds, if the
	// client asked for a time; else 0.
	memento int64
}

func standingOf(s *node.NodeStatus) standing {
	return standing{revision: s.State.Revision, age: s.Staleness, fresh: s.Fresh}
}

// atMost says that the state is also known not to be older than age.
func (s *standing) atMost(age time.Duration) {
	if !s.within(age) {
		s.age, s.fresh = age, true
	}
}

// within tells whether the state is proven to be at most bound old.
func (s standing) within(bound time.Duration) bool { return s.fresh && s.age <= bound }

// answer says what goes into an answer's headers beside what all have.
type answer struct {
	status      int
	contentType []string
	etag        fsm.Revision // 0: none
	length      int          // of the body; negative: streamed
	coding      coding       // of the body
}

// head writes the headers of an answer. All values that are made for it share
// one string and one slice: every read pays for this. status may be nil: see leaderHeaderOf.
//
// It panics, which is answered with internal, if the handler would give something out to a caller
// whom nobody found to be allowed that.
func (c *call) head(a answer, st standing, status *node.NodeStatus) {
	if !c.public && !c.allowed && a.status < http.StatusBadRequest {
		panic(errNotAuthorized)
	}
	h := c.w.Header()
	h["Confman-Node"] = c.api.nodeHeader
	h["Confman-Leader"] = c.api.leaderHeaderOf(status)
	if a.contentType != nil {
		h["Content-Type"] = a.contentType
	}
	if a.coding != identity && a.status != http.StatusNotModified {
		h["Content-Encoding"] = codingHeaders[a.coding]
	}
	c.cors()
	if c.api.draining.Load() {
		h["Connection"] = closeHeader
	}
	if st.memento != 0 {
		c.memento(st)
	}
	values := c.values
	if values == nil { // the request has an id of its own
		values = new([5]string)
	}
	var text [96]byte
	b := strconv.AppendUint(text[:0], uint64(st.revision), 10)
	revision := len(b)
	b = appendStaleness(b, st)
	staleness := len(b)
	if a.length >= 0 {
		b = strconv.AppendInt(b, int64(a.length), 10)
	}
	length := len(b)
	if a.etag != 0 {
		b = appendETag(b, a.etag, a.coding)
	}
	s := string(b)
	values[0], values[1], values[2], values[3] = s[:revision], s[revision:staleness], s[staleness:length], s[length:]
	h["Confman-Revision"] = values[0:1:1]
	h["Confman-Staleness"] = values[1:2:2]
	if a.length >= 0 && a.status != http.StatusNotModified {
		h["Content-Length"] = values[2:3:3]
	}
	if a.etag != 0 {
		h["Etag"] = values[3:4:4]
	}
	c.begun, c.status = true, a.status
	c.w.WriteHeader(a.status)
}

// appendStaleness appends seconds, rounded up to the next millisecond.
func appendStaleness(b []byte, st standing) []byte {
	if !st.fresh {
		return append(b, unknown...)
	}
	ms := (max(st.age, 0) + time.Millisecond - 1) / time.Millisecond
	b = strconv.AppendInt(b, int64(ms/1000), 10)
	rest := ms % 1000
	return append(b, '.', '0'+byte(rest/100), '0'+byte(rest/10%10), '0'+byte(rest%10))
}

// appendETag appends the etag of a revision in a coding: see there.
func appendETag(b []byte, r fsm.Revision, k coding) []byte {
	b = append(b, '"')
	b = strconv.AppendUint(b, uint64(r), 10)
	b = append(b, codingSuffixes[k]...)
	return append(b, '"')
}

// send answers with c.buf as the body, compressed if the client takes that. What is not to be
// compressed goes out by head and Write.
func (c *call) send(a answer, st standing, status *node.NodeStatus) {
	body := c.buf
	if e := c.encode(&a); e != nil {
		defer e.release()
		body = e.out.Bytes()
	}
	a.length = len(body)
	c.head(a, st, status)
	if a.status != http.StatusNotModified && c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body) // the client is gone: nobody is left to tell
	}
}

// fail answers with the problem that err is.
func (c *call) fail(err error) {
	p, status, leader := c.problem(err)
	outcome := p.outcome
	if outcome == 0 && isWrite(c.r.Method) {
		outcome = node.NotApplied // refused before anything was proposed
	}
	c.buf = p.appendJSON(c.buf[:0], c.id, leader, outcome)
	h := c.w.Header()
	switch {
	case p.after > 0:
		h["Retry-After"] = []string{strconv.FormatInt(int64((p.after+time.Second-1)/time.Second), 10)}
	case p.retryable && p.status == http.StatusServiceUnavailable:
		h["Retry-After"] = retryAfter
	}
	h["Cache-Control"] = noStoreHeader
	c.guard(p, err)
	c.name = p.name
	c.send(answer{status: p.status, contentType: problemHeader}, standingFor(err, &status), &status)
}

// problem is what err is to the client, with the name of the leader. What is behind it is logged.
func (c *call) problem(err error) (p *problem, status node.NodeStatus, leader string) {
	p = problemOf(err)
	if s := c.sees(); s != nil {
		s.problem = p.name
	}
	if p.cause != nil {
		c.api.Logger.Error("request failed", slog.String("request_id", c.id), slog.String("problem", p.name),
			slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path), slog.Any("error", p.cause))
	}
	status = c.api.Node.Status()
	leader = leaderName(&status, p.leader)
	if leader == "" {
		leader = leaderName(&status, status.Leader)
	}
	if p.name == kindForming.name && len(status.Waiting) > 0 {
		p = p.with("waiting_for", status.Waiting)
	}
	return p, status, leader
}

var (
	// retryAfter, in seconds, is about an election.
	retryAfter    = []string{"1"}
	noStoreHeader = []string{"no-store"}
)

// readError is an error that came after the state was read: the answer says of what.
type readError struct {
	standing
	err error
}

func (e *readError) Error() string { return e.err.Error() }

// Unwrap returns the error itself.
func (e *readError) Unwrap() error { return e.err }

func standingFor(err error, s *node.NodeStatus) standing {
	var re *readError
	if errors.As(err, &re) {
		return re.standing
	}
	return standingOf(s)
}

func isWrite(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return true
}

func overloaded(most int64) error {
	return problemf(kindOverloaded, "this node is working on %d requests, the most it takes", most)
}

func (c *call) noRoute() error {
	return problemf(kindNoRoute, "nothing is served at this path; the API is below %s", base)
}

func (c *call) methodNotAllowed() error {
	allow := c.w.Header().Get("Allow")
	return problemf(kindMethodNotAllowed, "the path takes %s", allow).with("allow", allow)
}

func (c *call) options() error {
	c.preflight()
	status := c.api.Node.Status()
	c.head(answer{status: http.StatusNoContent, length: -1}, standingOf(&status), &status)
	return nil
}
