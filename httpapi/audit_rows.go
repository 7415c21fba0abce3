package httpapi

import (
	"strconv"
	"time"

	"github.com/confman/confman/fsm"
)

// auditWalk goes through the part of the audit that a filter is of, and makes the rows.
type auditWalk struct {
	filter *auditFilter
	from   fsm.AuditPosition
	since  fsm.Revision // changes up to it are too old
	names  func(raftID uint64) string
	row    []byte
}

// walk finds where the part begins and ends. The times of changes never go back, so two revisions are
// found; what was denied lies between changes, and is held against its own clock too.
func (f *auditFilter) walk(c *call, v *fsm.View) (w auditWalk, err error) {
	status := c.api.Node.Status()
	w = auditWalk{filter: f, from: v.AuditEnd(), names: func(id uint64) string { return leaderName(&status, id) }}
	if !f.notAfter.IsZero() {
		if w.from.Change, err = v.RevisionAt(f.notAfter); err != nil && !isCompacted(err) {
			return w, err
		}
	}
	if !f.notBefore.IsZero() {
		if w.since, err = v.RevisionAt(f.notBefore.Add(-1)); err != nil && !isCompacted(err) {
			return w, err
		}
	}
	return w, nil
}

// run calls fn for each entry with its row, which is empty if the filter leaves it out and is valid
// during the call, and with the position after it, until it returns false.
func (w *auditWalk) run(v *fsm.View, fn func(row []byte, after fsm.AuditPosition) bool) error {
	return v.Audit(w.from, func(e fsm.AuditEntry, after fsm.AuditPosition) bool {
		w.row = w.row[:0]
		switch {
		case e.Change != nil && e.Change.Revision <= w.since, e.Denied != nil && e.Denied.Revision < w.since:
			return false
		case e.Change != nil:
			w.change(e.Change)
		default:
			w.denied(e.Denied)
		}
		return fn(w.row, after)
	})
}

// change appends the row of a change, with what it did to what the filter is of, if to anything.
func (w *auditWalk) change(ch *fsm.Change) {
	f := w.filter
	if f.outcome == auditDenied || f.principal != "" && ch.Principal.String() != f.principal {
		return
	}
	for i := range ch.Ops {
		op := &ch.Ops[i]
		action, path := changeActions[op.Kind], op.Key
		ofMembers := op.Kind >= fsm.AddMember && op.Kind <= fsm.FinalizeUpgrade
		if ofMembers {
			path = "" // they take the verb of the whole tree
		}
		if !f.covers(path) || f.action != "" && action != f.action {
			continue
		}
		if len(w.row) == 0 {
			w.begin(ch.At, ch.Time, auditApplied, ch.Revision)
			w.text("principal", ch.Principal.String())
			w.row = append(appendWhy(w.row, ch), `,"changes":[`...)
		} else {
			w.row = append(w.row, ',')
		}
		now := ch.Revision
		if op.Kind == fsm.Delete || op.Kind == fsm.DeleteNamespace {
			now = 0
		}
		w.row = append(w.row, `{"path":`...)
		w.row = appendString(w.row, rootNamed(path))
		w.text("action", action)
		if ofMembers && op.Key != "" {
			w.text("members", op.Key)
		}
		w.number("old_revision", uint64(op.Old))
		w.number("revision", uint64(now))
		w.row = append(w.row, '}')
	}
	if len(w.row) > 0 {
		w.row = append(w.row, ']', '}')
	}
}

// denied appends the row of something that was denied, if the filter is of it.
func (w *auditWalk) denied(d *fsm.DenialRow) {
	f, action := w.filter, deniedActions[d.Kind]
	switch {
	case f.outcome == auditApplied, f.principal != "" && d.Principal != f.principal, f.action != "" && action != f.action, !f.covers(d.Path),
		time.Unix(0, d.Last).Before(f.notBefore), !f.notAfter.IsZero() && time.Unix(0, d.First).After(f.notAfter):
		return
	}
	w.begin(d.Last, d.Time, auditDenied, d.Revision)
	w.text("action", action)
	if d.Principal != "" {
		w.text("principal", d.Principal)
	}
	if d.Verbs != 0 {
		w.row = append(w.row, `,"verbs":`...)
		w.row = appendStrings(w.row, d.Verbs.Names())
	}
	if d.Path != "" || d.Verbs != 0 {
		w.text("path", rootNamed(d.Path))
	}
	w.text("reason", d.Reason)
	w.number("count", d.Count)
	w.row = append(w.row, `,"first":`...)
	w.row = appendTime(w.row, d.First)
	w.row = append(w.row, `,"last":`...)
	w.row = appendTime(w.row, d.Last)
	if d.Node != 0 {
		name := w.names(d.Node)
		if name == "" {
			name = strconv.FormatUint(d.Node, 10) // it is no member any more
		}
		w.text("node", name)
	}
	if d.RequestID != "" {
		w.text("request_id", d.RequestID)
	}
	if d.Source.IsValid() {
		w.text("source", d.Source.String())
	}
	w.row = append(w.row, '}')
}

// begin begins a row with what all have.
func (w *auditWalk) begin(at int64, replicated time.Duration, outcome string, rev fsm.Revision) {
	w.row = append(w.row, `{"time":`...)
	w.row = appendTime(w.row, at)
	w.row = append(w.row, `,"cluster_time":`...)
	w.row = strconv.AppendFloat(w.row, replicated.Seconds(), 'f', -1, 64)
	w.text("outcome", outcome)
	w.number("revision", uint64(rev))
}

func (w *auditWalk) text(name, value string) {
	w.row = append(w.row, ',', '"')
	w.row = append(append(w.row, name...), '"', ':')
	w.row = appendString(w.row, value)
}

func (w *auditWalk) number(name string, value uint64) {
	w.row = append(w.row, ',', '"')
	w.row = append(append(w.row, name...), '"', ':')
	w.row = strconv.AppendUint(w.row, value, 10)
}
