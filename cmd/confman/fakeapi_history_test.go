package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/confman/confman/client"
)

// patch changes a value in part.
func (a *fakeAPI) patch(w http.ResponseWriter, r *http.Request, key string) {
	rec, ok := a.records[key]
	if !ok {
		fakeProblem(404, "not-found", "not_applied", false, fmt.Sprintf("key %q has no value", key))(w, r)
		return
	}
	text, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Type") == string(client.MergePatch) {
		rec.Value, err = jsonpatch.MergePatch(rec.Value, text)
	} else if err == nil {
		var p jsonpatch.Patch
		if p, err = jsonpatch.DecodePatch(text); err == nil {
			rec.Value, err = p.Apply(rec.Value)
		}
	}
	if err != nil {
		fakeProblem(409, "patch-conflict", "not_applied", false, err.Error())(w, r)
		return
	}
	a.write(w, r, key, &rec)
}

// within tells whether path is the key that rest names, or below the subtree that it names.
func within(rest, path string) bool {
	return path == rest || (rest == "" || strings.HasSuffix(rest, "/")) && strings.HasPrefix(path, rest)
}

// different are the paths within rest that two states hold differently, in order.
func different(rest string, before, after map[string]client.Record) []string {
	all := maps.Clone(before)
	maps.Copy(all, after)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(path string) bool {
		old, was := before[path]
		now, is := after[path]
		return !within(rest, path) || was == is && bytes.Equal(old.Value, now.Value) && old.ContentType == now.ContentType
	})
}

func (a *fakeAPI) history(w http.ResponseWriter, r *http.Request, rest string) {
	events := []client.Event{}
	newest := a.revision
	if n, err := strconv.ParseUint(r.URL.Query().Get("revision"), 10, 64); err == nil {
		newest = n
	}
	for revision := newest; revision > 0; revision-- {
		for _, path := range different(rest, a.past[revision-1], a.past[revision]) {
			rec, ok := a.past[revision][path]
			rec.Path, rec.Revision, rec.ModifiedAt = path, revision, fakeNow
			events = append(events, client.Event{Record: rec, Deleted: !ok, Comment: a.comments[revision]})
		}
	}
	if len(events) == 0 && rest != "" {
		fakeProblem(404, "not-found", "", false, fmt.Sprintf("nothing ever happened to %q", rest))(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"revision": newest, "items": events})
}

// watch gives what there is and closes the stream: who wants more comes again.
func (a *fakeAPI) watch(w http.ResponseWriter, r *http.Request, rest string) {
	w.Header().Set("Content-Type", "text/event-stream")
	from, err := strconv.ParseUint(r.URL.Query().Get("from_revision"), 10, 64)
	if err != nil {
		from = a.revision
	}
	for revision := from + 1; revision <= a.revision; revision++ {
		ch := client.Change{Revision: revision, ModifiedAt: fakeNow, ModifiedBy: "anonymous", Comment: a.comments[revision]}
		for _, path := range different(rest, a.past[revision-1], a.past[revision]) {
			rec, ok := a.past[revision][path]
			rec.Path = path
			ch.Events = append(ch.Events, client.Event{Record: rec, Deleted: !ok})
		}
		if len(ch.Events) > 0 {
			text, _ := json.Marshal(ch)
			_, _ = fmt.Fprintf(w, "id: %d\nevent: change\ndata: %s\n\n", revision, text)
		}
	}
	_, _ = fmt.Fprintf(w, ": heartbeat\nid: %d\n\n", a.revision)
}

func (a *fakeAPI) diff(w http.ResponseWriter, r *http.Request, rest string) {
	from, err := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	before := a.past[from]
	if err != nil || before == nil {
		fakeProblem(400, "invalid-parameter", "", false, `parameter "from" is wrong`)(w, r)
		return
	}
	differences := []client.Difference{}
	for _, path := range different(rest, before, a.records) {
		d := client.Difference{Path: path, Action: "changed"}
		if rec, ok := before[path]; ok {
			d.Before = &rec
		} else {
			d.Action = "added"
		}
		if rec, ok := a.records[path]; ok {
			d.After = &rec
		} else {
			d.Action = "removed"
		}
		differences = append(differences, d)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"revision": a.revision, "items": differences})
}

func (a *fakeAPI) rollback(w http.ResponseWriter, r *http.Request, rest string) {
	var asked struct {
		To *uint64 `json:"to_revision"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.To == nil {
		fakeProblem(400, "invalid-body", "not_applied", false, "to_revision is missing")(w, r)
		return
	}
	then := a.past[*asked.To]
	if then == nil {
		fakeProblem(400, "future-revision", "not_applied", false, fmt.Sprintf("there is no revision %d yet", *asked.To))(w, r)
		return
	}
	out := client.RolledBack{Path: rest, ToRevision: *asked.To, Transactions: 1}
	for _, path := range different(rest, a.records, then) {
		if rec, ok := then[path]; ok {
			a.store(&rec, a.revision+1)
			out.Restored++
		} else {
			delete(a.records, path)
			out.Removed++
		}
	}
	if out.Changed = out.Restored+out.Removed > 0; out.Changed {
		a.commit(r)
	}
	out.Revision = a.revision
	_ = json.NewEncoder(w).Encode(out)
}

// fakeOp is an operation of a transaction, or a compare.
type fakeOp struct {
	Put, Delete, Get string
	Exists           *bool
	Revision         *uint64
	rec              client.Record // its path is only a compare's
}

// UnmarshalJSON reads the value as a record has it.
func (o *fakeOp) UnmarshalJSON(text []byte) error {
	type plain fakeOp
	return cmp.Or(json.Unmarshal(text, (*plain)(o)), json.Unmarshal(text, &o.rec))
}

func (a *fakeAPI) txn(w http.ResponseWriter, r *http.Request) {
	var doc struct{ Compare, Then, Else []fakeOp }
	if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
		fakeProblem(400, "invalid-body", "not_applied", false, err.Error())(w, r)
		return
	}
	res := client.TxnResult{Succeeded: true}
	ops := doc.Then
	for i, c := range doc.Compare {
		rec, ok := a.records[c.rec.Path]
		holds := ok && bytes.Equal(rec.Value, c.rec.Value)
		switch {
		case c.Exists != nil:
			holds = ok == *c.Exists
		case c.Revision != nil:
			holds = rec.Revision == *c.Revision
		}
		if !holds {
			res.Succeeded, res.FailedCompare, res.CurrentRevision, ops = false, i, rec.Revision, doc.Else
			break
		}
	}
	for _, op := range ops {
		done := a.do(&op)
		res.Changed = res.Changed || done.Changed
		res.Results = append(res.Results, done)
	}
	if res.Changed {
		a.commit(r)
	}
	for i := range res.Results {
		if done := &res.Results[i]; done.Op == "get" {
			if rec, ok := a.records[done.Path]; ok {
				done.Record = &rec
			}
		}
	}
	res.Revision = a.revision
	_ = json.NewEncoder(w).Encode(res)
}

func (a *fakeAPI) do(op *fakeOp) client.TxnOpResult {
	switch {
	case op.Get != "":
		return client.TxnOpResult{Op: "get", Path: op.Get}
	case op.Put != "":
		old, exists := a.records[op.Put]
		done := client.TxnOpResult{Op: "put", Path: op.Put, Revision: old.Revision, Created: !exists}
		if op.rec.Path = op.Put; !exists || !bytes.Equal(old.Value, op.rec.Value) || old.ContentType != op.rec.ContentType {
			a.store(&op.rec, a.revision+1)
			done.Revision, done.Changed = a.revision+1, true
		}
		return done
	}
	done := client.TxnOpResult{Op: "delete", Path: op.Delete}
	for path := range a.records {
		if within(op.Delete, path) {
			delete(a.records, path)
			done.Removed++
		}
	}
	done.Changed = done.Removed > 0
	return done
}
