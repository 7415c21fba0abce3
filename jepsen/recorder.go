package jepsen

import (
	"slices"
	"sync"
	"time"

	"github.com/confman/confman/linearizability"
)

// Limits of what a run remembers: beyond them it stops asking, and says so.
const (
	MaxOps     = 2_000_000
	MaxEvents  = 500_000   // of nodes and faults
	MaxWatched = 2_000_000 // changes that watches were sent
	// MaxRecordedBytes bounds the keys and values in operations, and in what watches were sent.
	MaxRecordedBytes = 1 << 30
)

// Recorder remembers what happened in a run, all on one monotonic clock. Safe for concurrent use.
type Recorder struct {
	start time.Time

	mu      sync.Mutex
	lastOp  uint64
	pending map[uint64]linearizability.Op // as they are if they never return
	ops     blocks
	events  []linearizability.Event
	watches []linearizability.Watch
	watched int
	bytes   int
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
	if r.ops.len()+len(r.pending) >= MaxOps || r.bytes >= MaxRecordedBytes {
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
	r.ops.add(op)
	r.bytes += len(op.Key) + len(op.Value) + len(op.Got)
	for _, steps := range [...][]linearizability.Step{op.Steps, op.Else} {
		for i := range steps {
			r.bytes += len(steps[i].Key) + len(steps[i].Value) + len(steps[i].Got)
		}
	}
}

// reads tells whether an operation changes nothing.
func reads(op *linearizability.Op) bool {
	if op.Kind != linearizability.Txn {
		return op.Kind == linearizability.Read || op.Kind == linearizability.Local
	}
	for _, steps := range [...][]linearizability.Step{op.Steps, op.Else} {
		for i := range steps {
			if steps[i].Kind != linearizability.Read {
				return false
			}
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

// Watched records a stream as far as it was received, if there is room.
func (r *Recorder) Watched(w linearizability.Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watched >= MaxWatched || r.bytes >= MaxRecordedBytes {
		r.full = true
		return
	}
	w.ID = uint64(len(r.watches) + 1)
	r.watches = append(r.watches, w)
	r.watched += len(w.Events)
	for i := range w.Events {
		r.bytes += len(w.Events[i].Key) + len(w.Events[i].Value)
	}
}

// History is what was recorded. Operations without an answer are in it as such. Full: there was more than it has room for.
func (r *Recorder) History() (h linearizability.History, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.Ops = r.ops.all(len(r.pending))
	for id := range r.pending {
		h.Ops = append(h.Ops, r.pending[id])
	}
	h.Events = append(h.Events, r.events...)
	h.Watches = append(h.Watches, r.watches...)
	return h, r.full
}

// blocks are operations in blocks of one size: to add one moves no other, so that nobody waits for that.
type blocks struct{ full [][]linearizability.Op }

const blockOps = 4096

func (b *blocks) len() int {
	n := len(b.full)
	if n == 0 {
		return 0
	}
	return (n-1)*blockOps + len(b.full[n-1])
}

func (b *blocks) add(op *linearizability.Op) {
	n := len(b.full)
	if n == 0 || len(b.full[n-1]) == blockOps {
		b.full = append(b.full, make([]linearizability.Op, 0, blockOps))
		n++
	}
	b.full[n-1] = append(b.full[n-1], *op)
}

// all are the operations, with room for some more.
func (b *blocks) all(more int) []linearizability.Op {
	out := make([]linearizability.Op, 0, b.len()+more)
	for _, block := range b.full {
		out = append(out, block...)
	}
	return out
}
