package load

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/bench/lane"
)

func values(t *testing.T, size int) *Values {
	v, err := NewValues(size)
	require.NoError(t, err)
	return v
}

// TestValuesAreKnownAgain: what is made for a key is right for it and for no other, plain and in base64, and so is no text
// that was changed anywhere.
func TestValuesAreKnownAgain(t *testing.T) {
	for _, size := range []int{16, 17, 18, 19, 20, 256, 1000} {
		v := values(t, size)
		plain, encoded := v.Append(nil, 123, 456), v.AppendEncoded(nil, 123, 456)
		require.Len(t, plain, size)
		require.Equal(t, base64.StdEncoding.EncodeToString(plain), string(encoded))
		require.NoError(t, v.check(plain, 123))
		require.NoError(t, v.checkEncoded(encoded, 123))
		require.ErrorIs(t, v.check(plain, 124), errOther)
		require.ErrorIs(t, v.checkEncoded(encoded, 124), errOther)
		require.ErrorIs(t, v.check(plain[1:], 123), errOther)
		require.ErrorIs(t, v.checkEncoded(encoded[4:], 123), errOther)
		for i := range plain {
			bad := bytes.Clone(plain)
			bad[i] = '_'
			require.ErrorIs(t, v.check(bad, 123), errOther, "byte %d of %d", i, size)
			require.ErrorIs(t, v.checkEncoded(base64.StdEncoding.AppendEncode(nil, bad), 123), errOther, "byte %d of %d", i, size)
		}
	}
	_, err := NewValues(MinValue - 1)
	require.Error(t, err)
}

func TestProven(t *testing.T) {
	for text, ok := range map[string]bool{
		"0": true, "0.132": true, "4.999999": true, "5": true, "5.000001": false, "": false, "unknown": false, "-1": false, "1.2.3": false,
		"99999999999999999999": false, "0.1234567891234": true,
	} {
		err := proven([]byte(text))
		assert.Equal(t, ok, err == nil, "%q: %v", text, err)
	}
}

func TestWhatFollowsAMark(t *testing.T) {
	body := []byte(`{"header":{"revision": "12"}, "kvs":[{"mod_revision":7,"value" : "ab"}]}`)
	assert.EqualValues(t, 12, numberAfter(body, `"revision"`))
	assert.EqualValues(t, 7, numberAfter(body, `"mod_revision"`))
	assert.Zero(t, numberAfter(body, `"nothing"`))
	assert.Equal(t, "ab", string(textAfter(body, `"value"`)))
	assert.Nil(t, textAfter(body, `"nothing"`))
}

// fake is a server in the shape of Confman's API and of etcd's gateway, which lies as told.
type fake struct {
	mu       sync.Mutex
	revision uint64
	values   map[string]string
	changed  map[string]uint64
	lie      func(put bool, value *string, revision *uint64)
	age      string
}

func (f *fake) do(key string, put *string) (value string, revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if put != nil {
		f.revision++
		f.values[key], f.changed[key] = *put, f.revision
	}
	value, revision = f.values[key], f.changed[key]
	if f.lie != nil {
		f.lie(put != nil, &value, &revision)
	}
	return value, revision
}

func (f *fake) confman(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Confman-Staleness", f.age)
	key := strings.TrimPrefix(r.URL.Path, ConfmanPath)
	var put *string
	if r.Method == http.MethodPut {
		body, _ := io.ReadAll(r.Body)
		put = new(string(body))
	}
	value, revision := f.do(key, put)
	if put != nil {
		fmt.Fprintf(w, `{"path":%q,"revision":%d,"changed":true}`, key, revision)
		return
	}
	fmt.Fprintf(w, `{"path":%q,"value":%q,"revision":%d}`, key, value, revision)
}

func (f *fake) etcd(w http.ResponseWriter, r *http.Request) {
	var body struct{ Key, Value []byte }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var put *string
	if r.URL.Path == "/v3/kv/put" {
		put = new(string(body.Value))
	}
	value, revision := f.do(string(body.Key), put)
	if put != nil {
		fmt.Fprintf(w, `{"header":{"cluster_id":"1", "revision":"%d"}}`, revision)
		return
	}
	fmt.Fprintf(w, `{"header":{"revision":"99"},"kvs":[{"key":"x","mod_revision":"%d","value":"%s"}],"count":"1"}`,
		revision, base64.StdEncoding.EncodeToString([]byte(value)))
}

// drive runs clients against a fake that lies as told.
func drive(t *testing.T, etcd bool, w Work, age string, lie func(put bool, value *string, revision *uint64)) (uint64, error) {
	f := &fake{values: map[string]string{}, changed: map[string]uint64{}, lie: lie, age: age}
	for key := range w.Keys {
		name := string(AppendKey(nil, key))
		f.revision++
		f.values[name], f.changed[name] = string(w.Values.Append(nil, key, 0)), f.revision
	}
	handler, dial := f.confman, NewConfman
	if etcd {
		handler, dial = f.etcd, NewEtcdHTTP
	}
	s := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(s.Close)
	d, err := dial(w, s.Listener.Addr().String())
	require.NoError(t, err)
	defer d.Close()
	h, err := d.Run(50 * time.Millisecond)
	return h.Count(), errors.Join(err, d.Drain())
}

// TestAnswersAreJudged: right answers are counted; whatever is wrong with one is an error.
func TestAnswersAreJudged(t *testing.T) {
	for _, etcd := range []bool{false, true} {
		for _, c := range []struct {
			name string
			work Work
			age  string
			lie  func(put bool, value *string, revision *uint64)
			want string
		}{
			{name: "puts", work: Work{}},
			{name: "linearizable reads", work: Work{Reads: 1}},
			{name: "local reads", work: Work{Reads: 1, Local: true}},
			{name: "a mix", work: Work{Reads: 0.5}},
			{name: "a mix of local reads", work: Work{Reads: 0.5, Local: true}},
			{
				name: "a put without a revision", work: Work{}, want: "revision 0",
				lie: func(_ bool, _ *string, revision *uint64) { *revision = 0 },
			},
			{
				name: "a put before one that was acknowledged", work: Work{}, want: "was acknowledged before",
				lie: func(_ bool, _ *string, revision *uint64) { *revision = 200 - min(*revision, 200) },
			},
			{
				name: "another key's value", work: Work{Reads: 1}, want: "not a value of that key",
				lie: func(_ bool, value *string, _ *uint64) { *value = "99999999" + (*value)[8:] },
			},
			{
				name: "a stale read", work: Work{Reads: 0.5}, want: "was acknowledged before",
				lie: func(put bool, _ *string, revision *uint64) {
					if !put {
						*revision = 1
					}
				},
			},
		} {
			t.Run(fmt.Sprintf("%s, etcd %t", c.name, etcd), func(t *testing.T) {
				c.work.Clients, c.work.Keys, c.work.Values, c.work.Seed = 4, 20, values(t, 64), 7
				n, err := drive(t, etcd, c.work, "0.1", c.lie)
				if c.want != "" {
					require.ErrorContains(t, err, c.want)
					return
				}
				require.NoError(t, err)
				assert.Positive(t, n)
			})
		}
	}
}

// TestStalenessMustBeProven: what is local at Confman says how old it is.
func TestStalenessMustBeProven(t *testing.T) {
	w := Work{Clients: 2, Reads: 1, Local: true, Keys: 3, Values: values(t, 64)}
	for _, age := range []string{"unknown", "7", ""} {
		_, err := drive(t, false, w, age, nil)
		require.ErrorIs(t, err, errNotProven, "%q", age)
	}
	w.Local = false
	_, err := drive(t, false, w, "unknown", nil)
	require.NoError(t, err)
}

// TestNothingIsAllocated: neither asking nor hearing does.
func TestNothingIsAllocated(t *testing.T) {
	w := Work{Clients: 1, Reads: 0.5, Local: true, Keys: 100, Values: values(t, 256)}
	b := newBook(w)
	const before = `{"path":"bench/1","revision":`
	put := &lane.Answer{Status: 200, Body: []byte(before + `00000000,"changed":true}`)}
	get := &lane.Answer{Status: 200, Head: []byte("HTTP/1.1 200 OK\r\nConfman-Staleness: 0.1\r\n\r\n"), Body: make([]byte, 0, 1000)}
	var revision uint64
	c := newConfmanClient(b, 0)
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		c.Ask()
		a := get
		if c.op.put {
			a = put
			revision++
			putDigits(a.Body[len(before):], revision)
		} else {
			a.Body = append(a.Body[:0], `{"value":"`...)
			a.Body = w.Values.Append(a.Body, c.op.key, 1)
			a.Body = append(a.Body, `","revision":9999}`...)
		}
		if err := c.Hear(a); err != nil {
			panic(err)
		}
	}))
	e := newEtcdClient(b, 0)
	assert.Zero(t, testing.AllocsPerRun(1000, func() { e.Ask() }))
}

// TestNoTwoPutsAreTheSame: also of clients that come later, which use the same keys.
func TestNoTwoPutsAreTheSame(t *testing.T) {
	seen := map[uint64]bool{}
	for range 3 {
		b := newBook(Work{Clients: 2, Keys: 3, Seed: 1})
		for client := range 2 {
			c := newChooser(b, client)
			for range 100 {
				o := c.next()
				require.True(t, o.put)
				require.False(t, seen[o.serial])
				seen[o.serial] = true
			}
		}
	}
}

func TestShare(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]int{}
	require.NoError(t, share(context.Background(), 1000, 7, 5, func(_ context.Context, _, from, to int) error {
		mu.Lock()
		defer mu.Unlock()
		for i := from; i < to; i++ {
			seen[i]++
		}
		return nil
	}))
	require.Len(t, seen, 1000)
	for i, n := range seen {
		require.Equal(t, 1, n, i)
	}
	bad := errors.New("full")
	require.ErrorIs(t, share(context.Background(), 1000, 7, 5, func(_ context.Context, _, from, _ int) error {
		if from >= 500 {
			return bad
		}
		return nil
	}), bad)
}

// TestFillConfman: all keys are imported, each once; an answer that says otherwise is an error.
func TestFillConfman(t *testing.T) {
	v := values(t, 32)
	var (
		mu   sync.Mutex
		seen = map[string]int{}
		lose int
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for d := json.NewDecoder(r.Body); d.More(); n++ {
			var record struct{ Path, Value string }
			assert.NoError(t, d.Decode(&record))
			var key int
			_, err := fmt.Sscanf(record.Path, KeyPrefix+"%08d", &key)
			assert.NoError(t, err)
			assert.NoError(t, v.check([]byte(record.Value), key))
			seen[record.Path]++
		}
		fmt.Fprintf(w, `{"changed":%d}`, n-lose)
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	require.NoError(t, FillConfman(t.Context(), 25_000, v, addr, addr))
	assert.Len(t, seen, 25_000)
	lose = 1
	require.Error(t, FillConfman(t.Context(), 100, v, addr))
}
