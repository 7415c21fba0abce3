package linearizability

// CheckNotApplied decides whether the writes that were said to have no effect have
// none: they are not in the change log, and nobody, at any node and however old the
// answer, read or was sent a value that only they can have written. It returns how many
// there were.
func CheckNotApplied(h *History) (refused int, err error) {
	byID := map[uint64]*Op{}
	for i := range h.Ops {
		if o := &h.Ops[i]; o.isWrite() && o.Return != Never && o.Outcome == NotApplied {
			byID[o.ID] = o
		}
	}
	if len(byID) == 0 {
		return 0, nil
	}
	for _, c := range h.Changes {
		if o := byID[c.Op]; o != nil {
			return len(byID), violation([]*Op{o}, "a refused write took effect: %v is in the change log at revision %d", o, c.Revision)
		}
	}
	only := h.onlyRefused()
	for i := range h.Ops {
		o := &h.Ops[i]
		if !o.sawSteps() {
			continue
		}
		for _, s := range o.steps() {
			if w := only[keyValue{s.Key, s.Got}]; s.Kind == Read && s.Found && w != nil {
				return len(byID), violation([]*Op{w, o}, "a refused write took effect: %v was seen by %v", w, o)
			}
		}
	}
	for i := range h.Watches {
		w := &h.Watches[i]
		for _, e := range w.Events {
			if o := only[keyValue{e.Key, e.Value}]; !e.Deleted && o != nil {
				return len(byID), violation([]*Op{o}, "a refused write took effect: %v was sent to %v at revision %d", o, w, e.Revision).during(e.At)
			}
		}
	}
	return len(byID), nil
}

// onlyRefused are the values that none but refused writes can have written.
func (h *History) onlyRefused() map[keyValue]*Op {
	only := map[keyValue]*Op{}
	for what, writers := range h.writersOf() {
		if what.value == "" {
			continue // a watch that does not carry values says the same
		}
		refused := true
		for _, o := range writers {
			refused = refused && o.Return != Never && o.Outcome == NotApplied
		}
		if refused {
			only[what] = writers[0]
		}
	}
	return only
}
