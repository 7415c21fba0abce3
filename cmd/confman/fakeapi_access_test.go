package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/client"
)

var fakeWho = client.WhoAmI{
	Principal: "user:entra/contoso/bob", Kind: "user", Roles: []string{"role:entra/Config.Read"}, Groups: []string{}, AuthorizationRequired: true,
	Grants: []client.Grant{{Path: "/", Verbs: []string{"read"}}, {Path: "teams/payments/", Verbs: []string{"read", "write"}}},
}

var fakeDenied = []client.AuditRow{
	{
		Time: fakeNow, Outcome: "denied", Action: "denied-write", Principal: "user:entra/contoso/eve", Verbs: []string{"write"}, Path: "teams/payments/timeout-ms",
		Reason: "forbidden", Count: 12, First: fakeNow.Add(-time.Minute), Last: fakeNow, Source: "10.1.2.3",
	},
	{Time: fakeNow, Outcome: "denied", Action: "denied-access", Reason: "expired", Count: 1, First: fakeNow, Last: fakeNow, Node: "node1", Source: "10.1.2.4"},
}

// namespace answers what is asked of namespaces. Their roles and subjects are not checked.
func (a *fakeAPI) namespace(w http.ResponseWriter, r *http.Request, rest string) {
	path := strings.Trim(rest, "/") + "/"
	n, exists := a.namespaces[path]
	match := r.Header.Get("If-Match")
	failed := r.Header.Get("If-None-Match") == "*" && exists || match != "" && match != strconv.Quote(strconv.FormatUint(n.Revision, 10))
	switch {
	case r.URL.Query().Get("recursive") == "true":
		items := []client.Namespace{}
		for _, key := range slices.Sorted(maps.Keys(a.namespaces)) {
			if strings.HasPrefix("/"+key, "/"+rest) {
				items = append(items, a.namespaces[key])
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"revision": a.revision, "items": items})
	case failed:
		fakeProblem(412, "precondition-failed", "not_applied", false, fmt.Sprintf("namespace %q was last changed at revision %d", path, n.Revision))(w, r)
	case !exists && r.Method != http.MethodPut:
		fakeProblem(404, "not-found", "not_applied", false, fmt.Sprintf("there is no namespace %q: what those above it say applies", path))(w, r)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(n)
		if a.contended > 0 {
			a.contended--
			n.Owner = "somebody else"
			a.storeNamespace(r, path, n)
		}
	case r.Method == http.MethodDelete:
		delete(a.namespaces, path)
		a.commit(r)
		_ = json.NewEncoder(w).Encode(client.Written{Path: path, Revision: a.revision, Changed: true})
	default:
		var now client.Namespace
		text, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(text, &now)
		a.storeNamespace(r, path, now)
		_ = json.NewEncoder(w).Encode(client.Written{Path: path, Revision: a.revision, Created: !exists, Changed: true})
	}
}

func (a *fakeAPI) storeNamespace(r *http.Request, path string, n client.Namespace) {
	a.commit(r)
	n.Path, n.Revision, n.ModifiedAt, n.ModifiedBy = path, a.revision, fakeNow, "anonymous"
	a.namespaces[path] = n
}

// audit tells of the changes of keys, and of what was denied before all of them.
func (a *fakeAPI) audit(w http.ResponseWriter, r *http.Request) {
	rows := []client.AuditRow{}
	path := r.URL.Query().Get("path")
	for revision := a.revision; revision > 0; revision-- {
		row := client.AuditRow{
			Time: fakeNow, Outcome: "applied", Revision: revision, Principal: "anonymous", Comment: a.comments[revision], Source: "127.0.0.1",
		}
		for _, key := range different(path, a.past[revision-1], a.past[revision]) {
			ch := client.AuditChange{Path: key, Action: "delete", OldRevision: a.past[revision-1][key].Revision}
			if rec, ok := a.past[revision][key]; ok {
				ch.Action, ch.Revision = "put", rec.Revision
			}
			row.Changes = append(row.Changes, ch)
		}
		if len(row.Changes) > 0 {
			rows = append(rows, row)
		}
	}
	rows = append(rows, a.denied...)
	if r.Header.Get("Accept") == "application/x-ndjson" {
		for i := range rows {
			_ = json.NewEncoder(w).Encode(&rows[i])
		}
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"revision": a.revision, "oldest_revision": 1, "items": rows})
}
