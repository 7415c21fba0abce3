package linearizability

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxLineBytes bounds one line of a history file.
const maxLineBytes = 4 << 20

// event is one line of a history file.
type event struct {
	Time   int64  `json:"t"`
	Type   string `json:"type"`
	Op     uint64 `json:"op"`
	Client int    `json:"client,omitempty"`
	Node   string `json:"node,omitempty"`
	Kind   Kind   `json:"kind,omitempty"`
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`

	IfRevision uint64 `json:"if_revision,omitempty"`
	IfAbsent   bool   `json:"if_absent,omitempty"`
	RetryOf    uint64 `json:"retry_of,omitempty"`

	Outcome     Outcome `json:"outcome,omitempty"`
	Revision    uint64  `json:"revision,omitempty"`
	Found       bool    `json:"found,omitempty"`
	KeyRevision uint64  `json:"key_revision,omitempty"`
	FreshAt     *int64  `json:"fresh_at,omitempty"`
}

// Write writes h as JSON Lines.
func (h *History) Write(w io.Writer) error {
	events := make([]event, 0, 2*len(h.Ops)+len(h.Changes))
	var end int64
	for i := range h.Ops {
		o := &h.Ops[i]
		events = append(events, event{
			Time: o.Call, Type: "call", Op: o.ID, Client: o.Client, Node: o.Node, Kind: o.Kind, Key: o.Key, Value: o.Value,
			IfRevision: o.IfRevision, IfAbsent: o.IfAbsent, RetryOf: o.RetryOf,
		})
		end = max(end, o.Call)
		if o.Return == Never {
			continue
		}
		end = max(end, o.Return)
		e := event{
			Time: o.Return, Type: "return", Op: o.ID, Outcome: o.Outcome,
			Revision: o.Revision, Found: o.Found, Value: o.Got, KeyRevision: o.KeyRevision,
		}
		if o.Claims {
			e.FreshAt = &o.FreshAt
		}
		events = append(events, e)
	}
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Op, b.Op)) // call before return
	})
	if h.HasChanges {
		for _, c := range h.Changes {
			events = append(events, event{Time: end, Type: "change", Op: c.Op, Key: c.Key, Revision: c.Revision})
		}
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for i := range events {
		if err := enc.Encode(&events[i]); err != nil {
			return fmt.Errorf("linearizability: writing a history: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("linearizability: writing a history: %w", err)
	}
	return nil
}

// ReadHistory reads what Write wrote, or another harness in the same format. Its
// errors name the line.
func ReadHistory(r io.Reader) (History, error) {
	var h History
	at := map[uint64]int{} // position in h.Ops
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLineBytes)
	line := 0
	last := int64(0)
	for in.Scan() {
		line++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		var e event
		dec := json.NewDecoder(bytes.NewReader(in.Bytes()))
		dec.DisallowUnknownFields()
		err := dec.Decode(&e)
		if err == nil && e.Time < last {
			err = fmt.Errorf("time goes back to %d after %d", e.Time, last)
		}
		last = e.Time
		if err == nil {
			err = h.add(&e, at)
		}
		if err != nil {
			return History{}, fmt.Errorf("linearizability: line %d: %w", line, err)
		}
	}
	if err := in.Err(); err != nil {
		return History{}, fmt.Errorf("linearizability: line %d: %w", line+1, err)
	}
	return h, nil
}

func (h *History) add(e *event, at map[uint64]int) error {
	switch e.Type {
	case "call":
		return h.addCall(e, at)
	case "return":
		return h.addReturn(e, at)
	case "change":
		if want := uint64(len(h.Changes) + 1); e.Revision != want {
			return fmt.Errorf("change of revision %d, want %d: the change log is given whole or not at all", e.Revision, want)
		}
		h.HasChanges = true
		h.Changes = append(h.Changes, Change{Revision: e.Revision, Op: e.Op, Key: e.Key})
		return nil
	}
	return fmt.Errorf("type %q is none of call, return, change", e.Type)
}

func (h *History) addCall(e *event, at map[uint64]int) error {
	if _, ok := at[e.Op]; ok || e.Op == 0 {
		return fmt.Errorf("op %d is called twice, or is 0", e.Op)
	}
	switch e.Kind {
	case Put, Delete, Read, Local:
	default:
		return fmt.Errorf("kind %q is none of put, delete, read, local", e.Kind)
	}
	at[e.Op] = len(h.Ops)
	h.Ops = append(h.Ops, Op{
		ID: e.Op, Client: e.Client, Node: e.Node, Kind: e.Kind, Key: e.Key, Value: e.Value,
		IfRevision: e.IfRevision, IfAbsent: e.IfAbsent, RetryOf: e.RetryOf,
		Call: e.Time, Return: Never,
	})
	return nil
}

func (h *History) addReturn(e *event, at map[uint64]int) error {
	i, ok := at[e.Op]
	if !ok {
		return fmt.Errorf("op %d returns without a call", e.Op)
	}
	o := &h.Ops[i]
	if o.Return != Never {
		return fmt.Errorf("op %d returns twice", e.Op)
	}
	write := false
	switch e.Outcome {
	case Applied, Unchanged, CompareFailed, NotApplied, Unknown:
		write = true
	case ReadDone, ReadFailed:
	default:
		return fmt.Errorf("outcome %q is not known", e.Outcome)
	}
	if write != o.isWrite() {
		return fmt.Errorf("op %d is a %s and cannot end %s", e.Op, o.Kind, e.Outcome)
	}
	if e.Outcome == Applied && e.Revision == 0 {
		return errors.New("an applied write has a revision")
	}
	o.Return, o.Outcome = e.Time, e.Outcome
	o.Revision, o.Found, o.Got, o.KeyRevision = e.Revision, e.Found, e.Value, e.KeyRevision
	if e.FreshAt != nil {
		o.Claims, o.FreshAt = true, *e.FreshAt
	}
	return nil
}
