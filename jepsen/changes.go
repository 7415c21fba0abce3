package jepsen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

const (
	// maxChanges bounds the change log that is read in the end.
	maxChanges = MaxOps
	// maxGap bounds the revisions, one after the other, that changed no key.
	maxGap = 10_000
	// changesPage is how many are asked for at a time.
	changesPage = 1000
)

// errNotWhole is why a change log is not taken into a history: it is there whole or not at all.
var errNotWhole = errors.New("the change log is not whole")

// ErrLog: the change log has something that was never asked for.
var ErrLog = errors.New("the change log is not what was asked for")

// readChanges adds the change log to h. Each operation's comment is in it, so it says itself whose a change is. A change of
// nobody is one by a nemesis; a revision without a change is one of who may do what, or of members.
func (r *Run) readChanges(ctx context.Context, h *linearizability.History) error {
	var events []client.Event
	node := r.Members()[0]
	o := client.HistoryOptions{ReadOptions: client.ReadOptions{Consistency: client.Linearizable}, PageSize: changesPage}
	for e, err := range r.At(node).History(ctx, "", o) {
		if err != nil {
			return fmt.Errorf("%s: reading the change log: %w", node, err)
		}
		if events = append(events, e); len(events) > maxChanges {
			return fmt.Errorf("%w: it has more than %d changes", errNotWhole, maxChanges)
		}
	}
	slices.Reverse(events)
	return r.takeChanges(h, events)
}

// takeChanges makes the changes of a history of events, the oldest first.
func (r *Run) takeChanges(h *linearizability.History, events []client.Event) error {
	owners := ownersOf(h)
	var changes []linearizability.Change
	last := uint64(0)
	for i := range events {
		e := &events[i]
		switch {
		case e.Revision < last:
			return fmt.Errorf("%w: revision %d comes after revision %d", ErrLog, e.Revision, last)
		case !e.Deleted && len(e.Value) == 0: // nobody puts an empty one
			return fmt.Errorf("%w: what %s was at revision %d is compacted", errNotWhole, e.Path, e.Revision)
		case e.Revision > last+maxGap:
			return fmt.Errorf("%w: after revision %d comes %d: what is between is compacted, or was never", errNotWhole, last, e.Revision)
		}
		for last+1 < e.Revision {
			last++
			changes = append(changes, linearizability.Change{Revision: last})
		}
		last = e.Revision
		op, err := owners.of(e)
		if err != nil {
			return err
		}
		c := linearizability.Change{Revision: e.Revision, Key: r.historyKey(e.Path)}
		if op == nil && owners.keys[c.Key] {
			return fmt.Errorf("%w: revision %d of %s was made by nobody: its comment is %q", ErrLog, e.Revision, e.Path, e.Comment)
		}
		if op != nil {
			c.Op = op.ID
			if !wrote(op, e, c.Key) {
				return fmt.Errorf("%w: at revision %d %s became %q (deleted: %v), which %v did not ask for", ErrLog, e.Revision, e.Path, e.Value, e.Deleted, op)
			}
		}
		changes = append(changes, c)
	}
	h.Changes, h.HasChanges = changes, true
	return nil
}

// historyKey is the key that the history has for one of the store.
func (r *Run) historyKey(key string) string {
	for _, w := range r.loads {
		if renamer, ok := w.(Renamer); ok {
			key = renamer.HistoryKey(key)
		}
	}
	return key
}

// owners are the operations of a history by what their comments say.
type owners struct {
	byID  map[uint64]*linearizability.Op
	keys  map[string]bool                // that some of them may write
	byKey map[string]*linearizability.Op // of attempts under one key, one that may have had an effect, if there is any
}

func ownersOf(h *linearizability.History) owners {
	o := owners{byID: map[uint64]*linearizability.Op{}, keys: map[string]bool{}, byKey: map[string]*linearizability.Op{}}
	for i := range h.Ops {
		op := &h.Ops[i]
		o.byID[op.ID] = op
		for _, s := range writesOf(op) {
			o.keys[s.Key] = true
		}
		if key := op.IdempotencyKey; key != "" {
			if was := o.byKey[key]; was == nil || was.Outcome == linearizability.NotApplied {
				o.byKey[key] = op
			}
		}
	}
	return o
}

// of is whose a change is; nil: nobody's whom the history knows.
func (o owners) of(e *client.Event) (*linearizability.Op, error) {
	var op *linearizability.Op
	text, keyed := strings.CutPrefix(e.Comment, remarkKey)
	if keyed {
		op = o.byKey[text]
	} else {
		text, known := strings.CutPrefix(e.Comment, remarkOp)
		if !known {
			return nil, nil
		}
		id, _ := strconv.ParseUint(text, 10, 64) // 0 is none's
		op = o.byID[id]
	}
	if op == nil {
		return nil, fmt.Errorf("%w: revision %d of %s was made by %q, which nobody asked for", ErrLog, e.Revision, e.Path, e.Comment)
	}
	return op, nil
}

// writesOf are the steps of op, in whichever branch, that may change a key.
func writesOf(op *linearizability.Op) []linearizability.Step {
	switch op.Kind {
	case linearizability.Put, linearizability.Delete:
		return []linearizability.Step{{Kind: op.Kind, Key: op.Key, Value: op.Value}}
	case linearizability.Txn:
		return slices.DeleteFunc(slices.Concat(op.Steps, op.Else), func(s linearizability.Step) bool { return s.Kind == linearizability.Read })
	case linearizability.Read, linearizability.Local, linearizability.Append:
	}
	return nil
}

// wrote tells whether op may have done to a key what a change says.
func wrote(op *linearizability.Op, e *client.Event, key string) bool {
	return slices.ContainsFunc(writesOf(op), func(s linearizability.Step) bool {
		switch {
		case s.Key != key:
			return false
		case e.Deleted || s.Kind == linearizability.Delete:
			return e.Deleted && s.Kind == linearizability.Delete
		case s.Kind == linearizability.Append: // it has all elements, or is the element
			return string(e.Value) == s.Value || strings.HasSuffix(string(e.Value), " "+s.Value)
		}
		return string(e.Value) == s.Value
	})
}
