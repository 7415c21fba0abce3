package fsm

import "errors"

// restore finds how the records of a key, or below a prefix, differ from those of a revision,
// and leaves what brings those back in a.changed, in the order of keys.
func (a *applier) restore(op *Op, room *treeRoom) (refusal Result, err error) {
	now := a.view()
	switch {
	case op.Revision > now.p.state.Revision:
		return Result{Outcome: FutureRevision}, nil
	case op.Revision < now.p.state.Floor:
		return Result{Outcome: Compacted, Floor: now.p.state.Floor}, nil
	}
	if g, lost := now.p.state.GapAt(op.Revision); lost {
		return Result{Outcome: Compacted, Floor: g.To}, nil
	}
	then := now.asOf(op.Revision, room)
	lo, hi := op.Key, op.Key+"\x00"
	if op.isTree() {
		hi = prefixEnd(op.Key)
	}
	var failed error
	visit := func() bool {
		room.keys--
		return !room.exceeded()
	}
	err = diff(then, now, lo, hi, visit, func(d Difference) bool {
		failed = a.bringBack(&d, room)
		return failed == nil && !room.exceeded()
	})
	if err == nil {
		err = failed
	}
	if compacted := (*CompactedError)(nil); errors.As(err, &compacted) {
		return Result{Outcome: Compacted, Floor: compacted.Floor}, nil
	}
	return Result{}, err
}

// bringBack leaves in a.changed what makes a key what it was.
func (a *applier) bringBack(d *Difference, room *treeRoom) error {
	for _, rec := range [...]*Record{d.Before, d.After} {
		if rec != nil {
			room.bytes -= len(rec.Key) + len(rec.ContentType) + len(rec.Value)
		}
	}
	op := &Op{Kind: Delete, Key: d.Key}
	if d.Before != nil {
		op = &Op{Kind: Put, Key: d.Key, Value: d.Before.Value, ContentType: d.Before.ContentType}
		if d.After != nil && op.ContentType == d.After.ContentType && string(op.Value) == string(d.After.Value) {
			return nil // changed, and changed back
		}
	}
	return a.expand(op)
}
