package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confman/confman/fsm"
)

// What of the past a store shows is right, or not held any more where the model says so.

// compactedAt is from which revision on there is what was asked for, if err says that it is
// not held any more; else 0.
func compactedAt(err error) fsm.Revision {
	if c := (*fsm.CompactedError)(nil); errors.As(err, &c) {
		return c.Floor
	}
	return 0
}

// stateAt is what the model said of a store's state at an index.
func (j *judge) stateAt(index fsm.Index) modelState {
	if index == 0 {
		return modelState{}
	}
	return j.slots[index-1].state
}

// then is a view of a past revision; nil if that is compacted, or something is wrong.
func (j *judge) then(r *replica, view *fsm.View, rev fsm.Revision) *fsm.View {
	floor := j.stateAt(view.State().Applied).floor
	then, err := view.At(rev)
	switch at := compactedAt(err); {
	case rev < floor && at == floor:
		j.count("past compacted")
		return nil
	case j.model.skipped(rev) && at == j.model.skip.To:
		j.count("past lost in a restore")
		return nil
	case rev < floor || j.model.skipped(rev):
		j.w.fail(JudgeState, "%s shows revision %d (%w), and the floor is %d", r.name, rev, err, floor)
		return nil
	case err != nil:
		j.w.fail(JudgeState, "%s: the past at revision %d: %w", r.name, rev, err)
		return nil
	}
	return then
}

// past reads a key at some revision before the view's, in all ways, and its history.
func (j *judge) past(r *replica, view *fsm.View, key string) {
	state := view.State()
	rev := j.drawRevision(state.Revision)
	then := j.then(r, view, rev)
	if then == nil {
		return
	}
	defer then.Close()
	j.pastNamespace(r, then, rev)
	rec, found, err := then.Get(key)
	j.had(r, key, rev, state.Applied, rec, found, err)
	rec, found = fsm.Record{}, false
	err = then.Scan(key, key+"\x00", func(one fsm.Record) bool {
		rec, found = one, true
		rec.Value = slices.Clone(one.Value)
		return true
	})
	j.had(r, key, rev, state.Applied, rec, found, err)
	if j.w.err == nil {
		j.pastListed(r, then, key, rev)
	}
	if j.w.err == nil {
		j.pastOf(r, view, key, rev)
	}
}

// had: a key is what the model had at a revision, or not held any more by the state at index.
func (j *judge) had(r *replica, key string, rev fsm.Revision, index fsm.Index, rec fsm.Record, found bool, err error) {
	ended := j.model.lost(key, rev, index)
	switch at := compactedAt(err); {
	case ended != 0 && at == ended:
		j.count("past version trimmed")
	case ended != 0 || at != 0:
		j.w.fail(JudgeState, "%s had %s at revision %d: %v of revision %d (%w), want it to be held from revision %d on (0: always)", r.name, key, rev, found, rec.Revision, err, ended)
	case err != nil:
		j.w.fail(JudgeState, "%s: reading %s at revision %d: %w", r.name, key, rev, err)
	default:
		j.count("past read")
		j.shows(r, "had", key, rev, j.indexOf(rev), rec, found)
	}
}

// pastListed: what is listed beside key at a past revision is what was there, unless something
// below the same prefix is not held any more.
func (j *judge) pastListed(r *replica, then *fsm.View, key string, rev fsm.Revision) {
	prefix := key[:strings.LastIndexByte(key, '/')+1]
	have, err := then.Children(prefix, "", 3)
	if at := compactedAt(err); at != 0 {
		lost := func(key string) bool { return j.model.lost(key, rev, then.State().Applied) == at }
		if !slices.ContainsFunc(j.model.known(prefix), lost) {
			j.w.fail(JudgeState, "%s cannot list %q at revision %d: %w; no key below it is held from there on", r.name, prefix, rev, err)
		}
		return
	}
	var names []string
	for _, c := range have {
		names = append(names, c.Name)
	}
	if want := j.model.children(prefix, "", 3, j.indexOf(rev)); err != nil || !slices.Equal(names, want) {
		j.w.fail(JudgeState, "%s listed %v below %q at revision %d (%w), want %v", r.name, names, prefix, rev, err, want)
	}
}

// pastOf: the history of key, from a revision back, is what happened to it, as far as the model
// says that it is held.
func (j *judge) pastOf(r *replica, view *fsm.View, key string, from fsm.Revision) {
	var have []string
	err := view.KeyHistory(key, from, func(rev fsm.Revision, e fsm.Event) bool {
		have = append(have, eventText(rev, e.Deleted, e.Record.ContentType+"\n"+string(e.Record.Value)))
		return true
	})
	if want := j.model.historyOf(key, from, view.State().Applied, j.stateAt(view.State().Applied).floor); err != nil || !slices.Equal(have, want) {
		j.w.fail(JudgeState, "%s has the history %q of %s from revision %d back (%w), want %q", r.name, have, key, from, err, want)
	}
	j.count("history read")
}

func eventText(rev fsm.Revision, deleted bool, value string) string {
	if deleted {
		return fmt.Sprintf("%d: deleted", rev)
	}
	return fmt.Sprintf("%d: %s", rev, value)
}

// historyOf is what happened to a key up to a revision, the newest first, as far as the state
// after the entry at index holds it.
func (m *model) historyOf(key string, from fsm.Revision, index fsm.Index, floor fsm.Revision) (out []string) {
	held := fsm.Revision(0) // of what was trimmed nothing before this
	for _, g := range m.gaps[key] {
		if g.index <= index {
			held = g.ended
		}
	}
	next := fsm.Revision(0) // what came after; 0: nothing
	for _, v := range slices.Backward(m.keys[key]) {
		if v.index > index {
			continue
		}
		swept := v.rev == 0 && v.made <= floor || v.rev != 0 && next != 0 && next <= floor
		if v.made <= from && v.made >= held && !swept {
			out = append(out, eventText(v.made, v.rev == 0, v.value))
		}
		next = v.made
	}
	return out
}
