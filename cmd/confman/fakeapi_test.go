package main

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
	"testing"
	"time"

	"github.com/confman/confman/client"
)

// fakeNow is the time of the fake's clock, which stands still.
var fakeNow = time.Date(2026, 1, 23, 10, 0, 0, 0, time.UTC)

// fakeAPI is the REST API over a map, as far as the commands use it.
type fakeAPI struct {
	mu       sync.Mutex
	records  map[string]client.Record
	revision uint64
	// past holds the records at each revision, comments why there is one.
	past     map[uint64]map[string]client.Record
	comments map[uint64]string
	// damaged is the first revision whose change is not what was written; 0: none.
	damaged uint64
	// faults are answered first, one a request.
	faults []http.HandlerFunc
	// remembered are the answers under idempotency keys.
	remembered map[string]remembered
	// namespaces by path; of them there is no past. denied is what the audit has beside changes.
	namespaces map[string]client.Namespace
	denied     []client.AuditRow
	// members are those of the cluster, once somebody asked; changing: a change of the voters is under way.
	members  []client.Seated
	changing bool
	draining bool
	clings   bool // nobody takes over from it
	// contended is how many more namespaces somebody else changes once they were read.
	contended int
	backup    []byte
	// midway, unless nil, is called when half of the backup was sent: the rest is not.
	midway func(r *http.Request)
}

// remembered is what a request was answered.
type remembered struct {
	request string
	answer  *httptest.ResponseRecorder
}

func newFakeAPI(t *testing.T) (*fakeAPI, string) {
	t.Helper()
	a := &fakeAPI{
		records: map[string]client.Record{}, remembered: map[string]remembered{},
		past: map[uint64]map[string]client.Record{0: {}}, comments: map[uint64]string{}, namespaces: map[string]client.Namespace{},
	}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return a, s.URL
}

func fakeProblem(status int, name, outcome string, retryable bool, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"type": "urn:confman:problem:" + name, "status": status, "detail": detail, "outcome": outcome, "retryable": retryable,
		})
	}
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.faults) > 0 {
		fault := a.faults[0]
		a.faults = a.faults[1:]
		fault(w, r)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		a.once(w, r, key)
		return
	}
	a.answer(w, r)
}

// once answers a write under a key.
func (a *fakeAPI) once(w http.ResponseWriter, r *http.Request, key string) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := fmt.Sprint(r.Method, r.URL, r.Header["If-Match"], r.Header["If-None-Match"], r.Header["Content-Type"], r.Header["Confman-Comment"], string(body))
	was, ok := a.remembered[key]
	switch {
	case !ok:
		was = remembered{request, httptest.NewRecorder()}
		a.answer(was.answer, r)
		a.remembered[key] = was
	case was.request != request:
		fakeProblem(422, "idempotency-key-reused", "not_applied", false, fmt.Sprintf("the idempotency key %q was that of another request", key))(w, r)
		return
	default:
		w.Header().Set("Idempotency-Replayed", "true")
	}
	maps.Copy(w.Header(), was.answer.Header())
	w.WriteHeader(was.answer.Code)
	_, _ = w.Write(was.answer.Body.Bytes())
}

// lose does what is asked, and does not tell.
func (a *fakeAPI) lose(w http.ResponseWriter, r *http.Request) {
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		a.once(httptest.NewRecorder(), r, key)
	} else {
		a.answer(httptest.NewRecorder(), r)
	}
	fakeProblem(503, "no-quorum", "unknown", true, "the answer was lost")(w, r)
}

func (a *fakeAPI) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Confman-Node", "node1")
	path := strings.TrimPrefix(r.URL.Path, "/api/v1")
	route, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	key, subtree := strings.CutSuffix(rest, "/")
	subtree = subtree || rest == ""
	if r.Method == http.MethodGet {
		now := a.records
		defer func() { a.records = now }()
		if a.records = a.asked(r); a.records == nil {
			fakeProblem(400, "future-revision", "", false, "there is no such revision yet")(w, r)
			return
		}
	}
	switch {
	case route == "config" && r.Method == http.MethodGet && !subtree:
		if rec, ok := a.records[key]; ok {
			_ = json.NewEncoder(w).Encode(rec)
			return
		}
		fakeProblem(404, "not-found", "", false, fmt.Sprintf("key %q has no value", key))(w, r)
	case route == "config" && r.Method == http.MethodGet:
		a.list(w, r, key)
	case route == "config" && r.Method == http.MethodPut:
		value, _ := io.ReadAll(r.Body)
		contentType := r.Header.Get("Content-Type")
		if contentType == "" {
			contentType = "text/plain; charset=utf-8"
			if json.Valid(value) {
				contentType = client.TypeJSON
			}
		}
		a.write(w, r, key, &client.Record{Path: key, Value: value, ContentType: contentType})
	case route == "config" && r.Method == http.MethodDelete && subtree:
		gone := a.below(key)
		if len(gone) == 0 {
			fakeProblem(404, "not-found", "not_applied", false, fmt.Sprintf("there is no key below %q", key+"/"))(w, r)
			return
		}
		for _, path := range gone {
			delete(a.records, path)
		}
		a.commit(r)
		_ = json.NewEncoder(w).Encode(client.Removed{Path: key + "/", Revision: a.revision, Removed: len(gone), Transactions: 1})
	case route == "config" && r.Method == http.MethodDelete:
		a.write(w, r, key, nil)
	case route == "config" && r.Method == http.MethodPatch:
		a.patch(w, r, key)
	case path == "/txn" && r.Method == http.MethodPost:
		a.txn(w, r)
	case route == "rollback" && r.Method == http.MethodPost:
		a.rollback(w, r, rest)
	case route == "history" && r.URL.Query().Has("verify"):
		_ = json.NewEncoder(w).Encode(client.Verification{
			Verified: a.damaged == 0, Revision: a.revision, Changes: a.revision, Chain: fmt.Sprintf("%064d", a.revision),
			FirstBadRevision: a.damaged,
		})
	case route == "history":
		a.history(w, r, rest)
	case route == "watch":
		a.watch(w, r, rest)
	case route == "diff":
		a.diff(w, r, rest)
	case route == "import":
		a.load(w, r)
	case route == "export":
		a.export(w, r, key)
	case route == "namespaces":
		a.namespace(w, r, rest)
	case path == "/audit":
		a.audit(w, r)
	case path == "/whoami":
		_ = json.NewEncoder(w).Encode(fakeWho)
	case path == "/cluster/backup":
		if a.midway != nil {
			_, _ = w.Write(a.backup[:len(a.backup)/2])
			_ = http.NewResponseController(w).Flush()
			a.midway(r)
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(a.backup)
	case route == "cluster":
		a.cluster(w, r, path)
	default:
		http.NotFound(w, r)
	}
}

func (a *fakeAPI) write(w http.ResponseWriter, r *http.Request, key string, rec *client.Record) {
	old, exists := a.records[key]
	match := r.Header.Get("If-Match")
	if r.Header.Get("If-None-Match") == "*" && exists || match != "" && match != strconv.Quote(strconv.FormatUint(old.Revision, 10)) {
		fakeProblem(412, "precondition-failed", "not_applied", false, fmt.Sprintf("key %q was last changed at revision %d", key, old.Revision))(w, r)
		return
	}
	if rec == nil {
		if !exists {
			fakeProblem(404, "not-found", "not_applied", false, fmt.Sprintf("key %q has no value", key))(w, r)
			return
		}
		delete(a.records, key)
		a.commit(r)
		_ = json.NewEncoder(w).Encode(client.Written{Path: key, Revision: a.revision, Changed: true})
		return
	}
	changed := a.put(r, rec)
	_ = json.NewEncoder(w).Encode(client.Written{
		Path: key, ContentType: rec.ContentType, Revision: a.records[key].Revision, Created: !exists, Changed: changed,
	})
}

// put stores rec as a transaction of its own; false if it is there already.
func (a *fakeAPI) put(r *http.Request, rec *client.Record) bool {
	old, exists := a.records[rec.Path]
	if exists && string(old.Value) == string(rec.Value) && old.ContentType == rec.ContentType {
		return false
	}
	a.store(rec, a.revision+1)
	a.commit(r)
	return true
}

// store puts rec into the records as of a revision.
func (a *fakeAPI) store(rec *client.Record, revision uint64) {
	old, exists := a.records[rec.Path]
	rec.Revision, rec.CreateRevision, rec.Version = revision, revision, 1
	if exists {
		rec.CreateRevision, rec.Version = old.CreateRevision, old.Version+1
	}
	rec.ModifiedAt = fakeNow
	a.records[rec.Path] = *rec
}

// commit makes a revision of what the records are now.
func (a *fakeAPI) commit(r *http.Request) {
	a.revision++
	a.past[a.revision] = maps.Clone(a.records)
	a.comments[a.revision] = r.Header.Get("Confman-Comment")
}

// asked are the records that a read is of; nil: there is no such revision.
func (a *fakeAPI) asked(r *http.Request) map[string]client.Record {
	if at, err := http.ParseTime(r.Header.Get("Accept-Datetime")); err == nil && at.Before(fakeNow) {
		return a.past[0]
	}
	for _, name := range []string{"revision", "to"} {
		if revision, err := strconv.ParseUint(r.URL.Query().Get(name), 10, 64); err == nil {
			return a.past[revision]
		}
	}
	return a.records
}

// below returns the paths below key, and key, in order.
func (a *fakeAPI) below(key string) []string {
	paths := slices.Sorted(maps.Keys(a.records))
	return slices.DeleteFunc(paths, func(p string) bool {
		return key != "" && p != key && !strings.HasPrefix(p, key+"/")
	})
}

func (a *fakeAPI) list(w http.ResponseWriter, r *http.Request, key string) {
	prefix := key
	if prefix != "" {
		prefix += "/"
	}
	var (
		items []client.Item
		names = map[string]int{}
	)
	for _, path := range a.below(key) {
		if path == key {
			continue
		}
		item := client.Item{Record: a.records[path], HasValue: true}
		if name, _, deeper := strings.Cut(path[len(prefix):], "/"); r.URL.Query().Get("recursive") != "true" {
			if at, ok := names[name]; ok {
				items[at].Subtree = true
				continue
			}
			names[name] = len(items)
			if deeper {
				item = client.Item{Record: client.Record{Path: prefix + name}, Subtree: true}
			}
		}
		items = append(items, item)
	}
	if len(items) == 0 && key != "" {
		fakeProblem(404, "not-found", "", false, fmt.Sprintf("no key begins with %q", prefix))(w, r)
		return
	}
	if items == nil {
		items = []client.Item{}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"revision": a.revision, "items": items})
}

func (a *fakeAPI) load(w http.ResponseWriter, r *http.Request) {
	var res client.ImportResult
	for rec, err := range client.ReadRecords(r.Body, "") {
		if err != nil {
			fakeProblem(400, "invalid-body", "not_applied", false, err.Error())(w, r)
			return
		}
		res.Records++
		if a.put(r, &rec) {
			res.Changed++
		}
	}
	res.Unchanged, res.Revision = res.Records-res.Changed, a.revision
	_ = json.NewEncoder(w).Encode(res)
}

func (a *fakeAPI) export(w http.ResponseWriter, r *http.Request, key string) {
	paths := a.below(key)
	if len(paths) == 0 && key != "" {
		fakeProblem(404, "not-found", "", false, fmt.Sprintf("there is no key %q, nor any below it", key))(w, r)
		return
	}
	var (
		tree client.Tree
		out  []byte
	)
	for _, path := range paths {
		rec := a.records[path]
		out = append(rec.AppendJSON(out), '\n')
		_ = tree.Add(strings.TrimPrefix(strings.TrimPrefix(path, key), "/"), &rec)
	}
	if r.URL.Query().Get("format") == "tree" {
		out = append(tree.AppendJSON(nil), '\n')
	}
	_, _ = w.Write(out)
}
