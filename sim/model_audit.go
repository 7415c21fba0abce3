package sim

import (
	"fmt"

	"github.com/confman/confman/fsm"
)

// modelRing is what was denied, oldest first. No world denies as much as the ring holds.
type modelRing struct{ rows []fsm.DenialRow }

// reported takes what a node says that it denied.
func (m *model) reported(cmd *fsm.Command) {
	for i := range cmd.Denials {
		m.denied(cmd.Origin.Node, cmd.Denials[i])
	}
}

func (m *model) denied(node uint64, d fsm.Denial) {
	m.ring.rows = append(m.ring.rows, fsm.DenialRow{Denial: d, Number: uint64(len(m.ring.rows)) + 1, Revision: m.revision, Time: m.time, Node: node})
}

// refusedHere takes note of a command that is denied where it is applied. If the newest row is of
// the same, at the same revision, it counts there.
func (m *model) refusedHere(cmd *fsm.Command, need fsm.Need) {
	by := namesOfPrincipal(&cmd.Principal)[0]
	if n := len(m.ring.rows); n > 0 {
		last := &m.ring.rows[n-1]
		if last.Node == 0 && last.Revision == m.revision && last.Principal == by && last.Verbs == need.Verbs && last.Path == need.Path {
			last.Count++
			last.Last = max(last.Last, cmd.AcceptedAt)
			return
		}
	}
	m.denied(0, fsm.Denial{
		Kind: fsm.DeniedWrite, Principal: by, Verbs: need.Verbs, Path: need.Path, Reason: "forbidden",
		RequestID: cmd.RequestID, Count: 1, First: cmd.AcceptedAt, Last: cmd.AcceptedAt,
	})
}

// ringState is the ring at some index: rows before the last do not change any more.
type ringState struct {
	rows  int
	count uint64 // of the last
	last  int64
}

func (r *modelRing) state() ringState {
	s := ringState{rows: len(r.rows)}
	if s.rows > 0 {
		s.count, s.last = r.rows[s.rows-1].Count, r.rows[s.rows-1].Last
	}
	return s
}

// audited holds the newest entries of a view's audit, at most most, against the model.
func (j *judge) audited(view *fsm.View, most int) error {
	state := j.stateAt(view.State().Applied)
	row, rev, seen := state.ring.rows, state.revision, 0
	err := error(nil)
	walk := view.Audit(view.AuditEnd(), func(e fsm.AuditEntry, at fsm.AuditPosition) bool {
		if seen++; seen > most {
			return false
		}
		if d := e.Denied; d != nil {
			if row == 0 {
				err = fmt.Errorf("the audit has row %d, and the model none", d.Number)
				return false
			}
			want := j.model.ring.rows[row-1]
			if row == state.ring.rows {
				want.Count, want.Last = state.ring.count, state.ring.last
			}
			switch row--; {
			case *d != want:
				err = fmt.Errorf("the audit has %+v, want %+v", *d, want)
			case rev > max(state.floor, d.Revision):
				err = fmt.Errorf("the audit has row %d, of revision %d, before the change of revision %d", d.Number, d.Revision, rev)
			}
		} else if c := e.Change; c.Revision != rev {
			err = fmt.Errorf("the audit has revision %d, want %d", c.Revision, rev)
		} else {
			rev = j.model.before(rev)
		}
		if err == nil && (int(at.Row) != row || at.Change != max(rev, 0)) {
			err = fmt.Errorf("the audit stands at row %d and revision %d, want %d and %d", at.Row, at.Change, row, rev)
		}
		return err == nil
	})
	switch {
	case err == nil && walk != nil:
		return walk
	case err == nil && seen <= most && (row != 0 || rev != state.floor):
		return fmt.Errorf("the audit ends before row %d and revision %d", row, rev)
	}
	if err == nil && state.ring.rows > 0 {
		j.count("audit read")
	}
	return err
}
