package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

const txnPath = "/api/v1/txn"

// seeded is a fixture with a few keys, the newest revision being 4.
func seeded(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.ok("PUT", config+"/a/b", "30")
	f.ok("PUT", config+"/a/c", "hello", "Content-Type: text/plain")
	f.ok("PUT", config+"/a/sub/x", "1")
	f.ok("PUT", config+"/a/sub/y", "2")
	return f
}

const recordOfAB = `{"path":"a/b","value":30,"content_type":"application/json","revision":1,"create_revision":1,"version":1,
	"modified_at":"2026-01-23T10:00:00Z","modified_by":"anonymous"}`

func TestTxn(t *testing.T) {
	cases := []struct{ name, body, want string }{
		{
			"all that there is", `{"compare":[{"path":"a/b","exists":true},{"path":"no","exists":false},{"path":"a/c","revision":2},{"path":"a/b","value":30}],
			"then":[{"put":"a/new","value":{"x": 1}},{"put":"a/b","value":31},{"delete":"a/c"},{"delete":"a/sub/"},{"get":"x/y"}],"else":[{"delete":"a/b"}]}`,
			`{"revision":5,"succeeded":true,"changed":true,"results":[{"put":"a/new","revision":5,"created":true,"changed":true},
			{"put":"a/b","revision":5,"created":false,"changed":true},{"delete":"a/c","changed":true},{"delete":"a/sub/","removed":2,"changed":true},{"get":"x/y","record":null}]}`,
		},
		{
			"what is there already", `{"then":[{"put":"a/b","value":30},{"delete":"no"},{"delete":"no/"}]}`,
			`{"revision":4,"succeeded":true,"changed":false,"results":[{"put":"a/b","revision":1,"created":false,"changed":false},
			{"delete":"no","changed":false},{"delete":"no/","removed":0,"changed":false}]}`,
		},
		{"reads alone", `{"then":[{"get":"a/b"},{"get":"a/no"}]}`, `{"revision":4,"succeeded":true,"changed":false,"results":[{"get":"a/b","record":` + recordOfAB + `},{"get":"a/no","record":null}]}`},
		{
			"a compare that fails", `{"compare":[{"path":"a/b","revision":1},{"path":"a/c","revision":7}],"then":[{"delete":"a/b"}]}`,
			`{"revision":4,"succeeded":false,"changed":false,"failed_compare":1,"current_revision":2,"results":[]}`,
		},
		{
			"a compare of an absent key that fails", `{"compare":[{"path":"no","value":null}]}`,
			`{"revision":4,"succeeded":false,"changed":false,"failed_compare":0,"current_revision":0,"results":[]}`,
		},
		{
			"else", `{"compare":[{"path":"a/b","exists":false}],"then":[{"put":"a/b","value":1}],"else":[{"get":"a/b"},{"put":"lost","value":true}]}`,
			`{"revision":5,"succeeded":false,"changed":true,"failed_compare":0,"current_revision":1,
			"results":[{"get":"a/b","record":` + recordOfAB + `},{"put":"lost","revision":5,"created":true,"changed":true}]}`,
		},
		{
			"else that only reads", `{"compare":[{"path":"a/b","value":"30"}],"else":[{"get":"a/b"}]}`,
			`{"revision":4,"succeeded":false,"changed":false,"failed_compare":0,"current_revision":1,"results":[{"get":"a/b","record":` + recordOfAB + `}]}`,
		},
		{"a compare alone", `{"compare":[{"path":"a/c","value":"aGVsbG8=","encoding":"base64"}]}`, `{"revision":4,"succeeded":true,"changed":false,"results":[]}`},
		{"everything", `{"then":[{"delete":"/"}]}`, `{"revision":5,"succeeded":true,"changed":true,"results":[{"delete":"/","removed":4,"changed":true}]}`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f := seeded(t)
			w := f.ok("POST", txnPath, tc.body, "Confman-Comment: why")
			assert.JSONEq(t, tc.want, w.Body.String())
			assert.Equal(t, fmt.Sprint(decoded(t, w)["revision"]), w.Header().Get("Confman-Revision"))
			assert.Equal(t, "why", f.node.commands[len(f.node.commands)-1].Comment)
		})
	}
}

// A value is stored as a PUT of it would store it, byte for byte.
func TestTxnValues(t *testing.T) {
	cases := []struct{ name, members, value, contentType string }{
		{"a number", `"value":1.0`, "1.0", typeJSON},
		{"an object", `"value":{ "a" : "\u00e4" }`, `{ "a" : "\u00e4" }`, typeJSON},
		{"a text in JSON", `"value":"x"`, `"x"`, typeJSON},
		{"null", `"value":null`, "null", typeJSON},
		{"a JSON type", `"value":[],"content_type":"application/x+json"`, "[]", "application/x+json"},
		{"a text", `"content_type":"text/plain","value":"\u00e4\n"`, "ä\n", "text/plain"},
		{"bytes", `"value":"/w==","encoding":"base64"`, "\xff", typeOctets},
		{"bytes of a type", `"value":"/w==","encoding":"base64","content_type":"image/png"`, "\xff", "image/png"},
		{"JSON in base64", `"value":"MQ==","encoding":"base64","content_type":"application/json"`, "1", typeJSON},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			f.ok("POST", txnPath, `{"then":[{"put":"k",`+tc.members+`}]}`)
			w := f.ok("GET", config+"/k", "", "Accept: application/octet-stream")
			assert.Equal(t, tc.value, w.Body.String())
			assert.Equal(t, tc.contentType, w.Header().Get("Confman-Content-Type"))
		})
	}
}

// TestTxnGetsSeeItsOwnRevision: what others write before the answer is made is not in it.
func TestTxnGetsSeeItsOwnRevision(t *testing.T) {
	f := seeded(t)
	f.node.arrives = func(fsm.Revision) { f.node.arrives = nil; f.node.put("a/b", "99") }
	w := f.ok("POST", txnPath, `{"then":[{"put":"z","value":1},{"get":"a/b"}]}`)
	assert.Contains(t, w.Body.String(), `"value":30,`)
	assert.Equal(t, "5", w.Header().Get("Confman-Revision"))
}

// TestTxnOfLargeGets: an answer of many pages is streamed, whatever comes in between.
func TestTxnOfLargeGets(t *testing.T) {
	f := newFixture(t)
	value := `"` + strings.Repeat("v", fsm.MaxValueBytes-2) + `"`
	const n = 20
	var body strings.Builder
	for i := range n {
		f.node.put(fmt.Sprintf("k%d", i), value)
		fmt.Fprintf(&body, `,{"get":"k%d"}`, i)
	}
	f.node.arrives = func(fsm.Revision) { f.node.put("k19", "1") }
	w := f.ok("POST", txnPath, `{"then":[{"put":"z","value":1}`+body.String()+`]}`)
	var got struct {
		Results []struct {
			Record struct{ Value json.RawMessage }
		}
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Len(t, got.Results, n+1)
	for _, r := range got.Results[1:] {
		require.Equal(t, value, string(r.Record.Value))
	}
	assert.Empty(t, w.Header().Get("Content-Length"))
	assert.Equal(t, "21", w.Header().Get("Confman-Revision"))

	// What cannot be read after the answer has begun breaks it off.
	pages := 0
	f.node.arrives = func(fsm.Revision) {
		if pages++; pages == 2 {
			f.node.viewErr = errors.New("gone")
		}
	}
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { f.do("POST", txnPath, `{"then":[`+body.String()[1:]+`]}`) })
}

func FuzzTxn(f *testing.F) {
	for _, tc := range errorCases {
		if strings.HasSuffix(tc.request, txnPath) && len(tc.body) < 1000 {
			f.Add([]byte(tc.body))
		}
	}
	for _, tc := range keyedCases {
		if strings.HasSuffix(tc.request, txnPath) {
			f.Add([]byte(tc.body))
		}
	}
	f.Add([]byte(`{"compare":[{"path":"a/c","value":"aGVsbG8=","encoding":"base64"}],"then":[{"put":"k","value":"x","content_type":"text/plain"}],"else":[{"delete":"/"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const maxValue = 100
		got, fault := parseTxn(text, maxValue)
		if fault != nil {
			require.True(t, fault.offset >= 0 && fault.offset <= len(text), "%d of %d", fault.offset, len(text))
			require.NotEmpty(t, fault.reason)
			return
		}
		require.True(t, json.Valid(text), "taken, though it is no JSON")
		require.LessOrEqual(t, max(len(got.compares), len(got.then), len(got.other)), MaxTxnOps)
		require.NotZero(t, len(got.compares)+len(got.then))
		for _, cmp := range got.compares {
			require.LessOrEqual(t, len(cmp.Value), maxValue)
		}
		for _, op := range append(got.then, got.other...) {
			require.LessOrEqual(t, len(op.Value), maxValue)
			if op.Kind != fsm.DeleteTree {
				require.NoError(t, fsm.ValidateKey(op.Key))
			}
		}
		// What is taken, the store takes: a refusal there would be a bug of this package.
		cmd := fsm.Command{Compares: got.compares, Ops: got.then.ops(), Else: got.other.ops()}
		_, err := cmd.Encode()
		require.NoError(t, err)
	})
}
