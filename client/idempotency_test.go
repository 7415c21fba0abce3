package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// writes are all calls that are one transaction, with a key, or with none.
var writes = map[string]func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error){
	"put": func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error) {
		_, m, err := c.Put(t.Context(), "a", []byte("1"), "", client.WriteOptions{IdempotencyKey: key, NoIdempotencyKey: none})
		return m, err
	},
	"patch": func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error) {
		_, m, err := c.Patch(t.Context(), "a", []byte("{}"), client.MergePatch, client.WriteOptions{IdempotencyKey: key, NoIdempotencyKey: none})
		return m, err
	},
	"delete": func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error) {
		_, m, err := c.Delete(t.Context(), "a", client.WriteOptions{IdempotencyKey: key, NoIdempotencyKey: none})
		return m, err
	},
	"delete of a subtree": func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error) {
		_, m, err := c.DeleteTree(t.Context(), "a/", client.DeleteTreeOptions{IdempotencyKey: key, NoIdempotencyKey: none})
		return m, err
	},
	"transaction": func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error) {
		_, m, err := c.Txn(t.Context(), client.Txn{Then: []client.TxnOp{client.GetOp("a")}}, client.TxnOptions{IdempotencyKey: key, NoIdempotencyKey: none})
		return m, err
	},
	"rollback": func(t *testing.T, c *client.Client, key string, none bool) (client.Meta, error) {
		_, m, err := c.Rollback(t.Context(), "a/", 3, client.RollbackOptions{IdempotencyKey: key, NoIdempotencyKey: none})
		return m, err
	},
}

// TestIdempotencyKeys: all attempts of a call carry one key, and no two calls the same.
func TestIdempotencyKeys(t *testing.T) {
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			var keys []string
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				keys = append(keys, strings.Join(r.Header["Idempotency-Key"], " and "))
				switch len(keys) {
				case 1:
					problem(503, "no-quorum", `,"outcome":"unknown","retryable":true`)(w, r)
				case 2:
					hangUp(w, r)
				case 3:
					w.Header().Set("Idempotency-Replayed", "true")
					answer(200, `{"revision":5}`)(w, r)
				default:
					answer(200, `{"revision":6}`)(w, r)
				}
			})
			c := dial(t, s.URL)
			meta, err := write(t, c, "", false)
			require.NoError(t, err)
			assert.True(t, meta.Replayed)
			meta, err = write(t, c, "", false)
			require.NoError(t, err)
			assert.False(t, meta.Replayed)
			_, err = write(t, c, "order-4711", false)
			require.NoError(t, err)
			_, err = write(t, c, "", true)
			require.NoError(t, err)
			require.Len(t, keys, 6)
			assert.Equal(t, []string{keys[0], keys[0], keys[0], keys[3], "order-4711", ""}, keys)
			assert.NotEqual(t, keys[0], keys[3])
			for _, key := range []string{keys[0], keys[3]} {
				assert.Regexp(t, `^[A-Z2-7]{26}$`, key, "base32 of at least 128 bits")
			}
		})
	}
}

func TestIdempotencyKeysAreCheckedBeforeAnythingIsSent(t *testing.T) {
	s := serve(t, answer(200, `{}`))
	c := dial(t, s.URL)
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			var wrong *client.RequestError
			for _, key := range []string{" ", "a b", "a\nb", "é", "\x7f", strings.Repeat("x", client.MaxIdempotencyKeyBytes+1)} {
				_, err := write(t, c, key, false)
				require.ErrorAs(t, err, &wrong, "%q", key)
			}
			_, err := write(t, c, "a", true)
			require.ErrorAs(t, err, &wrong)
			_, err = write(t, c, strings.Repeat("~", client.MaxIdempotencyKeyBytes), false)
			require.NoError(t, err)
		})
	}
	require.Error(t, client.CheckIdempotencyKey(""))
	assert.EqualValues(t, len(writes), s.requests.Load())
}

// TestSeveralTransactionsHaveNoKey: doing them again may do more than doing them once.
func TestSeveralTransactionsHaveNoKey(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header["Idempotency-Key"])
		problem(503, "no-quorum", `,"outcome":"unknown","retryable":true`)(w, r)
	})
	c := dial(t, s.URL)
	_, _, err := c.DeleteTree(t.Context(), "a/", client.DeleteTreeOptions{Chunked: true})
	assert.Equal(t, client.Unknown, client.OutcomeOf(err))
	assert.EqualValues(t, 1, s.requests.Load())
	var wrong *client.RequestError
	_, _, err = c.DeleteTree(t.Context(), "a/", client.DeleteTreeOptions{Chunked: true, IdempotencyKey: "a"})
	require.ErrorAs(t, err, &wrong)
}

// TestReplayedRefusal: what is remembered under a key is what became of all its attempts.
func TestReplayedRefusal(t *testing.T) {
	refusal := problem(412, "precondition-failed", `,"outcome":"not_applied","current_revision":9`)
	s := serve(t, sequence(hangUp, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Idempotency-Replayed", "true")
		refusal(w, r)
	}))
	_, _, err := dial(t, s.URL).Put(t.Context(), "a", nil, "", client.WriteOptions{IfRevision: 8})
	assert.Equal(t, client.NotApplied, client.OutcomeOf(err))
	assert.True(t, client.IsConflict(err))
}

// TestRetriesEndInTime: nothing is sent again after MaxRetryAge, as long as it may have been
// applied; the servers may have forgotten its key.
func TestRetriesEndInTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string // outcomes; the last for the rest of time
		outcome client.Outcome
		ends    bool
	}{
		{"unknown", []string{"unknown"}, client.Unknown, true},
		{"unknown at first", []string{"unknown", "not_applied"}, client.Unknown, true},
		{"never applied", []string{"not_applied"}, client.NotApplied, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var sent []time.Duration
				cl, err := client.New(client.Options{
					Endpoints: []string{"a", "b", "c"}, MaxAttempts: 1_000,
					HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{})
						sent = append(sent, time.Since(start))
						w := httptest.NewRecorder()
						outcome := c.answers[min(len(sent), len(c.answers))-1]
						r.Body = io.NopCloser(strings.NewReader("")) // read by the transport
						problem(503, "no-quorum", `,"outcome":"`+outcome+`","retryable":true`)(w, r)
						return w.Result(), nil
					})},
				})
				require.NoError(t, err)
				_, _, err = cl.Put(t.Context(), "a", []byte("1"), "", client.WriteOptions{})
				var failed *client.Error
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, c.outcome, failed.Outcome)
				last := slices.Max(sent)
				if !c.ends {
					assert.Greater(t, last, client.MaxRetryAge)
					assert.Equal(t, 1_000, failed.Attempts)
					return
				}
				assert.Less(t, last, client.MaxRetryAge)
				assert.Greater(t, last, client.MaxRetryAge-2*client.DefaultMaxBackoff)
				assert.Equal(t, len(sent), failed.Attempts)
			})
		})
	}
}

// TestSeveralTransactionsHalfDone: what was done in part was done, and what is asked for once more
// would not say how much.
func TestSeveralTransactionsHalfDone(t *testing.T) {
	half := problem(503, "leadership-lost", `,"outcome":"not_applied","retryable":true,"applied_records":512`)
	s := serve(t, half)
	c := dial(t, s.URL)
	var p *client.Problem
	_, _, err := c.DeleteTree(t.Context(), "a/", client.DeleteTreeOptions{Chunked: true})
	assert.Equal(t, client.Unknown, client.OutcomeOf(err))
	require.ErrorAs(t, err, &p)
	assert.Equal(t, 512, p.AppliedRecords)
	_, _, err = c.Rollback(t.Context(), "a/", 1, client.RollbackOptions{Chunked: true})
	assert.Equal(t, client.Unknown, client.OutcomeOf(err))
	assert.EqualValues(t, 2, s.requests.Load())

	// Nothing was done: it is asked again, and what it then does is all.
	s = serve(t, sequence(problem(503, "leadership-lost", `,"outcome":"not_applied","retryable":true,"applied_records":0`),
		answer(200, `{"removed":5}`)))
	removed, _, err := dial(t, s.URL).DeleteTree(t.Context(), "a/", client.DeleteTreeOptions{Chunked: true})
	require.NoError(t, err)
	assert.Equal(t, 5, removed.Removed)

	// An import is the same however often it is made.
	s = serve(t, sequence(half, answer(200, `{"records":1}`)))
	_, err = dial(t, s.URL).Import(t.Context(), "", records(1, func(int) string { return "1" }), client.ImportOptions{})
	require.NoError(t, err)
}
