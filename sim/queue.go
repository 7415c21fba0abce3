package sim

// event is something that happens at a moment of virtual time.
type event struct {
	at   int64  // ns
	seq  uint64 // breaks ties: what was scheduled first happens first
	kind eventKind
	node *replica // nil: of the world
	life uint64   // of the node: the event is void in another
	n    uint64
	mail *envelope
}

type eventKind uint8

const (
	evTick eventKind = iota + 1
	evDeliver
	evUnreachable
	evLoop
	evAppended
	evApply
	evApplied
	evFlushed
	evScrubbed
	evImage
	evDamaged
	evRequest
	evReply
	evTimeout
	evClient
	evLeave
	evPlan
	evWatch
	evStart
	evResume
	evFault
	evHeal
)

// queue is a binary heap of events by (at, seq). Not container/heap: events are
// kept by value.
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 2
		if !e.before(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = e
}

func (q *queue) pop() event {
	h := q.heap
	top := h[0]
	n := len(h) - 1
	e := h[n]
	h[n] = event{}
	q.heap = h[:n]
	if n == 0 {
		return top
	}
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && h[c+1].before(&h[c]) {
			c++
		}
		if !h[c].before(&e) {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = e
	return top
}

func (e *event) before(o *event) bool {
	return e.at < o.at || (e.at == o.at && e.seq < o.seq)
}
