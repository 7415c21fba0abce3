package client_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/client"
)

func (a *exampleAPI) namespace(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("path")
	if r.URL.Query().Get("recursive") == "true" {
		var items []client.Namespace
		for _, key := range slices.Sorted(maps.Keys(a.namespaces)) {
			if strings.HasPrefix(key, path) {
				items = append(items, a.namespaces[key])
			}
		}
		a.answer(w, 200, map[string]any{"revision": a.revision(), "items": items})
		return
	}
	n, ok := a.namespaces[path]
	if !ok {
		a.refuse(w, 404, "not-found", "there is no namespace")
		return
	}
	a.answer(w, 200, n)
}

func (a *exampleAPI) putNamespace(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("path")
	was, exists := a.namespaces[path]
	match := r.Header.Get("If-Match")
	if exists && r.Header.Get("If-None-Match") == "*" || match != "" && match != strconv.Quote(strconv.FormatUint(was.Revision, 10)) {
		a.refuse(w, 412, "precondition-failed", "the namespace is not as the condition demands", "current_revision", was.Revision)
		return
	}
	var n client.Namespace
	_ = json.NewDecoder(r.Body).Decode(&n)
	a.commit(a.begin(), r)
	n.Path, n.Revision, n.ModifiedBy = path, uint64(a.revision()), "anonymous"
	a.namespaces[path] = n
	a.answer(w, 200, client.Written{Path: path, Revision: n.Revision, Created: !exists, Changed: true})
}

// audit knows changes of keys, and somebody who was refused.
func (a *exampleAPI) audit(w http.ResponseWriter, r *http.Request) {
	rows := []client.AuditRow{{
		Outcome: "denied", Action: "denied-read", Principal: "user:entra/contoso/eve", Verbs: []string{"read"}, Path: "teams/payments/", Reason: "forbidden", Count: 12,
	}}
	for revision := a.revision(); revision > 0; revision-- {
		row := client.AuditRow{Outcome: "applied", Revision: uint64(revision), Principal: "anonymous", Comment: a.comments[revision]}
		for _, path := range differing(r.URL.Query().Get("path"), a.states[revision-1], a.states[revision]) {
			row.Changes = append(row.Changes, client.AuditChange{
				Path: path, Action: "put", OldRevision: a.states[revision-1][path].Revision, Revision: uint64(revision),
			})
		}
		rows = append(rows, row)
	}
	a.answer(w, 200, map[string]any{"revision": a.revision(), "items": rows})
}

func (a *exampleAPI) whoAmI(w http.ResponseWriter, _ *http.Request) {
	a.answer(w, 200, client.WhoAmI{
		Principal: "user:entra/contoso/bob", Kind: "user", AuthorizationRequired: true,
		Roles: []string{}, Groups: []string{"group:entra/contoso/0b5c8b3e-58a4-4a0f-8d5e-0f6a5d0d9b1c"},
		Grants: []client.Grant{{Path: "teams/payments/", Verbs: []string{"read", "write"}}},
	})
}
