package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/client"
)

// startCluster starts what the examples talk to: one node that keeps its keys in memory,
// and answers as the API does, as far as they go.
func startCluster() (nodes []string, stop func()) {
	a := &exampleAPI{states: []map[string]client.Record{{}}, comments: []string{""}, namespaces: map[string]client.Namespace{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/config/{key...}", a.get)
	mux.HandleFunc("PUT /api/v1/config/{key...}", a.put)
	mux.HandleFunc("POST /api/v1/txn", a.txn)
	mux.HandleFunc("GET /api/v1/history/{prefix...}", a.history)
	mux.HandleFunc("POST /api/v1/rollback/{prefix...}", a.rollback)
	mux.HandleFunc("GET /api/v1/watch/{prefix...}", a.watch)
	mux.HandleFunc("POST /api/v1/import/{prefix...}", a.load)
	mux.HandleFunc("GET /api/v1/namespaces/{path...}", a.namespace)
	mux.HandleFunc("PUT /api/v1/namespaces/{path...}", a.putNamespace)
	mux.HandleFunc("GET /api/v1/audit", a.audit)
	mux.HandleFunc("GET /api/v1/whoami", a.whoAmI)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if least, _ := strconv.Atoi(r.URL.Query().Get("min_revision")); least > a.revision() {
			a.refuse(w, 503, "behind", "the node has not applied that revision")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return []string{s.URL}, s.Close
}

// exampleAPI holds the state at each revision, and why there is one.
type exampleAPI struct {
	mu       sync.Mutex
	states   []map[string]client.Record
	comments []string
	// namespaces by path; of them there is no past.
	namespaces map[string]client.Namespace
}

func (a *exampleAPI) revision() int { return len(a.states) - 1 }

func (a *exampleAPI) now() map[string]client.Record { return a.states[a.revision()] }

func (a *exampleAPI) answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Confman-Revision", strconv.Itoa(a.revision()))
	w.Header().Set("Confman-Staleness", "0.010")
	w.Header().Set("Confman-Node", "node1")
	w.Header().Set("Confman-Leader", "node1")
	if status < 300 {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

func (a *exampleAPI) refuse(w http.ResponseWriter, status int, name, detail string, members ...any) {
	p := map[string]any{
		"type": "urn:confman:problem:" + name, "title": name, "status": status, "detail": detail,
		"outcome": "not_applied", "retryable": status == http.StatusServiceUnavailable,
	}
	for i := 0; i < len(members); i += 2 {
		p[members[i].(string)] = members[i+1]
	}
	w.Header().Set("Content-Type", "application/problem+json")
	a.answer(w, status, p)
}

// change is a transaction under way: a copy of the state.
type change struct {
	state    map[string]client.Record
	revision uint64
}

func (a *exampleAPI) begin() *change {
	return &change{maps.Clone(a.now()), uint64(a.revision() + 1)}
}

// put stores rec; false if that is what is there.
func (c *change) put(rec client.Record) (created, changed bool) {
	old, exists := c.state[rec.Path]
	if exists && bytes.Equal(old.Value, rec.Value) && old.ContentType == rec.ContentType {
		return false, false
	}
	rec.Revision, rec.CreateRevision, rec.Version = c.revision, c.revision, 1
	if exists {
		rec.CreateRevision, rec.Version = old.CreateRevision, old.Version+1
	}
	rec.ModifiedAt = time.Date(2026, 1, 23, 10, 0, int(c.revision), 0, time.UTC)
	rec.ModifiedBy = "anonymous"
	c.state[rec.Path] = rec
	return !exists, true
}

func (a *exampleAPI) commit(c *change, r *http.Request) {
	a.states = append(a.states, c.state)
	a.comments = append(a.comments, r.Header.Get("Confman-Comment"))
}

func (a *exampleAPI) get(w http.ResponseWriter, r *http.Request) {
	rec, ok := a.now()[r.PathValue("key")]
	if !ok {
		a.refuse(w, 404, "not-found", "the key has no value")
		return
	}
	a.answer(w, 200, rec)
}

func (a *exampleAPI) put(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	old, exists := a.now()[key]
	match := r.Header.Get("If-Match")
	if exists && r.Header.Get("If-None-Match") == "*" || match != "" && match != strconv.Quote(strconv.FormatUint(old.Revision, 10)) {
		a.refuse(w, 412, "precondition-failed", "the key is not as the condition demands", "current_revision", old.Revision)
		return
	}
	rec := client.Record{Path: key, ContentType: r.Header.Get("Content-Type")}
	rec.Value, _ = io.ReadAll(r.Body)
	if rec.ContentType == "" {
		rec.ContentType = "text/plain; charset=utf-8"
		if json.Valid(rec.Value) {
			rec.ContentType = client.TypeJSON
		}
	}
	c := a.begin()
	created, changed := c.put(rec)
	status := 200
	if changed {
		a.commit(c, r)
	}
	if created {
		status = 201
	}
	a.answer(w, status, client.Written{
		Path: key, ContentType: rec.ContentType, Revision: c.state[key].Revision, Created: created, Changed: changed,
	})
}

// txn knows existence, puts and gets.
func (a *exampleAPI) txn(w http.ResponseWriter, r *http.Request) {
	var doc struct {
		Compare []struct {
			Path   string
			Exists bool
		}
		Then, Else []json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
		a.refuse(w, 400, "invalid-body", err.Error())
		return
	}
	res := client.TxnResult{Succeeded: true}
	ops := doc.Then
	for i, cmp := range doc.Compare {
		if rec, ok := a.now()[cmp.Path]; ok != cmp.Exists {
			res.Succeeded, res.FailedCompare, res.CurrentRevision, ops = false, i, rec.Revision, doc.Else
			break
		}
	}
	c := a.begin()
	for _, text := range ops {
		var (
			op  struct{ Put, Get string }
			rec client.Record
		)
		_ = json.Unmarshal(text, &op)
		done := client.TxnOpResult{Op: "get", Path: op.Get}
		if op.Put != "" {
			_ = json.Unmarshal(text, &rec)
			rec.Path = op.Put
			done = client.TxnOpResult{Op: "put", Path: op.Put}
			done.Created, done.Changed = c.put(rec)
			done.Revision = c.state[op.Put].Revision
			res.Changed = res.Changed || done.Changed
		}
		res.Results = append(res.Results, done)
	}
	if res.Changed {
		a.commit(c, r)
	}
	for i := range res.Results {
		if rec, ok := a.now()[res.Results[i].Path]; ok && res.Results[i].Op == "get" {
			res.Results[i].Record = &rec
		}
	}
	res.Revision = uint64(a.revision())
	a.answer(w, 200, res)
}

// differing are the paths below prefix that two states hold differently.
func differing(prefix string, before, after map[string]client.Record) []string {
	all := maps.Clone(before)
	maps.Copy(all, after)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(path string) bool {
		return !strings.HasPrefix(path, prefix) || bytes.Equal(before[path].Value, after[path].Value)
	})
}

func (a *exampleAPI) history(w http.ResponseWriter, r *http.Request) {
	var events []client.Event
	for revision := a.revision(); revision > 0; revision-- {
		for _, path := range differing(r.PathValue("prefix"), a.states[revision-1], a.states[revision]) {
			rec, ok := a.states[revision][path]
			rec.Path, rec.Revision = path, uint64(revision)
			events = append(events, client.Event{Record: rec, Deleted: !ok, Comment: a.comments[revision]})
		}
	}
	a.answer(w, 200, map[string]any{"revision": a.revision(), "items": events})
}

// watch gives what has happened, and hangs up: the client comes back for more.
func (a *exampleAPI) watch(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.URL.Query().Get("from_revision"))
	w.Header().Set("Content-Type", "text/event-stream")
	for revision := from + 1; revision <= a.revision(); revision++ {
		ch := client.Change{Revision: uint64(revision), Comment: a.comments[revision]}
		for _, path := range differing(r.PathValue("prefix"), a.states[revision-1], a.states[revision]) {
			rec, ok := a.states[revision][path]
			rec.Path = path
			ch.Events = append(ch.Events, client.Event{Record: rec, Deleted: !ok})
		}
		if len(ch.Events) > 0 {
			text, _ := json.Marshal(ch)
			fmt.Fprintf(w, "id: %d\nevent: change\ndata: %s\n\n", revision, text)
		}
	}
}

func (a *exampleAPI) rollback(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		To int `json:"to_revision"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.To > a.revision() {
		a.refuse(w, 400, "future-revision", "there is no such revision yet")
		return
	}
	out := client.RolledBack{Path: r.PathValue("prefix"), ToRevision: uint64(asked.To), Transactions: 1}
	c := a.begin()
	for _, path := range differing(out.Path, a.now(), a.states[asked.To]) {
		if rec, ok := a.states[asked.To][path]; ok {
			c.put(rec)
			out.Restored++
		} else {
			delete(c.state, path)
			out.Removed++
		}
	}
	if out.Changed = out.Restored+out.Removed > 0; out.Changed {
		a.commit(c, r)
	}
	out.Revision = uint64(a.revision())
	a.answer(w, 200, out)
}

func (a *exampleAPI) load(w http.ResponseWriter, r *http.Request) {
	var res client.ImportResult
	c := a.begin()
	for rec, err := range client.ReadRecords(r.Body, strings.TrimSuffix(r.PathValue("prefix"), "/")) {
		if err != nil {
			a.refuse(w, 400, "invalid-body", err.Error())
			return
		}
		res.Records++
		if _, changed := c.put(rec); changed {
			res.Changed++
		}
	}
	if res.Changed > 0 {
		a.commit(c, r)
		res.Transactions = 1
	}
	res.Unchanged, res.Revision = res.Records-res.Changed, uint64(a.revision())
	a.answer(w, 200, res)
}
