package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

const audit = "/api/v1/audit"

// denials are what node2 refused, as it reports it.
func denials(f *fixture) {
	at := f.now.UnixNano()
	_, err := f.node.Propose(f.tb.Context(), &fsm.Command{AcceptedAt: at, Denials: []fsm.Denial{
		{
			Kind: fsm.DeniedRead, Principal: "user:entra/t/eve", Verbs: fsm.VerbRead, Path: "teams/payments/", Reason: "forbidden",
			RequestID: "r-1", Source: netip.MustParseAddr("10.1.2.3"), Count: 5, First: at - int64(time.Minute), Last: at,
		},
		{Kind: fsm.DeniedAccess, Reason: "expired", Source: netip.MustParseAddr("10.1.2.4"), Count: 1, First: at, Last: at},
	}})
	require.NoError(f.tb, err)
}

// shortRows shows rows as revision, outcome and what they are about.
func shortRows(items []map[string]any) (out []string) {
	for _, it := range items {
		s := fmt.Sprint(it["revision"], " ", it["outcome"])
		if changes, ok := it["changes"].([]any); ok {
			for _, c := range changes {
				ch, _ := c.(map[string]any)
				s += fmt.Sprint(" ", ch["action"], " ", ch["path"], " ", ch["old_revision"], ">", ch["revision"])
			}
		} else {
			s += fmt.Sprint(" ", it["action"], " ", it["path"], " ", it["count"])
		}
		out = append(out, s)
	}
	return out
}

// audited is a store in which something happened each minute.
func audited(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	minute := func() { f.now = f.now.Add(time.Minute) }
	f.ok("PUT", config+"/teams/a", `"hunter2"`) // at 10:00
	minute()
	f.ok("POST", "/api/v1/txn", `{"then":[{"put":"teams/b","value":"hunter2"},{"put":"z","value":1},{"delete":"teams/a"}]}`)
	minute()
	f.ok("PUT", namespaces+"/teams", bobEdits)
	minute()
	denials(f) // of 10:02 to 10:03
	minute()
	f.ok("DELETE", namespaces+"/teams", "")
	minute()
	f.ok("PUT", config+"/z", `2`) // at 10:05
	return f
}

func TestAudit(t *testing.T) {
	f := audited(t)
	all := []string{
		"5 applied put z 2>5",
		"4 applied namespace-delete teams/ 3>0",
		"3 denied denied-access <nil> 1",
		"3 denied denied-read teams/payments/ 5",
		"3 applied namespace-put teams/ 0>3",
		"2 applied put teams/b 0>2 put z 0>2 delete teams/a 1>0",
		"1 applied put teams/a 0>1",
	}
	for query, want := range map[string][]string{
		"limit=100":                         all,
		"path=/":                            all,
		"outcome=applied":                   {all[0], all[1], all[4], all[5], all[6]},
		"outcome=denied":                    {all[2], all[3]},
		"path=teams/":                       {all[1], all[3], all[4], "2 applied put teams/b 0>2 delete teams/a 1>0", all[6]},
		"path=teams/payments/":              {all[3]},
		"path=z":                            {all[0], "2 applied put z 0>2"},
		"path=teams":                        nil,
		"action=put":                        {all[0], "2 applied put teams/b 0>2 put z 0>2", all[6]},
		"action=delete":                     {"2 applied delete teams/a 1>0"},
		"action=namespace-put":              {all[4]},
		"action=denied-read":                {all[3]},
		"action=denied-write":               nil,
		"action=put&outcome=denied":         nil,
		"principal=anonymous&path=z":        {all[0], "2 applied put z 0>2"},
		"principal=user:entra/t/eve":        {all[3]},
		"principal=user:entra/t/bob":        nil,
		"since=2026-01-23T10:04:00Z":        all[:2],
		"since=2026-01-23T10:04:00.001Z":    all[:1],
		"until=2026-01-23T10:02:00Z":        {all[3], all[4], all[5], all[6]},
		"until=2026-01-23T10:01:59Z":        all[5:],
		"until=2020-01-01T00:00:00Z":        nil,
		"since=0001-01-01T00:00:00Z":        all,
		"until=9999-01-01T00:00:00%2B02:00": all,
		"since=2026-01-23T10:02:00Z&until=2026-01-23T10:03:00Z": all[2:5],
	} {
		items, _ := f.pages(audit + "?" + query)
		assert.Equal(t, want, shortRows(items), query)
		assert.Equal(t, want, shortRows(f.auditLines(audit+"?"+strings.TrimPrefix(query, "limit=100"))), query)
	}
	for limit := 1; limit <= len(all); limit++ {
		items, pages := f.pages(fmt.Sprintf("%s?limit=%d", audit, limit))
		assert.Equal(t, all, shortRows(items))
		assert.Equal(t, (len(all)+limit-1)/limit, pages)
	}
}

// auditLines is the audit as lines.
func (f *fixture) auditLines(target string) (rows []map[string]any) {
	f.tb.Helper()
	w := f.ok("GET", target, "", "Accept: application/x-ndjson")
	for line := range strings.Lines(w.Body.String()) {
		var row map[string]any
		require.NoError(f.tb, json.Unmarshal([]byte(line), &row))
		rows = append(rows, row)
	}
	return rows
}

// TestAuditHasNoSecrets: neither values, nor what a request was authenticated by, are in it.
func TestAuditHasNoSecrets(t *testing.T) {
	f := audited(t)
	f.ok("PATCH", config+"/teams/b", `"hunter2!"`, asMerge, "Authorization: Bearer hunter2", "Cookie: hunter2", "Idempotency-Key: hunter2")
	for _, accept := range []string{typeJSON, typeRecords} {
		w := f.ok("GET", audit, "", "Accept: "+accept)
		assert.NotContains(t, w.Body.String(), "hunter2")
		assert.Contains(t, w.Body.String(), "teams/b")
	}
}

// TestAuditWalkGoesOn: what happens between two pages moves none of the rest, and another node waits
// for what the first showed.
func TestAuditWalkGoesOn(t *testing.T) {
	f := audited(t)
	first := decoded(t, f.ok("GET", audit+"?limit=2", ""))
	next, _ := first["next_cursor"].(string)
	f.node.put("later", "1")
	denials(f)
	waited := fsm.Revision(0)
	f.node.arrives = func(rev fsm.Revision) { waited = rev }
	items, _ := f.pages(audit + "?limit=100&cursor=" + next)
	assert.Equal(t, fsm.Revision(5), waited)
	require.Len(t, items, 5)
	assert.Equal(t, "denied-access", items[0]["action"])
	for _, query := range []string{"?path=teams/&cursor=", "?outcome=denied&cursor=", "?since=2026-01-23T10:00:00Z&cursor="} {
		assert.Equal(t, "urn:confman:problem:invalid-cursor", decoded(t, f.do("GET", audit+query+next, ""))["type"])
	}
}

// TestAuditOfANodeBehind: rows that a page before has shown, and this node has not, are waited for.
func TestAuditOfANodeBehind(t *testing.T) {
	f := audited(t)
	ahead := cursor{revision: 5, last: auditPlace(fsm.AuditPosition{Change: 4, Row: 3})}.encode((&auditFilter{target: target{subtree: true}}).scope())
	f.node.linearize = func() { denials(f) } // two more rows
	w := f.ok("GET", audit+"?cursor="+ahead, "")
	assert.Len(t, decoded(t, w)["items"], 7, "row 3, change 4 and all before")
	assert.Equal(t, 1, f.node.linearized)
	f.node.linearize = nil
	f = audited(t)
	assert.Equal(t, 400, f.do("GET", audit+"?cursor="+ahead, "").Code)
	assert.Equal(t, 200, f.do("GET", audit+"?consistency=local&cursor="+ahead, "").Code, "what is here")
}

// TestAuditOfACompactedPast: it begins where the history does, and says so; what was denied stays.
func TestAuditOfACompactedPast(t *testing.T) {
	f := audited(t)
	f.node.maintain(fsm.Maintenance{Elapsed: time.Hour, KeepFor: time.Minute})
	f.ok("PUT", config+"/z", `3`)
	w := decoded(t, f.ok("GET", audit, ""))
	oldest, err := w["oldest_revision"].(json.Number).Int64()
	require.NoError(t, err)
	assert.Greater(t, oldest, int64(1))
	items, _ := f.pages(audit + "?limit=1")
	assert.Len(t, items, 3+int(6-oldest))
	for _, query := range []string{"since=2026-01-23T10:00:00Z", "until=2026-01-23T10:04:00Z"} {
		f.ok("GET", audit+"?"+query, "")
	}
}

// TestAuditScan: a page ends after so many entries, whether they match or not.
func TestAuditScan(t *testing.T) {
	f := newFixture(t)
	f.node.put("wanted", "0")
	var ents []fsm.Entry
	for i := range MaxAuditScan {
		data, err := (&fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "other", Value: fmt.Append(nil, i), ContentType: typeJSON}}}).Encode()
		require.NoError(t, err)
		fsm.SetOrigin(data, fsm.Origin{Node: 1, Incarnation: 1, Seq: uint64(i + 2)})
		ents = append(ents, fsm.Entry{Index: fsm.Index(i + 2), Term: 3, Data: data})
	}
	for len(ents) > 0 {
		res, err := f.node.store.Apply(ents)
		require.NoError(t, err)
		ents = ents[len(res):]
	}
	items, pages := f.pages(audit + "?path=wanted")
	assert.Equal(t, []string{"1 applied put wanted 0>1"}, shortRows(items))
	assert.Equal(t, 2, pages)
	assert.Len(t, f.auditLines(audit+"?path=wanted"), 1)
}

// TestAuditExportIsBounded as all exports are, and tells damage.
func TestAuditExportIsBounded(t *testing.T) {
	f := audited(t)
	require.True(t, f.exports.TryAcquire(MaxExports))
	assert.Equal(t, "urn:confman:problem:overloaded", decoded(t, f.do("GET", audit, "", "Accept: application/x-ndjson"))["type"])
	f.ok("GET", audit, "")
	f.exports.Release(MaxExports)
	later := f.now
	f.Now = func() time.Time { later = later.Add(MaxExportTime); return later }
	said := decoded(t, f.do("GET", audit, "", "Accept: application/x-ndjson"))
	assert.Contains(t, said["detail"], "narrow it down")
}

// TestWhoAmI: nobody is told from others here.
func TestWhoAmI(t *testing.T) {
	f := newFixture(t)
	w := f.ok("GET", "/api/v1/whoami", "")
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	assert.JSONEq(t, `{"principal":"anonymous","kind":"anonymous","roles":[],"groups":[],"denied":false,"authorization_required":false,
		"grants":[{"path":"/","verbs":["read","write","rollback","delete-tree","retention","bind","cluster","audit"]}]}`, w.Body.String())
	f.node.bootstrap()
	w = f.ok("GET", "/api/v1/whoami", "")
	assert.JSONEq(t, `{"principal":"anonymous","kind":"anonymous","roles":[],"groups":[],"denied":false,"authorization_required":true,"grants":[]}`, w.Body.String())
}

// TestNeeds: what each route asks of its caller.
func TestNeeds(t *testing.T) {
	f := audited(t)
	for request, want := range map[string]fsm.Need{
		"GET /namespaces/a":                {Verbs: fsm.VerbRead, Path: "a/"},
		"GET /namespaces/a?recursive=true": {Verbs: fsm.VerbRead, Path: "a/"},
		"GET /namespaces":                  {Verbs: fsm.VerbRead},
		"PUT /namespaces/a":                {Verbs: asProposed, Path: "a/"},
		"DELETE /namespaces/a/":            {Verbs: asProposed, Path: "a/"},
		"GET /audit":                       {Verbs: fsm.VerbAudit},
		"GET /audit?path=a/":               {Verbs: fsm.VerbAudit, Path: "a/"},
		"GET /audit?path=a":                {Verbs: fsm.VerbAudit, Path: "a"},
		"GET /whoami":                      {},
	} {
		method, path, _ := strings.Cut(request, " ")
		u, err := url.Parse("/api/v1" + path)
		require.NoError(t, err)
		_, params, _ := f.router.Lookup(method, u.Path)
		var h handler
		switch route, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/api/v1/"), "/"); {
		case route == "namespaces" && method == http.MethodGet:
			h = (*call).getNamespace
		case method == http.MethodPut:
			h = (*call).putNamespace
		case method == http.MethodDelete:
			h = (*call).deleteNamespace
		case route == "audit":
			h = (*call).audit
		default:
			h = (*call).whoAmI
		}
		c := &call{api: f.api, w: httptest.NewRecorder(), r: httptest.NewRequest(method, u.String(), nil)}
		if len(params) > 0 {
			c.param = params[0].Value
		}
		_ = h(c)
		assert.Equal(t, []fsm.Need{want}, c.needs, request)
	}
}
