package jepsen

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// answerGround has machines whose API is what a test says.
type answerGround struct {
	Ground
	machines []Machine
}

func (g *answerGround) Machines() []Machine { return g.machines }

func (g *answerGround) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// answerRun is a run of one node, which answers as a test says.
func answerRun(t *testing.T, answer http.HandlerFunc) *Run {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	r, err := newRun(&answerGround{machines: []Machine{{Name: "node1", URL: server.URL}}}, Options{Log: t.Logf})
	require.NoError(t, err)
	return r
}

const problem = "application/problem+json"

func TestDo(t *testing.T) {
	put := linearizability.Op{Kind: linearizability.Put, Key: "a", Value: "v1"}
	remove := linearizability.Op{Kind: linearizability.Delete, Key: "a"}
	read := linearizability.Op{Kind: linearizability.Read, Key: "a"}
	bounded := linearizability.Op{Kind: linearizability.Local, Key: "a", MaxStaleness: int64(time.Second)}
	transfer := linearizability.Op{
		Kind: linearizability.Txn, Compares: []linearizability.Compare{{Key: "a", Revision: 3}},
		Steps: []linearizability.Step{{Kind: linearizability.Put, Key: "a", Value: "1"}, {Kind: linearizability.Read, Key: "b"}},
	}
	look := linearizability.Op{Kind: linearizability.Txn, Steps: []linearizability.Step{{Kind: linearizability.Read, Key: "a"}, {Kind: linearizability.Read, Key: "b"}}}
	for name, c := range map[string]struct {
		op       linearizability.Op
		status   int
		kind     string
		body     string
		outcome  linearizability.Outcome
		revision uint64
		key      uint64
		check    func(t *testing.T, op *linearizability.Op)
	}{
		"put":               {put, 201, "application/json", `{"path":"a","revision":9,"created":true,"changed":true}`, linearizability.Applied, 9, 9, nil},
		"put of what is":    {put, 200, "application/json", `{"path":"a","revision":4,"created":false,"changed":false}`, linearizability.Unchanged, 9, 4, nil},
		"condition":         {put, 412, problem, `{"type":"urn:confman:problem:precondition-failed","outcome":"not_applied","current_revision":7}`, linearizability.CompareFailed, 9, 7, nil},
		"no quorum":         {put, 503, problem, `{"type":"urn:confman:problem:no-quorum","outcome":"not_applied","retryable":true}`, linearizability.NotApplied, 0, 0, nil},
		"leader lost":       {put, 503, problem, `{"type":"urn:confman:problem:leadership-lost","outcome":"unknown","retryable":true}`, linearizability.Unknown, 0, 0, nil},
		"no node's word":    {put, 502, "text/html", `Bad gateway`, linearizability.Unknown, 0, 0, nil},
		"delete":            {remove, 200, "application/json", `{"path":"a","revision":9,"changed":true}`, linearizability.Applied, 9, 9, nil},
		"delete of nothing": {remove, 404, problem, `{"type":"urn:confman:problem:not-found","outcome":"not_applied"}`, linearizability.Unchanged, 9, 0, nil},
		"read": {read, 200, "application/json", `{"path":"a","value":"v1","content_type":"text/plain","revision":4}`, linearizability.ReadDone, 9, 4, func(t *testing.T, op *linearizability.Op) {
			t.Helper()
			assert.True(t, op.Found)
			assert.Equal(t, "v1", op.Got)
			assert.True(t, op.Claims)
			assert.Equal(t, op.Call-int64(12*time.Millisecond), op.FreshAt, "the node said so after the call")
		}},
		"read of nothing": {bounded, 404, problem, `{"type":"urn:confman:problem:not-found"}`, linearizability.ReadDone, 9, 0, func(t *testing.T, op *linearizability.Op) {
			t.Helper()
			assert.False(t, op.Found)
			assert.True(t, op.Claims)
		}},
		"too old": {bounded, 503, problem, `{"type":"urn:confman:problem:staleness-bound","retryable":true}`, linearizability.ReadFailed, 0, 0, func(t *testing.T, op *linearizability.Op) {
			t.Helper()
			assert.False(t, op.Claims)
		}},
		"transaction": {transfer, 200, "application/json", `{"revision":9,"succeeded":true,"changed":true,"results":[{"put":"a","revision":9,"created":false,"changed":true},{"get":"b","record":{"path":"b","value":"2","content_type":"text/plain","revision":4}}]}`, linearizability.Applied, 9, 0, func(t *testing.T, op *linearizability.Op) {
			t.Helper()
			assert.Equal(t, linearizability.Step{Kind: linearizability.Read, Key: "b", Found: true, Got: "2", KeyRevision: 4}, op.Steps[1])
		}},
		"compare":                             {transfer, 200, "application/json", `{"revision":9,"succeeded":false,"changed":false,"failed_compare":0,"current_revision":5,"results":[]}`, linearizability.CompareFailed, 9, 0, nil},
		"transaction of nobody knows":         {transfer, 503, problem, `{"type":"urn:confman:problem:leadership-lost","outcome":"unknown"}`, linearizability.Unknown, 0, 0, nil},
		"transaction that reads":              {look, 200, "application/json", `{"revision":9,"succeeded":true,"changed":false,"results":[{"get":"a","record":null},{"get":"b","record":null}]}`, linearizability.ReadDone, 9, 0, nil},
		"transaction that reads, no leader":   {look, 503, problem, `{"type":"urn:confman:problem:no-quorum","outcome":"not_applied"}`, linearizability.ReadFailed, 0, 0, nil},
		"transaction that changes not a word": {transfer, 200, "application/json", `{"revision":9,"succeeded":true,"changed":false,"results":[{"put":"a","revision":3,"created":false,"changed":false},{"get":"b","record":null}]}`, linearizability.Unchanged, 9, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var asked *http.Request
			r := answerRun(t, func(w http.ResponseWriter, req *http.Request) {
				asked = req
				w.Header().Set("Content-Type", c.kind)
				w.Header().Set("Confman-Revision", "9")
				w.Header().Set("Confman-Staleness", "0.012")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			op := c.op
			op.Node = "node1"
			op.Steps = append([]linearizability.Step(nil), op.Steps...)
			r.Do(t.Context(), &op)
			h, _ := r.Recorder.History()
			require.Len(t, h.Ops, 1)
			got := &h.Ops[0]
			assert.Equal(t, c.outcome, got.Outcome)
			assert.Equal(t, c.outcome == linearizability.Unknown, got.Return == linearizability.Never)
			assert.Equal(t, c.revision, got.Revision)
			assert.Equal(t, c.key, got.KeyRevision)
			if c.check != nil {
				c.check(t, got)
			}
			if !reads(&op) {
				assert.Equal(t, "op 1", asked.Header.Get("Confman-Comment"))
				assert.Empty(t, asked.Header.Get("Idempotency-Key"))
			}
		})
	}
}

// TestDoRefused: where nobody is, nothing was done.
func TestDoRefused(t *testing.T) {
	r := answerRun(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	r2, err := newRun(&answerGround{machines: []Machine{{Name: "node1", URL: "http://" + l.Addr().String()}}}, r.Options)
	require.NoError(t, err)
	op := &linearizability.Op{Node: "node1", Kind: linearizability.Put, Key: "a", Value: "v"}
	r2.Do(t.Context(), op)
	assert.Equal(t, linearizability.NotApplied, op.Outcome)
}

// TestDoIsWaitedFor: that the run is over is no reason not to know what became of what was asked.
func TestDoIsWaitedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := answerRun(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.Header().Set("Confman-Revision", "9")
		_, _ = io.WriteString(w, `{"path":"a","revision":9,"created":true,"changed":true}`)
	})
	op := &linearizability.Op{Node: "node1", Kind: linearizability.Put, Key: "a", Value: "v", IdempotencyKey: "k"}
	r.Do(ctx, op)
	assert.Equal(t, linearizability.Applied, op.Outcome)
}
