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
	evGone
	evLoop
	evAppended
	evApply
	evApplied
	evFlushed
	evScrubbed
	evRepacked
	evSwapped
	evImage
	evVerified
	evDamaged
	evRequest
	evReply
	evTimeout
	evClient
	evLeave
	evPlan
	evWatch
	evGovern
	evReport
	evChecked
	evStart
	evResume
	evOverdue
	evView
	evOperate
	evDismissed
	evFault
	evHeal
	evLingered
)

// queue has events by (at, seq). Not container/heap: what the heap moves about are
// moments, without pointers, and the events stay where they are.
type queue struct {
	heap   []moment
	events []event
	free   []uint32 // places in events
	seq    uint64
}

// moment is when an event is due, and its place.
type moment struct {
	at    int64
	seq   uint64
	event uint32
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	m := moment{at: e.at, seq: e.seq}
	if n := len(q.free) - 1; n >= 0 {
		m.event = q.free[n]
		q.free = q.free[:n]
		q.events[m.event] = e
	} else {
		m.event = uint32(len(q.events))
		q.events = append(q.events, e)
	}
	q.heap = append(q.heap, m)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 2
		if !m.before(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = m
}

func (q *queue) pop() event {
	h := q.heap
	top := h[0].event
	n := len(h) - 1
	m := h[n]
	h = h[:n]
	q.heap = h
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && h[c+1].before(&h[c]) {
			c++
		}
		if !h[c].before(&m) {
			break
		}
		h[i] = h[c]
		i = c
	}
	if n > 0 {
		h[i] = m
	}
	e := q.events[top]
	q.events[top] = event{}
	q.free = append(q.free, top)
	return e
}

func (m *moment) before(o *moment) bool {
	return m.at < o.at || (m.at == o.at && m.seq < o.seq)
}
