package jepsen

import (
	"slices"
	"sync"
	"time"

	"github.com/confman/confman/linearizability"
)

// Limits of what a run remembers: beyond them it stops asking, and says so.
const (
	MaxOps    = 2_000_000
	MaxEvents = 500_000
)

// Recorder remembers what happened in a run, all on one monotonic clock. Safe for concurrent use.
type Recorder struct {
	start time.Time

	mu      sync.Mutex
	lastOp  uint64
	pending map[uint64]linearizability.Op // as they were asked
	ops     []linearizability.Op
	events  []linearizability.Event
	watches []linearizability.Watch
	faults  uint64
	full    bool
}

// NewRecorder begins to record.
func NewRecorder() *Recorder {
	return &Recorder{start: time.Now(), pending: map[uint64]linearizability.Op{}}
}

// Now is the time since the beginning, in ns.
func (r *Recorder) Now() int64 { return int64(time.Since(r.start)) }

// Since is what Now was at a time that has a monotonic reading.
func (r *Recorder) Since(at time.Time) int64 { return int64(at.Sub(r.start)) }

// ID gives an operation its number, so that its value can be made of it.
func (r *Recorder) ID() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastOp++
	return r.lastOp
}

// Call records that op is asked now; it gets a number unless it has one. What is not finished is unknown.
// It reports whether there is room: if not, the operation must not be asked.
func (r *Recorder) Call(op *linearizability.Op) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ops)+len(r.pending) >= MaxOps {
		r.full = true
		return false
	}
	if op.ID == 0 {
		r.lastOp++
		op.ID = r.lastOp
	}
	op.Call, op.Return, op.Outcome = r.Now(), linearizability.Never, linearizability.Unknown
	if reads(op) {
		op.Outcome = linearizability.ReadFailed
	}
	asked := *op
	asked.Steps, asked.Else = slices.Clone(op.Steps), slices.Clone(op.Else)
	r.pending[op.ID] = asked
	return true
}

// Return records that op was answered as it says by now. An unknown one does not return.
func (r *Recorder) Return(op *linearizability.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Return = r.Now()
	if op.Outcome == linearizability.Unknown {
		op.Return = linearizability.Never
	}
	delete(r.pending, op.ID)
	r.ops = append(r.ops, *op)
}

// reads tells whether an operation changes nothing.
func reads(op *linearizability.Op) bool {
	if op.Kind != linearizability.Txn {
		return op.Kind == linearizability.Read || op.Kind == linearizability.Local
	}
	for _, s := range append(op.Steps[:len(op.Steps):len(op.Steps)], op.Else...) {
		if s.Kind != linearizability.Read {
			return false
		}
	}
	return true
}

// Note records an event, of now unless it has a time.
func (r *Recorder) Note(e linearizability.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) >= MaxEvents && e.Kind != linearizability.FaultEnds {
		r.full = true
		return
	}
	if e.At == 0 {
		e.At = r.Now()
	}
	r.events = append(r.events, e)
}

// Begin records that a fault begins; End is told the number that it returns.
func (r *Recorder) Begin(e linearizability.Event) uint64 {
	r.mu.Lock()
	r.faults++
	e.Fault, e.Kind = r.faults, linearizability.FaultBegins
	r.mu.Unlock()
	r.Note(e)
	return e.Fault
}

// End records that a fault is over.
func (r *Recorder) End(fault uint64) {
	r.Note(linearizability.Event{Kind: linearizability.FaultEnds, Fault: fault})
}

// Watched records a stream as far as it was received.
func (r *Recorder) Watched(w linearizability.Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.ID = uint64(len(r.watches) + 1)
	r.watches = append(r.watches, w)
}

// History is what was recorded. Operations without an answer are in it as such. Full: there was more than it has room for.
func (r *Recorder) History() (h linearizability.History, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.Ops = append(h.Ops, r.ops...)
	for _, op := range r.pending {
		h.Ops = append(h.Ops, op)
	}
	h.Events = append(h.Events, r.events...)
	h.Watches = append(h.Watches, r.watches...)
	return h, r.full
}
