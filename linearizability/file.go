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

// The types of line, and for each what it holds. docs/history.md has them as tables.

// head begins every line.
type head struct {
	Time int64  `json:"t"`
	Type string `json:"type"`
}

type callLine struct {
	head
	Op             uint64    `json:"op"`
	Client         int       `json:"client,omitempty"`
	Session        uint64    `json:"session,omitempty"`
	Node           string    `json:"node,omitempty"`
	Kind           Kind      `json:"kind"`
	Key            string    `json:"key,omitempty"`
	Value          string    `json:"value,omitempty"`
	IfRevision     uint64    `json:"if_revision,omitempty"`
	IfAbsent       bool      `json:"if_absent,omitempty"`
	Compares       []Compare `json:"compares,omitempty"`
	Steps          []Step    `json:"steps,omitempty"`
	Else           []Step    `json:"else,omitempty"`
	RetryOf        uint64    `json:"retry_of,omitempty"`
	IdempotencyKey string    `json:"idempotency_key,omitempty"`
	MinRevision    uint64    `json:"min_revision,omitempty"`
	MaxStaleness   int64     `json:"max_staleness,omitempty"`
}

type returnLine struct {
	head
	Op          uint64  `json:"op"`
	Outcome     Outcome `json:"outcome"`
	Revision    uint64  `json:"revision,omitempty"`
	Found       bool    `json:"found,omitempty"`
	Value       string  `json:"value,omitempty"`
	KeyRevision uint64  `json:"key_revision,omitempty"`
	ElseDone    bool    `json:"else_done,omitempty"`
	FreshAt     *int64  `json:"fresh_at,omitempty"`
	Reads       []saw   `json:"reads,omitempty"`
}

// saw is the answer of one read step.
type saw struct {
	Found       bool   `json:"found,omitempty"`
	Value       string `json:"value,omitempty"`
	KeyRevision uint64 `json:"key_revision,omitempty"`
}

type changeLine struct {
	head
	Op       uint64 `json:"op"`
	Key      string `json:"key,omitempty"`
	Revision uint64 `json:"revision"`
}

type watchLine struct {
	head
	Watch  uint64 `json:"watch"`
	Client int    `json:"client,omitempty"`
	Node   string `json:"node,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	From   uint64 `json:"from,omitempty"`
}

type watchedLine struct {
	head
	Watch    uint64 `json:"watch"`
	Revision uint64 `json:"revision"`
	Key      string `json:"key"`
	Deleted  bool   `json:"deleted,omitempty"`
	Value    string `json:"value,omitempty"`
}

type completeLine struct {
	head
	Watch    uint64 `json:"watch"`
	Revision uint64 `json:"revision"`
}

type eventLine struct {
	head
	Kind     EventKind   `json:"kind"`
	Node     string      `json:"node,omitempty"`
	Term     uint64      `json:"term,omitempty"`
	Index    uint64      `json:"index,omitempty"`
	Digest   string      `json:"digest,omitempty"`
	Fault    uint64      `json:"fault,omitempty"`
	Name     string      `json:"name,omitempty"`
	Nodes    []string    `json:"nodes,omitempty"`
	Links    [][2]string `json:"links,omitempty"`
	Minority []string    `json:"minority,omitempty"`
	Text     string      `json:"text,omitempty"`
}

type workloadLine struct {
	head
	Name  string   `json:"name"`
	Keys  []string `json:"keys,omitempty"`
	Total int64    `json:"total,omitempty"`
}

// output is a line with its place in the file: by time, then by rank, then by id.
type output struct {
	at   int64
	rank int
	id   uint64
	line any
}

// Ranks of lines of one instant. What is asked is asked before anything of the
// same instant is answered; the change log comes last of all.
const (
	rankWorkload = iota
	rankEvent
	rankCall
	rankWatched
	rankReturn
)

// Write writes h as JSON Lines, in the order of time.
func (h *History) Write(w io.Writer) error {
	lines := slices.Concat(h.opLines(), h.watchLines(), h.eventLines())
	slices.SortStableFunc(lines, func(a, b output) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.rank, b.rank), cmp.Compare(a.id, b.id))
	})
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	write := func(line any) error {
		if err := enc.Encode(line); err != nil {
			return fmt.Errorf("linearizability: writing a history: %w", err)
		}
		return nil
	}
	end := int64(0)
	for i := range lines {
		end = lines[i].at
		if err := write(lines[i].line); err != nil {
			return err
		}
	}
	for _, c := range h.Changes {
		if err := write(changeLine{head: head{end, "change"}, Op: c.Op, Key: c.Key, Revision: c.Revision}); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("linearizability: writing a history: %w", err)
	}
	return nil
}

func (h *History) opLines() []output {
	lines := make([]output, 0, 2*len(h.Ops))
	for i := range h.Ops {
		o := &h.Ops[i]
		var reads []saw
		for _, s := range o.branch() {
			if s.Kind == Read {
				reads = append(reads, saw{s.Found, s.Got, s.KeyRevision})
			}
		}
		lines = append(lines, output{o.Call, rankCall, o.ID, callLine{
			head: head{o.Call, "call"}, Op: o.ID, Client: o.Client, Session: o.Session, Node: o.Node,
			Kind: o.Kind, Key: o.Key, Value: o.Value, IfRevision: o.IfRevision, IfAbsent: o.IfAbsent,
			Compares: o.Compares, Steps: unanswered(o.Steps), Else: unanswered(o.Else), RetryOf: o.RetryOf, IdempotencyKey: o.IdempotencyKey,
			MinRevision: o.MinRevision, MaxStaleness: o.MaxStaleness,
		}})
		if o.Return == Never {
			continue
		}
		r := returnLine{
			head: head{o.Return, "return"}, Op: o.ID, Outcome: o.Outcome,
			Revision: o.Revision, Found: o.Found, Value: o.Got, KeyRevision: o.KeyRevision, ElseDone: o.ElseDone,
		}
		if o.Claims {
			r.FreshAt = &o.FreshAt
		}
		if o.sawSteps() {
			r.Reads = reads
		}
		lines = append(lines, output{o.Return, rankReturn, o.ID, r})
	}
	return lines
}

// unanswered are steps as they were asked.
func unanswered(steps []Step) []Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Found, steps[i].Got, steps[i].KeyRevision = false, "", 0
	}
	return steps
}

func (h *History) watchLines() []output {
	var lines []output
	for i := range h.Watches {
		w := &h.Watches[i]
		lines = append(lines, output{w.Start, rankCall, w.ID, watchLine{
			head: head{w.Start, "watch"}, Watch: w.ID, Client: w.Client, Node: w.Node, Prefix: w.Prefix, From: w.From,
		}})
		for _, e := range w.Events {
			lines = append(lines, output{e.At, rankWatched, w.ID, watchedLine{
				head: head{e.At, "watched"}, Watch: w.ID, Revision: e.Revision, Key: e.Key, Deleted: e.Deleted, Value: e.Value,
			}})
		}
		if w.Through != 0 {
			lines = append(lines, output{w.ThroughAt, rankReturn, w.ID, completeLine{head: head{w.ThroughAt, "complete"}, Watch: w.ID, Revision: w.Through}})
		}
	}
	return lines
}

func (h *History) eventLines() []output {
	lines := make([]output, 0, len(h.Events)+1)
	first := int64(0)
	for i := range h.Events {
		e := &h.Events[i]
		first = min(first, e.At)
		lines = append(lines, output{e.At, rankEvent, 0, eventLine{
			head: head{e.At, "event"}, Kind: e.Kind, Node: e.Node, Term: e.Term, Index: e.Index, Digest: e.Digest,
			Fault: e.Fault, Name: e.Name, Nodes: e.Nodes, Links: e.Links, Minority: e.Minority, Text: e.Text,
		}})
	}
	for _, w := range h.Workloads {
		lines = append(lines, output{first, rankWorkload, 0, workloadLine{head: head{first, "workload"}, Name: w.Name, Keys: w.Keys, Total: w.Total}})
	}
	return lines
}

// ReadHistory reads what Write wrote, or another harness in the same format. Its
// errors name the line.
func ReadHistory(r io.Reader) (History, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLineBytes)
	d := decoder{ops: map[uint64]int{}, watches: map[uint64]int{}}
	line := 0
	for in.Scan() {
		line++
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		if err := d.line(in.Bytes()); err != nil {
			return History{}, fmt.Errorf("linearizability: line %d: %w", line, err)
		}
	}
	if err := in.Err(); err != nil {
		return History{}, fmt.Errorf("linearizability: line %d: %w", line+1, err)
	}
	return d.h, nil
}

// decoder makes a history of lines.
type decoder struct {
	h       History
	ops     map[uint64]int // id to position
	watches map[uint64]int
	last    int64
}

// line takes one line; a member that its type does not have is an error.
func (d *decoder) line(b []byte) error {
	var first head
	if err := json.Unmarshal(b, &first); err != nil {
		return err
	}
	if (len(d.ops) > 0 || len(d.watches) > 0 || len(d.h.Events) > 0) && first.Time < d.last {
		return fmt.Errorf("time goes back to %d after %d", first.Time, d.last)
	}
	d.last = first.Time
	switch first.Type {
	case "call":
		return decode(b, d.call)
	case "return":
		return decode(b, d.returned)
	case "change":
		return decode(b, d.change)
	case "watch":
		return decode(b, d.watch)
	case "watched":
		return decode(b, d.watched)
	case "complete":
		return decode(b, d.complete)
	case "event":
		return decode(b, d.event)
	case "workload":
		return decode(b, d.workload)
	}
	return fmt.Errorf("type %q is none of call, return, change, watch, watched, complete, event, workload", first.Type)
}

func decode[T any](b []byte, take func(*T) error) error {
	var v T
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	return take(&v)
}

func (d *decoder) call(l *callLine) error {
	if _, ok := d.ops[l.Op]; ok || l.Op == 0 {
		return fmt.Errorf("op %d is called twice, or is 0", l.Op)
	}
	o := Op{
		ID: l.Op, Client: l.Client, Session: l.Session, Node: l.Node, Kind: l.Kind, Key: l.Key, Value: l.Value,
		IfRevision: l.IfRevision, IfAbsent: l.IfAbsent, Compares: l.Compares, Steps: l.Steps, Else: l.Else,
		RetryOf: l.RetryOf, IdempotencyKey: l.IdempotencyKey, MinRevision: l.MinRevision, MaxStaleness: l.MaxStaleness,
		Call: l.Time, Return: Never,
	}
	if err := o.validCall(); err != nil {
		return err
	}
	d.ops[l.Op] = len(d.h.Ops)
	d.h.Ops = append(d.h.Ops, o)
	return nil
}

// validCall tells what is wrong with what was asked.
func (o *Op) validCall() error {
	switch o.Kind {
	case Put, Delete, Read, Local:
		if len(o.Steps) > 0 || len(o.Compares) > 0 || len(o.Else) > 0 {
			return fmt.Errorf("op %d is a %s and has no compares or steps", o.ID, o.Kind)
		}
		if !o.isWrite() && (o.IfAbsent || o.IfRevision != 0) {
			return fmt.Errorf("op %d is a %s and has no condition", o.ID, o.Kind)
		}
		return nil
	case Txn:
	default:
		return fmt.Errorf("kind %q is none of put, delete, read, local, txn", o.Kind)
	}
	if len(o.Steps) == 0 || o.Key != "" || o.Value != "" || o.IfAbsent || o.IfRevision != 0 {
		return fmt.Errorf("op %d is a txn: it has steps, and compares, but no key, value or condition of its own", o.ID)
	}
	for _, s := range slices.Concat(o.Steps, o.Else) {
		switch s.Kind {
		case Put, Delete, Read, Append:
		default:
			return fmt.Errorf("step kind %q is none of put, delete, read, append", s.Kind)
		}
		if s.Found || s.Got != "" || s.KeyRevision != 0 {
			return fmt.Errorf("op %d has answers in its steps; they come with its return, as reads", o.ID)
		}
	}
	return o.validElse()
}

// validElse: what an unknown transaction did is told by what its conditions find. Whether
// one on a revision holds may not be known, so that there might be two answers.
func (o *Op) validElse() error {
	writes := slices.ContainsFunc(o.Else, func(s Step) bool { return s.Kind != Read })
	onRevision := func(c Compare) bool { return c.Revision != 0 }
	switch {
	case len(o.Else) > 0 && len(o.Compares) == 0:
		return fmt.Errorf("op %d has an else branch and no compares", o.ID)
	case writes && slices.ContainsFunc(o.Compares, onRevision):
		return fmt.Errorf("op %d has an else branch that writes: its compares are on values or existence, not on revisions", o.ID)
	}
	return nil
}

func (d *decoder) returned(l *returnLine) error {
	i, ok := d.ops[l.Op]
	if !ok {
		return fmt.Errorf("op %d returns without a call", l.Op)
	}
	o := &d.h.Ops[i]
	if o.Return != Never {
		return fmt.Errorf("op %d returns twice", l.Op)
	}
	if err := o.mayEnd(l.Outcome); err != nil {
		return err
	}
	if l.Outcome == Applied && l.Revision == 0 {
		return errors.New("an applied write has a revision")
	}
	if l.ElseDone && len(o.Else) == 0 {
		return fmt.Errorf("op %d has no else branch that could be done", l.Op)
	}
	o.Return, o.Outcome = l.Time, l.Outcome
	o.Revision, o.Found, o.Got, o.KeyRevision, o.ElseDone = l.Revision, l.Found, l.Value, l.KeyRevision, l.ElseDone
	if l.FreshAt != nil {
		o.Claims, o.FreshAt = true, *l.FreshAt
	}
	return o.fill(l.Reads)
}

// mayEnd tells whether an outcome is one of the operation's kind.
func (o *Op) mayEnd(outcome Outcome) error {
	right := false
	switch outcome {
	case Applied, Unchanged, NotApplied, Unknown:
		right = o.isWrite()
	case CompareFailed:
		right = len(o.compares()) > 0
	case ReadDone, ReadFailed:
		right = !o.isWrite()
	default:
		return fmt.Errorf("outcome %q is not known", outcome)
	}
	if !right {
		return fmt.Errorf("op %d is a %s and cannot end %s, as it was called", o.ID, o.Kind, outcome)
	}
	return nil
}

// fill puts the answers of read steps where they belong.
func (o *Op) fill(reads []saw) error {
	n := 0
	steps := o.branch()
	for i := range steps {
		s := &steps[i]
		if s.Kind != Read {
			continue
		}
		if n < len(reads) {
			s.Found, s.Got, s.KeyRevision = reads[n].Found, reads[n].Value, reads[n].KeyRevision
		}
		n++
	}
	if want := n; len(reads) != 0 || o.sawSteps() {
		if len(reads) != want || !o.sawSteps() {
			return fmt.Errorf("op %d has %d read steps and %d answers to them, and ends %s", o.ID, want, len(reads), o.Outcome)
		}
	}
	return nil
}

func (d *decoder) change(l *changeLine) error {
	n := len(d.h.Changes)
	last := uint64(0)
	if n > 0 {
		last = d.h.Changes[n-1].Revision
	}
	if l.Revision != last+1 && (l.Revision != last || n == 0) {
		return fmt.Errorf("change of revision %d, want %d: the change log is given whole or not at all", l.Revision, last+1)
	}
	d.h.HasChanges = true
	d.h.Changes = append(d.h.Changes, Change{Revision: l.Revision, Op: l.Op, Key: l.Key})
	return nil
}

func (d *decoder) watch(l *watchLine) error {
	if _, ok := d.watches[l.Watch]; ok || l.Watch == 0 {
		return fmt.Errorf("watch %d begins twice, or is 0", l.Watch)
	}
	d.watches[l.Watch] = len(d.h.Watches)
	d.h.Watches = append(d.h.Watches, Watch{ID: l.Watch, Client: l.Client, Node: l.Node, Prefix: l.Prefix, From: l.From, Start: l.Time})
	return nil
}

func (d *decoder) watched(l *watchedLine) error {
	i, ok := d.watches[l.Watch]
	if !ok {
		return fmt.Errorf("watch %d has an event before it begins", l.Watch)
	}
	w := &d.h.Watches[i]
	w.Events = append(w.Events, WatchEvent{At: l.Time, Revision: l.Revision, Key: l.Key, Deleted: l.Deleted, Value: l.Value})
	return nil
}

func (d *decoder) complete(l *completeLine) error {
	i, ok := d.watches[l.Watch]
	if !ok {
		return fmt.Errorf("watch %d is complete before it begins", l.Watch)
	}
	w := &d.h.Watches[i]
	if l.Revision >= w.Through {
		w.Through, w.ThroughAt = l.Revision, l.Time
	}
	return nil
}

func (d *decoder) event(l *eventLine) error {
	switch l.Kind {
	case Leads, Started, Crashed, Paused, Resumed, AppliedEntry:
		if l.Node == "" {
			return fmt.Errorf("event %s names no node", l.Kind)
		}
	case FaultBegins, FaultEnds:
		if l.Fault == 0 {
			return fmt.Errorf("event %s has no fault number", l.Kind)
		}
	default:
		return fmt.Errorf("event kind %q is none of leader, start, crash, pause, resume, fault_begin, fault_end, applied", l.Kind)
	}
	d.h.Events = append(d.h.Events, Event{
		At: l.Time, Kind: l.Kind, Node: l.Node, Term: l.Term, Index: l.Index, Digest: l.Digest,
		Fault: l.Fault, Name: l.Name, Nodes: l.Nodes, Links: l.Links, Minority: l.Minority, Text: l.Text,
	})
	return nil
}

func (d *decoder) workload(l *workloadLine) error {
	switch l.Name {
	case Bank, Set, ListAppend:
	default:
		return fmt.Errorf("workload %q is none of %s, %s, %s", l.Name, Bank, Set, ListAppend)
	}
	d.h.Workloads = append(d.h.Workloads, Workload{Name: l.Name, Keys: l.Keys, Total: l.Total})
	return nil
}
