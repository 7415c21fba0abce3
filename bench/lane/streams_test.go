package lane

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDecode: however a stream is cut into reads, its events come whole and in order.
func TestDecode(t *testing.T) {
	const whole = "4\r\none\n\r\n1\r\n\n\r\n9\r\ntwo\n\nthre\r\n3\r\ne\n\n\r\n"
	for size := 1; size <= len(whole); size++ {
		s := &stream{}
		for rest := whole; rest != ""; {
			n := min(size, len(rest))
			s.raw = append(s.raw, rest[:n]...)
			rest = rest[n:]
			require.NoError(t, s.decode())
		}
		assert.Equal(t, "one\n\ntwo\n\nthree\n\n", string(s.text), "pieces of %d", size)
		assert.Empty(t, s.raw)
		assert.Zero(t, s.left)
	}
	require.Error(t, (&stream{conn: &conn{}, raw: []byte("zz\r\n")}).decode())
	require.Error(t, (&stream{conn: &conn{}, raw: []byte("0\r\n\r\n")}).decode())
}

// TestStreams: a put is told to all watchers.
func TestStreams(t *testing.T) {
	var (
		mu  sync.Mutex
		all []chan string
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /watch", func(w http.ResponseWriter, r *http.Request) {
		c := make(chan string, 10)
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
		_, _ = fmt.Fprint(w, "hello\n\n")
		for {
			w.(http.Flusher).Flush()
			select {
			case text := <-c:
				_, _ = fmt.Fprint(w, text, "\n\n")
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("PUT /put/{value}", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range all {
			c <- r.PathValue("value")
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	const n = 50
	s, err := OpenStreams(n, []byte("GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n"), []byte("\n\n"), server.Listener.Addr().String())
	require.NoError(t, err)
	defer s.Close()
	is := func(what string) func(int, []byte) (bool, error) {
		return func(_ int, event []byte) (bool, error) { return string(event) == what, nil }
	}
	_, err = s.Await(nil, nil, n, is("hello"))
	require.NoError(t, err)
	long := strings.Repeat("x", 20_000)
	for _, what := range []string{"one", "two", long} {
		status := 0
		took, err := s.Await([]byte("PUT /put/"+what+" HTTP/1.1\r\nHost: localhost\r\n\r\n"), func(a *Answer) error {
			status = a.Status
			return nil
		}, n, is(what))
		require.NoError(t, err)
		assert.Positive(t, took)
		assert.Equal(t, http.StatusOK, status)
	}
	_, err = OpenStreams(1, nil, nil, "127.0.0.1:1")
	require.Error(t, err)
	// What is no stream is none.
	s, err = OpenStreams(1, []byte("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"), []byte("\n\n"), server.Listener.Addr().String())
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Await(nil, nil, 1, is("hello"))
	require.ErrorContains(t, err, "no stream")
}
