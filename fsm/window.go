package fsm

import "encoding/binary"

// window is what the store remembers of one origin's newest incarnation: the
// results of the WindowSize sequence numbers up to last.
//
// Invariant: slot(seq) belongs to seq for every seq in (floor, last]; an outcome of
// zero there means that seq was not applied yet. All other slots are zero.
type window struct {
	node        uint64
	incarnation uint64
	last        uint64
	ring        []windowSlot // ringSize(last) long
	sum         sum          // of the leaves of the filled slots and of the head
	head        sum          // the leaf of the head
	dirty       bool         // changed since the last flush
}

// windowSlot is the compact result of one sequence number.
type windowSlot struct {
	outcome  Outcome
	revision Revision
}

func newWindow(node uint64) *window {
	w := &window{node: node, ring: make([]windowSlot, ringSize(0))}
	w.addHead()
	return w
}

// ringSize is how many slots a window up to last has: most nodes that ever were
// members left few results behind.
func ringSize(last uint64) uint64 {
	const least = 64
	size := uint64(least)
	for size < min(last, WindowSize) {
		size *= 2
	}
	return size
}

// WindowSize must be a size that doubling reaches. Otherwise: no compile.
const _ = uint(-(WindowSize & (WindowSize - 1)))

func (w *window) slot(seq uint64) *windowSlot { return &w.ring[seq%uint64(len(w.ring))] }

// resize makes the ring as long as a window up to last needs.
func (w *window) resize(last uint64) {
	size := ringSize(last)
	if size == uint64(len(w.ring)) {
		return
	}
	old := *w
	w.ring = make([]windowSlot, size)
	for i := range w.last - w.floor() {
		seq := w.floor() + 1 + i
		*w.slot(seq) = *old.slot(seq)
	}
}

// floor is the newest sequence number that fell out.
func (w *window) floor() uint64 {
	if w.last < WindowSize {
		return 0
	}
	return w.last - WindowSize
}

// seen tells whether o must not be applied (again); first is what became of it
// the first time, if that is still known.
func (w *window) seen(o Origin) (first windowSlot, repeated bool) {
	switch {
	case o.Incarnation > w.incarnation:
		return windowSlot{}, false
	case o.Incarnation < w.incarnation || o.Seq <= w.floor():
		return windowSlot{}, true
	case o.Seq > w.last:
		return windowSlot{}, false
	}
	first = *w.slot(o.Seq)
	return first, first.outcome != 0
}

// record remembers the result of o, which seen has passed.
func (w *window) record(o Origin, result windowSlot) {
	w.sum.sub(w.head)
	if o.Incarnation > w.incarnation {
		w.clear(w.floor()+1, w.last)
		w.incarnation, w.last = o.Incarnation, 0
		w.resize(0)
	}
	if o.Seq > w.last {
		w.resize(o.Seq)
		// The slots of what falls out are those of what comes in.
		from := w.floor() + 1
		last := o.Seq
		if last > WindowSize {
			w.clear(from, min(w.last, last-WindowSize))
		}
		w.last = last
	}
	w.addHead()
	*w.slot(o.Seq) = result
	w.sum.add(w.slotLeaf(o.Seq, result))
	w.dirty = true
}

// clear forgets the sequence numbers in [from, to]; from is at most to+1.
func (w *window) clear(from, to uint64) {
	for i := range to - from + 1 { // counts: the last number there is has no successor
		seq := from + i
		slot := w.slot(seq)
		if slot.outcome != 0 {
			w.sum.sub(w.slotLeaf(seq, *slot))
			*slot = windowSlot{}
		}
	}
}

// addHead adds the head as it is now to the sum.
func (w *window) addHead() {
	w.head = w.headLeaf()
	w.sum.add(w.head)
}

// headLeaf hashes what holds for the whole window:
//
//	1 bucket | 8 node | 8 incarnation | 8 last
func (w *window) headLeaf() sum {
	var b [25]byte
	b[0] = byte(windows)
	binary.LittleEndian.PutUint64(b[1:], w.node)
	binary.LittleEndian.PutUint64(b[9:], w.incarnation)
	binary.LittleEndian.PutUint64(b[17:], w.last)
	return leaf(b[:])
}

// slotLeaf hashes one result:
//
//	1 bucket | 8 node | 8 incarnation | 8 sequence number | 1 outcome | 8 revision
func (w *window) slotLeaf(seq uint64, slot windowSlot) sum {
	var b [34]byte
	b[0] = byte(windows)
	binary.LittleEndian.PutUint64(b[1:], w.node)
	binary.LittleEndian.PutUint64(b[9:], w.incarnation)
	binary.LittleEndian.PutUint64(b[17:], seq)
	b[25] = byte(slot.outcome)
	binary.LittleEndian.PutUint64(b[26:], uint64(slot.revision))
	return leaf(b[:])
}

// A window as bucket windows stores it, integers little-endian:
//
//	offset  bytes
//	     0      8  checksum
//	     8      8  incarnation
//	    16      8  last
//	    24         for each sequence number in (floor, last], ascending:
//	            1  outcome, 0 if it was not applied
//	            8  revision
const (
	windowHeaderBytes = checksumBytes + 16
	windowSlotBytes   = 9
)

// windowKey is where bucket windows keeps the window of node.
func windowKey(node uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, node))
}

// encode returns w as stored. At most 36 KiB, once per flush and origin.
func (w *window) encode() []byte {
	n := w.last - w.floor()
	v := make([]byte, windowHeaderBytes, windowHeaderBytes+windowSlotBytes*n)
	binary.LittleEndian.PutUint64(v[checksumBytes:], w.incarnation)
	binary.LittleEndian.PutUint64(v[checksumBytes+8:], w.last)
	for i := range n {
		slot := w.slot(w.floor() + 1 + i)
		v = append(v, byte(slot.outcome))
		v = binary.LittleEndian.AppendUint64(v, uint64(slot.revision))
	}
	seal(windows, windowKey(w.node), v)
	return v
}

// decodeWindow reads what encode wrote under key.
func decodeWindow(key string, value []byte) (*window, error) {
	if _, err := unseal(windows, key, value); err != nil {
		return nil, err
	}
	if len(key) != 8 || len(value) < windowHeaderBytes {
		return nil, damaged("window %x: %d bytes are no window", key, len(value))
	}
	w := &window{
		node:        binary.BigEndian.Uint64([]byte(key)),
		incarnation: binary.LittleEndian.Uint64(value[checksumBytes:]),
		last:        binary.LittleEndian.Uint64(value[checksumBytes+8:]),
	}
	w.ring = make([]windowSlot, ringSize(w.last))
	slots := value[windowHeaderBytes:]
	if uint64(len(slots)) != windowSlotBytes*(w.last-w.floor()) {
		return nil, damaged("window of node %d: %d bytes for %d results", w.node, len(slots), w.last-w.floor())
	}
	w.addHead()
	for i := range w.last - w.floor() {
		seq := w.floor() + 1 + i
		slot := windowSlot{Outcome(slots[0]), Revision(binary.LittleEndian.Uint64(slots[1:]))}
		slots = slots[windowSlotBytes:]
		if slot.outcome != 0 {
			*w.slot(seq) = slot
			w.sum.add(w.slotLeaf(seq, slot))
		}
	}
	return w, nil
}
