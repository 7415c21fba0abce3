package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/confman/confman/client"
	"github.com/confman/confman/fsm"
)

func TestTxn(t *testing.T) {
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("Confman-Comment") + "\n" + string(body)
		answer(200, `{"revision":57,"succeeded":true,"changed":true,"results":[
			{"put":"a/b","revision":57,"created":true,"changed":true},{"delete":"a/c","changed":false},
			{"delete":"a/sub/","removed":3,"changed":true},{"get":"x/y","record":`+record+`},{"get":"none","record":null}]}`)(w, r)
	})
	res, meta, err := dial(t, s.URL).Txn(t.Context(), client.Txn{
		Compare: []client.Compare{client.IfExists("a/b"), client.IfAbsent("a/c"), client.IfRevision("a/d", 42), client.IfRevision("a/e", 0), client.IfValue("a/f", []byte("30"))},
		Then: []client.TxnOp{
			client.PutOp("a/b", []byte("30"), ""), client.PutOp("t", []byte("a\"b"), "text/plain"), client.PutOp("o", []byte{0xff}, "application/octet-stream"),
			client.PutOp("j", []byte("[1,\n2]"), "application/json"), client.PutOp("s", []byte(" 1"), ""),
			client.DeleteOp("a/c"), client.DeleteTreeOp("a/sub/"), client.GetOp("x/y"),
		},
		Else: []client.TxnOp{client.GetOp("x")},
	}, client.TxnOptions{Comment: "why"})
	require.NoError(t, err)
	assert.EqualValues(t, 57, meta.Revision)
	assert.Equal(t, `POST /api/v1/txn application/json why
{"compare":[{"path":"a/b","exists":true},{"path":"a/c","exists":false},{"path":"a/d","revision":42},{"path":"a/e","exists":false},`+
		`{"path":"a/f","value":"MzA=","encoding":"base64"}],`+
		`"then":[{"put":"a/b","value":30,"content_type":"application/json"},{"put":"t","value":"a\"b","content_type":"text/plain"},`+
		`{"put":"o","value":"/w==","encoding":"base64","content_type":"application/octet-stream"},`+
		`{"put":"j","value":"WzEsCjJd","encoding":"base64","content_type":"application/json"},`+
		`{"put":"s","value":"IDE=","encoding":"base64","content_type":"application/json"},`+
		`{"delete":"a/c"},{"delete":"a/sub/"},{"get":"x/y"}],"else":[{"get":"x"}]}`, got)
	require.Len(t, res.Results, 5)
	found := res.Results[3].Record
	require.NotNil(t, found)
	assert.Equal(t, "30", string(found.Value))
	res.Results[3].Record = nil
	assert.Equal(t, client.TxnResult{Revision: 57, Succeeded: true, Changed: true, Results: []client.TxnOpResult{
		{Op: "put", Path: "a/b", Revision: 57, Created: true, Changed: true},
		{Op: "delete", Path: "a/c"},
		{Op: "delete", Path: "a/sub/", Removed: 3, Changed: true},
		{Op: "get", Path: "x/y"},
		{Op: "get", Path: "none"},
	}}, res)
}

// TestTxnResultIsSpelledAsTheAPIDoes: what a node answered goes through unchanged.
func TestTxnResultIsSpelledAsTheAPIDoes(t *testing.T) {
	for _, text := range []string{
		`{"revision":57,"succeeded":true,"changed":true,"results":[{"put":"a<b","revision":57,"created":false,"changed":true},{"delete":"c","changed":true},{"delete":"s/","removed":3,"changed":true},{"get":"x","record":` + record + `},{"get":"y","record":null},{"get":"z","compacted":true}]}`,
		`{"revision":57,"succeeded":false,"changed":false,"failed_compare":0,"current_revision":7,"results":[]}`,
	} {
		var res client.TxnResult
		require.NoError(t, json.Unmarshal([]byte(text), &res))
		back, err := res.MarshalJSON()
		require.NoError(t, err)
		assert.Equal(t, text, string(back))
	}
}

func TestTxnIsCheckedBeforeAnythingIsSent(t *testing.T) {
	require.Equal(t, fsm.MaxTxnOps, client.MaxTxnOps)
	require.Equal(t, fsm.MaxTxnBytes, client.MaxTxnBytes)
	many := func(n int) (ops []client.TxnOp, compares []client.Compare) {
		for i := range n {
			ops = append(ops, client.GetOp(fmt.Sprint(i)))
			compares = append(compares, client.IfExists(fmt.Sprint(i)))
		}
		return ops, compares
	}
	most, mostCompares := many(client.MaxTxnOps)
	over, overCompares := many(client.MaxTxnOps + 1)
	mib := make([]byte, client.MaxValueBytes)
	put := func(key string, value []byte) client.TxnOp {
		return client.PutOp(key, value, "application/octet-stream")
	}
	s := serve(t, answer(200, `{}`))
	c := dial(t, s.URL)
	for _, tc := range []struct {
		name string
		txn  client.Txn
		want string
	}{
		{"compares", client.Txn{Compare: overCompares}, "the transaction has 513 compares, at most 512 are allowed"},
		{"operations", client.Txn{Then: over}, "then has 513 operations, at most 512 are allowed"},
		{"nothing", client.Txn{}, "the transaction has neither compares nor operations"},
		{"else for nothing", client.Txn{Then: most, Else: most}, "and no compare"},
		{"operations of else", client.Txn{Compare: mostCompares, Else: over}, "else has 513 operations, at most 512 are allowed"},
		{"a compare that is none", client.Txn{Compare: []client.Compare{{}}}, "compare 0 is empty"},
		{"an operation that is none", client.Txn{Then: []client.TxnOp{client.GetOp("a"), {}}}, "operation 1 of then is empty"},
		{"key of a compare", client.Txn{Compare: []client.Compare{client.IfExists("a//b")}}, `path "a//b" has an empty segment`},
		{"key of a put", client.Txn{Then: []client.TxnOp{client.PutOp("a/", nil, "text/plain")}}, `path "a/" starts or ends with a slash`},
		{"key of a get", client.Txn{Compare: mostCompares, Else: []client.TxnOp{client.GetOp("")}}, `path "" is empty`},
		{"prefix", client.Txn{Then: []client.TxnOp{client.DeleteTreeOp("../")}}, `path ".." has a segment`},
		{"key of a delete", client.Txn{Then: []client.TxnOp{client.DeleteOp("a/")}}, `path "a/" starts or ends with a slash`},
		{"a key twice", client.Txn{Then: []client.TxnOp{client.DeleteOp("a"), client.PutOp("a", []byte("1"), "")}}, `then has two operations on "a"`},
		{"not JSON", client.Txn{Then: []client.TxnOp{client.PutOp("a", []byte(`1,"x":2`), "")}}, `value of "a" is not JSON: line 1, column 2`},
		{"value", client.Txn{Then: []client.TxnOp{put("a", append(mib, 1))}}, "value of \"a\" has 1048577 bytes"},
		{"value of a compare", client.Txn{Compare: []client.Compare{client.IfValue("a", append(mib, 1))}}, "value of \"a\" has 1048577 bytes"},
		{"bytes", client.Txn{
			Compare: []client.Compare{client.IfAbsent("c")},
			Then:    []client.TxnOp{put("a", mib), put("b", mib)}, Else: []client.TxnOp{put("a", mib), put("b", mib)},
		}, "the transaction has more than 4194304 bytes"},
		{"bytes of the document", client.Txn{Then: []client.TxnOp{
			client.PutOp("a", []byte(strings.Repeat("\x01", client.MaxValueBytes)), "text/plain"),
		}}, "the transaction has more than 4194304 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := c.Txn(t.Context(), tc.txn, client.TxnOptions{})
			require.ErrorContains(t, err, tc.want)
			assert.Empty(t, client.OutcomeOf(err))
		})
	}
	require.Zero(t, s.requests.Load())
	_, _, err := c.Txn(t.Context(), client.Txn{Compare: mostCompares, Then: most, Else: most}, client.TxnOptions{})
	require.NoError(t, err)
}

// TestTxnOnEverything: the root is a subtree like others, however it is named.
func TestTxnOnEverything(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.Equal(t, `POST {"then":[{"delete":"/"}]}`, r.Method+" "+string(body))
		answer(200, `{}`)(w, r)
	})
	for _, prefix := range []string{"", "/"} {
		_, _, err := dial(t, s.URL).Txn(t.Context(), client.Txn{Then: []client.TxnOp{client.DeleteTreeOp(prefix)}}, client.TxnOptions{})
		require.NoError(t, err)
	}
}

// TestTxnBringsWhatItGets: an answer is as long as what was asked for may be.
func TestTxnBringsWhatItGets(t *testing.T) {
	value := strings.Repeat("x", client.MaxValueBytes)
	var ops []client.TxnOp
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"results":[`)
		for i := range ops {
			if i > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, `{"get":"%d","record":{"path":"%d","value":%q}}`, i, i, value)
		}
		_, _ = io.WriteString(w, `]}`)
	})
	for i := range client.MaxAnswerBytes/client.MaxValueBytes + 1 {
		ops = append(ops, client.GetOp(fmt.Sprint(i)))
	}
	res, _, err := dial(t, s.URL).Txn(t.Context(), client.Txn{Then: ops}, client.TxnOptions{})
	require.NoError(t, err)
	assert.Len(t, res.Results, len(ops))
}

func TestParseTxn(t *testing.T) {
	const text = `
{
  "compare": [{"path": "a/b", "exists": true}, {"exists": false, "path": "é"}, {"path": "c", "revision": 42},
              {"path": "d", "value": [1,  2]}, {"path": "e", "value": "MzA=", "encoding": "base64"}],
  "then": [{"put": "a", "value": {"x": 1.0}}, {"put": "t", "value": "x\ny", "content_type": "text/plain"},
           {"put": "o", "value": "/w==", "encoding": "base64"},
           {"put": "j", "value": "MQ==", "encoding": "base64", "content_type": "application/json"},
           {"delete": "c"}, {"delete": "sub/"}, {"get": "d"}],
  "else": [{"get": "a"}]
}`
	got, err := client.ParseTxn(text)
	require.NoError(t, err)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.Equal(t, `POST {"compare":[{"path":"a/b","exists":true},{"path":"é","exists":false},{"path":"c","revision":42},`+
			`{"path":"d","value":"WzEsICAyXQ==","encoding":"base64"},{"path":"e","value":"MzA=","encoding":"base64"}],`+
			`"then":[{"put":"a","value":{"x": 1.0},"content_type":"application/json"},{"put":"t","value":"x\u000ay","content_type":"text/plain"},`+
			`{"put":"o","value":"/w==","encoding":"base64"},{"put":"j","value":1,"content_type":"application/json"},`+
			`{"delete":"c"},{"delete":"sub/"},{"get":"d"}],"else":[{"get":"a"}]}`, r.Method+" "+string(body))
		answer(200, `{}`)(w, r)
	})
	_, _, err = dial(t, s.URL).Txn(t.Context(), got, client.TxnOptions{})
	require.NoError(t, err)
}

func TestParseTxnRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", ``, `line 1, column 1: text ends, want an object with compare, then and else`},
		{"a list", `[]`, `line 1, column 1: '[' is not expected, want an object with compare, then and else`},
		{"unknown member", "{\n \"than\": []}", `line 2, column 2: member "than" is not known here; known are compare, then, else`},
		{"member twice", `{"then":[],"then":[]}`, `line 1, column 12: member "then" is there twice`},
		{"no list", `{"then":{}}`, `line 1, column 9: '{' is not expected, want a list: then`},
		{"no object", `{"then":["a"]}`, `line 1, column 10: '"' is not expected, want an object`},
		{"two documents", `{}{}`, `line 1, column 3: '{' is not expected, want the end`},
		{"unknown member of a compare", `{"compare":[{"path":"a","exist":true}]}`, `line 1, column 25: member "exist" is not known here; known are path, exists, revision, value, encoding`},
		{"compare of nothing", `{"compare":[{"exists":true}]}`, `line 1, column 13: compare has no path`},
		{"compare with nothing", `{"compare":[{"path":"a"}]}`, `line 1, column 13: compare of "a" wants one of exists, revision and value`},
		{"compare with two", `{"compare":[{"path":"a","revision":1,"value":1}]}`, `line 1, column 13: compare of "a" wants one of exists, revision and value`},
		{"path is no string", `{"compare":[{"path":1,"exists":true}]}`, `line 1, column 21: path must be a string`},
		{"existence", `{"compare":[{"path":"a","exists":1}]}`, `line 1, column 34: exists must be true or false`},
		{"revision", `{"compare":[{"path":"a","revision":-1}]}`, `line 1, column 36: revision must be a whole number`},
		{"encoding of nothing", `{"compare":[{"path":"a","revision":1,"encoding":"base64"}]}`, `line 1, column 38: encoding is of a value`},
		{"encoding", `{"compare":[{"path":"a","value":"a","encoding":"hex"}]}`, `line 1, column 48: encoding must be "base64"`},
		{"not base64", `{"then":[{"put":"a","value":"!","encoding":"base64"}]}`, `line 1, column 29: value is not base64: illegal base64 data at input byte 0`},
		{"no operation", `{"then":[{}]}`, `line 1, column 10: operation wants one of put, delete and get`},
		{"two operations", `{"then":[{"put":"a","get":"a"}]}`, `line 1, column 10: operation wants one of put, delete and get`},
		{"no value", `{"then":[{"put":"a"}]}`, `line 1, column 10: put of "a" has no value`},
		{"text is no string", `{"then":[{"put":"a","value":1,"content_type":"text/plain"}]}`, `line 1, column 29: value must be a string`},
		{"value of a delete", `{"else":[{"delete":"a","value":1}]}`, `line 1, column 24: member "value" is not known here; known are delete`},
		{"syntax", `{"then":[{"put":"a" "value":1}]}`, `line 1, column 21: '"' is not expected, want a comma or '}'`},
		{"half a surrogate pair", `{"then":[{"get":"a\ud800"}]}`, `line 1, column 19: string holds half a surrogate pair`},
		{"not UTF-8", "{\"then\":[{\"get\":\"\xff\"}]}", `line 1, column 18: byte 0xff is not UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := client.ParseTxn(c.text)
			var syntax *client.SyntaxError
			require.ErrorAs(t, err, &syntax)
			assert.Equal(t, c.want, err.Error())
		})
	}
}

// FuzzParseTxn: no text makes it panic, and what it takes has operations that can be named.
func FuzzParseTxn(f *testing.F) {
	for _, s := range []string{
		`{"compare":[{"path":"a","value":1}],"then":[{"put":"a","value":"eA==","encoding":"base64"}]}`,
		`{"then":[{"delete":"a/"},{"get":"\u00e9"}],"else":[{"put":"a","value":"\ud800","content_type":"text/plain"}]}`, `{`, "\ufeff{}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := client.ParseTxn(text); err == nil {
			require.True(t, json.Valid([]byte(strings.TrimPrefix(text, "\ufeff"))))
		}
	})
}

// TestTxnValuesKeepTheirBytes: whatever the value and its type, the document holds it.
func TestTxnValuesKeepTheirBytes(t *testing.T) {
	var got []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		answer(200, `{}`)(w, r)
	})
	c := dial(t, s.URL)
	rapid.Check(t, func(rt *rapid.T) {
		contentType := rapid.SampledFrom([]string{"", "application/json", "text/plain", "application/octet-stream", "application/x+json"}).Draw(rt, "type")
		value := []byte(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"1", " 1", "[1,\n2]", `"<>"`, "\xff"})).Draw(rt, "value"))
		if (client.IsJSONType(contentType) || contentType == "") && !json.Valid(value) {
			return
		}
		_, _, err := c.Txn(t.Context(), client.Txn{
			Compare: []client.Compare{client.IfValue("a", value)}, Then: []client.TxnOp{client.PutOp("a", value, contentType)},
		}, client.TxnOptions{})
		require.NoError(rt, err)
		var doc struct {
			Compare []struct{ Value []byte }
			Then    []json.RawMessage
		}
		require.NoError(rt, json.Unmarshal(got, &doc), "%s", got)
		require.Equal(rt, string(value), string(doc.Compare[0].Value))
		var rec client.Record
		require.NoError(rt, json.Unmarshal(doc.Then[0], &rec))
		require.Equal(rt, string(value), string(rec.Value))
	})
}

func TestRollback(t *testing.T) {
	var got []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type")+" "+string(body)+" "+r.Header.Get("Confman-Comment"))
		assert.Equal(t, r.URL.RawQuery != "", r.Header.Get("Idempotency-Key") == "")
		answer(200, `{"path":"teams/","to_revision":41,"revision":58,"restored":3,"removed":1,"changed":true,"transactions":1}`)(w, r)
	})
	c := dial(t, s.URL)
	done, _, err := c.Rollback(t.Context(), "teams/", 41, client.RollbackOptions{Comment: "bad rollout"})
	require.NoError(t, err)
	assert.Equal(t, client.RolledBack{Path: "teams/", ToRevision: 41, Revision: 58, Restored: 3, Removed: 1, Changed: true, Transactions: 1}, done)
	_, _, err = c.Rollback(t.Context(), "a b", 0, client.RollbackOptions{})
	require.NoError(t, err)
	_, _, err = c.Rollback(t.Context(), "/", 41, client.RollbackOptions{Chunked: true})
	require.NoError(t, err)
	assert.Equal(t, []string{
		`POST /api/v1/rollback/teams/ application/json {"to_revision":41} bad rollout`,
		`POST /api/v1/rollback/a%20b application/json {"to_revision":0} `,
		`POST /api/v1/rollback/?chunked=true application/json {"to_revision":41} `,
	}, got)
	var (
		key   *client.KeyError
		wrong *client.RequestError
	)
	_, _, err = c.Rollback(t.Context(), "a//b", 1, client.RollbackOptions{})
	require.ErrorAs(t, err, &key)
	_, _, err = c.Rollback(t.Context(), "a/", 1, client.RollbackOptions{Chunked: true, IdempotencyKey: "k"})
	require.ErrorAs(t, err, &wrong)
}

func TestVerifyHistory(t *testing.T) {
	s := serve(t, sequence(
		answer(200, `{"verified":true,"from_revision":3,"revision":57,"changes":54,"chain":"ab"}`),
		answer(200, `{"verified":false,"from_revision":3,"revision":57,"first_bad_revision":31,"reason":"checksum"}`),
	))
	c := dial(t, s.URL)
	v, meta, err := c.VerifyHistory(t.Context())
	require.NoError(t, err)
	assert.Equal(t, client.Verification{Verified: true, FromRevision: 3, Revision: 57, Changes: 54, Chain: "ab"}, v)
	assert.Equal(t, "node2", meta.Node)
	v, _, err = c.VerifyHistory(t.Context())
	require.NoError(t, err)
	assert.Equal(t, client.Verification{FromRevision: 3, Revision: 57, FirstBadRevision: 31, Reason: "checksum"}, v)
}

func TestReadsOfATime(t *testing.T) {
	at := time.Date(2026, 1, 23, 11, 0, 0, 999, time.FixedZone("", 3600))
	var asked []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI()+" "+r.Header.Get("Accept-Datetime"))
		w.Header().Set("Memento-Datetime", "Fri, 23 Jan 2026 09:58:00 GMT")
		body := record
		switch {
		case r.URL.RawQuery == "limit=1":
			body = `{"items":[{"path":"a"}],"next_cursor":"c"}`
		case r.URL.RawQuery != "":
			body = `{"items":[]}`
		}
		answer(200, body)(w, r)
	})
	c := dial(t, s.URL)
	o := client.ReadOptions{At: at}
	_, meta, err := c.Get(t.Context(), "a", o)
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 1, 23, 9, 58, 0, 0, time.UTC), meta.AsOf)
	for _, err := range c.List(t.Context(), "a", client.ListOptions{ReadOptions: o, PageSize: 1}) {
		require.NoError(t, err)
	}
	src, _, err := c.ExportTree(t.Context(), "a", o)
	require.NoError(t, err)
	require.NoError(t, src.Close())
	const then = " Fri, 23 Jan 2026 10:00:00 GMT"
	assert.Equal(t, []string{
		"/api/v1/config/a" + then, "/api/v1/config/a/?limit=1" + then, "/api/v1/config/a/?cursor=c&limit=1" + then, "/api/v1/export/a/?format=tree" + then,
	}, asked)

	var wrong *client.RequestError
	o.Revision = 3
	_, _, err = c.Get(t.Context(), "a", o)
	require.ErrorAs(t, err, &wrong)
	_, _, err = c.ExportTree(t.Context(), "a", o)
	require.ErrorAs(t, err, &wrong)
	for _, err := range c.List(t.Context(), "a", client.ListOptions{ReadOptions: o}) {
		require.ErrorAs(t, err, &wrong)
	}
	for _, err := range c.History(t.Context(), "a", client.HistoryOptions{ReadOptions: client.ReadOptions{At: at}}) {
		require.ErrorAs(t, err, &wrong)
	}
	for _, err := range c.Diff(t.Context(), "a", client.DiffOptions{ReadOptions: client.ReadOptions{At: at}}) {
		require.ErrorAs(t, err, &wrong)
	}
}

// What a restore lost is no conflict: nothing is to be read again and written once more.
func TestIsRevisionLost(t *testing.T) {
	err := &client.Error{Err: &client.Problem{Type: "urn:confman:problem:revision-lost", Status: 409}}
	assert.True(t, client.IsRevisionLost(err))
	assert.False(t, client.IsConflict(err))
	assert.False(t, client.IsRevisionLost(io.EOF))
	other := &client.Error{Err: &client.Problem{Type: "urn:confman:problem:self-denied", Status: 409}}
	assert.False(t, client.IsRevisionLost(other))
	assert.True(t, client.IsConflict(other))
}

func TestIsCompacted(t *testing.T) {
	s := serve(t, problem(410, "compacted", `,"retryable":false,"oldest_revision":31`))
	_, _, err := dial(t, s.URL).Get(t.Context(), "a", client.ReadOptions{Revision: 7})
	oldest, ok := client.IsCompacted(err)
	assert.True(t, ok)
	assert.EqualValues(t, 31, oldest)
	assert.False(t, client.IsUnavailable(err))
	_, ok = client.IsCompacted(io.EOF)
	assert.False(t, ok)
}

// TestASequenceOfPagesBeginsAnew: who ranges over a listing twice sees it twice.
func TestASequenceOfPagesBeginsAnew(t *testing.T) {
	var asked []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		body := `{"items":[],"next_cursor":"c"}`
		if r.URL.Query().Has("cursor") {
			body = `{"items":[]}`
		}
		answer(200, body)(w, r)
	})
	events := dial(t, s.URL).History(t.Context(), "a", client.HistoryOptions{})
	for range 2 {
		for _, err := range events {
			require.NoError(t, err)
		}
	}
	assert.Equal(t, []string{"", "cursor=c", "", "cursor=c"}, asked)
}
