package httpapi

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// place is where a page of a history ended: events of revision were given out already.
type place struct {
	revision fsm.Revision
	events   int
}

func (p place) String() string { return fmt.Sprintf("%d.%d", p.revision, p.events) }

func parsePlace(s string) (place, error) {
	revision, events, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(revision, 10, 64)
	k, err2 := strconv.Atoi(events)
	if err != nil || err2 != nil || n == 0 || k < 0 {
		return place{}, problemf(kindInvalidCursor, "cursor is not one that this API gave out")
	}
	return place{fsm.Revision(n), k}, nil
}

// historyPage is a page of what happened to a key, or below a prefix, newest first.
type historyPage struct {
	target target
	paging
	items []byte
	count int
	shown fsm.Revision
	from  place
	next  place // where the page after goes on; zero: there is none
	floor fsm.Revision
	there bool // of a page without items: there is something, if it is older than the floor
}

// history answers GET /history.
func (c *call) history() error {
	t, q, f, err := c.treeRead(historyParams)
	if err != nil {
		return err
	}
	if verify, err := q.flag("verify"); err != nil {
		return err
	} else if verify {
		return c.verify(&q, f)
	}
	scope := "history " + t.String()
	l, err := q.paging(scope, &f)
	if err != nil {
		return err
	}
	p := historyPage{target: t, paging: l, items: c.buf}
	if l.resumed {
		if p.from, err = parsePlace(l.after); err != nil {
			return err
		}
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	st, err := c.read(f, p.fill)
	if err != nil {
		return err
	}
	if p.count == 0 && !l.resumed && p.next == (place{}) && !p.there {
		return &readError{st, p.nothing()}
	}
	next := ""
	if p.next != (place{}) {
		next = cursor{revision: p.shown, last: p.next.String()}.encode(scope)
	}
	return c.sendPage(p.items, next, st)
}

// nothing is the problem of a target that nothing is known to have happened to.
func (p *historyPage) nothing() *problem {
	if p.floor > 0 {
		return problemf(kindNotFound, "nothing happened to %q after revision %d, and what was before is compacted", p.target, p.floor)
	}
	return problemf(kindNotFound, "nothing ever happened to %q", p.target)
}

// fill reads the page; it may be called again.
func (p *historyPage) fill(v *fsm.View) error {
	p.shown, p.floor = v.Revision(), v.State().Floor
	p.items, p.count, p.next = beginPage(p.items[:0], p.shown), 0, place{}
	p.there = p.target.key == ""
	from := p.from
	if !p.resumed {
		from.revision = p.shown
	}
	if p.target.subtree {
		return p.fillChanges(v, from)
	}
	return p.fillKey(v, from)
}

func (p *historyPage) full() bool { return p.count == p.limit || len(p.items) >= MaxPageBytes }

func (p *historyPage) fillKey(v *fsm.View, from place) error {
	var failed error
	err := v.KeyHistory(p.target.key, from.revision, func(rev fsm.Revision, e fsm.Event) bool {
		if p.full() {
			p.next = place{revision: rev}
			return false
		}
		// Of a change that is compacted the record tells what it can; deletes went with theirs.
		ch := fsm.Change{Revision: rev}
		if rev > p.floor {
			if ch, failed = v.Change(rev); failed != nil {
				return false
			}
		}
		p.add(&ch, &e)
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

// fillChanges goes back through the change log down to the floor, for at most MaxHistoryScan
// changes: who asks for a subtree where little happens gets short pages, not a long wait.
func (p *historyPage) fillChanges(v *fsm.View, from place) error {
	st := v.State()
	if g, lost := st.GapAt(from.revision); lost {
		from = place{revision: g.From}
	}
	for scanned := 0; from.revision > p.floor; scanned++ {
		if scanned == MaxHistoryScan {
			p.next = from
			return nil
		}
		ch, err := v.Change(from.revision)
		if err != nil {
			return err
		}
		n := 0
		err = v.Events(&ch, p.target.prefix(), func(e fsm.Event) bool {
			if n++; n <= from.events {
				return true
			}
			if p.full() {
				p.next = place{from.revision, n - 1}
				return false
			}
			p.add(&ch, &e)
			return true
		})
		if err != nil || p.next != (place{}) {
			return err
		}
		from = place{revision: st.Before(from.revision)}
	}
	if p.count > 0 || p.there {
		return nil
	}
	return v.Scan(p.target.prefix(), p.target.end(), func(fsm.Record) bool { p.there = true; return false })
}

// add appends one event: the record that was put, or of a delete, or a put whose record is
// compacted, as much as there is; with who did it and why, unless that is compacted.
func (p *historyPage) add(ch *fsm.Change, e *fsm.Event) {
	if p.count++; p.count > 1 {
		p.items = append(p.items, ',')
	}
	if e.Deleted || e.Trimmed {
		what := `,"action":"delete","revision":`
		if e.Trimmed {
			what = `,"action":"put","compacted":true,"revision":`
		}
		p.items = append(p.items, `{"path":`...)
		p.items = appendString(p.items, e.Key)
		p.items = append(p.items, what...)
		p.items = strconv.AppendUint(p.items, uint64(ch.Revision), 10)
		p.items = append(p.items, `,"modified_at":`...)
		p.items = appendTime(p.items, ch.At)
		p.items = append(p.items, `,"modified_by":`...)
		p.items = appendString(p.items, ch.Principal.String())
	} else {
		p.items = appendRecord(p.items, &e.Record)
		p.items = append(p.items, `,"action":"put"`...)
	}
	p.items = appendWhy(p.items, ch)
	p.items = append(p.items, '}')
}

// appendWhy appends what is known of a change beside who made it, and when.
func appendWhy(b []byte, ch *fsm.Change) []byte {
	if ch.Comment != "" {
		b = append(b, `,"comment":`...)
		b = appendString(b, ch.Comment)
	}
	if ch.RequestID != "" {
		b = append(b, `,"request_id":`...)
		b = appendString(b, ch.RequestID)
	}
	if ch.Source.IsValid() {
		b = append(b, `,"source":"`...)
		b = ch.Source.AppendTo(b)
		b = append(b, '"')
	}
	return b
}

// diffPage is a page of the keys that differ between two revisions.
type diffPage struct {
	target target
	paging
	from  fsm.Revision
	to    bool // the revision to compare is given, not the newest
	items []byte
	count int
	shown fsm.Revision
	last  string
	more  bool
}

// diff answers GET /diff: what is not as it was at revision from, at revision to or now.
func (c *call) diff() error {
	t, q, f, err := c.treeRead(diffParams)
	if err != nil {
		return err
	}
	from, ok, err := q.revision("from")
	if err != nil {
		return err
	}
	if !ok {
		return invalidParameter("from", "is missing: the revision to compare with")
	}
	if f.at, f.past, err = q.revision("to"); err != nil {
		return err
	}
	to := f.past
	scope := fmt.Sprintf("diff %d %s", from, t)
	l, err := q.paging(scope, &f)
	if err != nil {
		return err
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	p := diffPage{target: t, paging: l, from: from, to: to, items: c.buf}
	st, err := c.read(f, p.fill)
	if err != nil {
		return err
	}
	next := ""
	if p.more {
		next = cursor{revision: p.shown, last: p.last}.encode(scope)
	}
	return c.sendPage(p.items, next, st)
}

// fill reads the page; it may be called again.
func (p *diffPage) fill(v *fsm.View) error {
	p.shown = v.Revision()
	p.items, p.count, p.more = beginPage(p.items[:0], p.shown), 0, false
	if p.to && p.from > p.shown { // else another node may have it
		return invalidParameter("from", fmt.Sprintf("is %d, which is after %d, the revision to compare", p.from, p.shown))
	}
	before, err := v.At(p.from)
	if err != nil {
		return err
	}
	defer before.Close()
	lo, hi := p.target.span()
	if p.resumed {
		lo = p.after + "\x00"
	}
	return fsm.Diff(before, v, lo, hi, func(d fsm.Difference) bool {
		if p.more = p.count == p.limit || len(p.items) >= MaxPageBytes; p.more {
			return false
		}
		p.add(&d)
		return true
	})
}

func (p *diffPage) add(d *fsm.Difference) {
	if p.count++; p.count > 1 {
		p.items = append(p.items, ',')
	}
	p.last = d.Key
	p.items = append(p.items, `{"path":`...)
	p.items = appendString(p.items, d.Key)
	action := "changed"
	switch {
	case d.Before == nil:
		action = "added"
	case d.After == nil:
		action = "removed"
	}
	p.items = append(p.items, `,"action":"`...)
	p.items = append(append(p.items, action...), '"')
	for _, side := range [2]struct {
		name string
		rec  *fsm.Record
	}{{`,"before":`, d.Before}, {`,"after":`, d.After}} {
		if side.rec != nil {
			p.items = append(append(p.items, side.name...), appendRecord(nil, side.rec)...)
			p.items = append(p.items, '}')
		}
	}
	p.items = append(p.items, '}')
}
