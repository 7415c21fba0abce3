package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

const watch = "/api/v1/watch"

// streamed is an answer that is still being written.
type streamed struct {
	*httptest.ResponseRecorder
	mu   sync.Mutex
	all  bytes.Buffer // of the body
	stop context.CancelFunc
	done chan struct{}
}

func (s *streamed) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(b)
	return s.ResponseRecorder.Write(b)
}

func (s *streamed) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ResponseRecorder.Flush()
}

// next is what came since it was asked last, once nothing more comes.
func (s *streamed) next() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.Body.String()
	s.Body.Reset()
	return b
}

// stream begins a watch within a bubble. At its end it is held against the document.
func (f *fixture) stream(target string, headers ...string) *streamed {
	ctx, cancel := context.WithCancel(f.tb.Context())
	r := httptest.NewRequest("GET", target, nil).WithContext(ctx)
	r.Header.Set("X-Request-Id", "test-1")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	s := &streamed{ResponseRecorder: httptest.NewRecorder(), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		sent := r.Clone(ctx)
		f.ServeHTTP(s, r)
		c, err := documentChecker()
		assert.NoError(f.tb, err)
		whole := httptest.NewRecorder()
		maps.Copy(whole.Header(), s.Header())
		whole.Code, whole.Body = s.Code, &s.all
		_, faults := c.check(sent, "", whole)
		assert.Empty(f.tb, faults, "openapi.yaml and the API differ")
	}()
	synctest.Wait()
	return s
}

// TestWatch: what a stream looks like, from its headers to its end.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.ok("PUT", config+"/a/b", "1")
		s := f.stream(watch + "/a/")
		assert.Equal(t, 200, s.Code)
		assert.Equal(t, "text/event-stream", s.Header().Get("Content-Type"))
		assert.Equal(t, "no-store", s.Header().Get("Cache-Control"))
		assert.Equal(t, "no", s.Header().Get("X-Accel-Buffering"))
		assert.Equal(t, "1", s.Header().Get("Confman-Revision"))
		assert.Equal(t, "0.012", s.Header().Get("Confman-Staleness"))
		assert.Equal(t, ": heartbeat\nid: 1\n\n", s.next(), "it begins with what is applied now")

		f.ok("PUT", config+"/elsewhere", "1")
		assert.Empty(t, s.next())
		time.Sleep(DefaultHeartbeat)
		assert.Equal(t, ": heartbeat\nid: 2\n\n", s.next(), "the position moves on")

		f.ok("PUT", config+"/a/b", "{\n\"x\": 1}", "Confman-Comment: why not")
		assert.Equal(t, `id: 3
event: change
data: {"revision":3,"modified_at":"2026-01-23T10:00:00Z","modified_by":"anonymous","comment":"why not","request_id":"test-1","source":"192.0.2.1","events":[{"path":"a/b","value":{
data: "x": 1},"content_type":"application/json","revision":3,"create_revision":1,"version":2,"modified_at":"2026-01-23T10:00:00Z","modified_by":"anonymous","action":"put"}]}

`, s.next())
		f.ok("PUT", config+"/a/b", "[\r\n1]")
		assert.Contains(t, s.next(), `"value":"Ww0KMV0=","encoding":"base64"`, "a line break that streams do not keep")

		time.Sleep(DefaultHeartbeat - time.Second)
		f.ok("DELETE", config+"/a/b", "")
		assert.Contains(t, s.next(), `"events":[{"path":"a/b","action":"delete"}]}`)
		time.Sleep(2 * time.Second)
		assert.Empty(t, s.next(), "an event is as good as a heartbeat")

		_, err := f.node.Propose(t.Context(), &fsm.Command{Ops: []fsm.Op{
			{Kind: fsm.Put, Key: "a/1", Value: []byte("1"), ContentType: typeJSON},
			{Kind: fsm.Put, Key: "elsewhere", Value: []byte("2"), ContentType: typeJSON},
			{Kind: fsm.Put, Key: "a/2", Value: []byte("2"), ContentType: typeJSON},
		}})
		require.NoError(t, err)
		text := s.next()
		assert.Equal(t, 1, strings.Count(text, "event: "), "a transaction comes whole")
		assert.Equal(t, 2, strings.Count(text, `"path":`))
		assert.NotContains(t, text, "elsewhere")

		s.stop()
		<-s.done
		assert.Zero(t, f.node.hub.Len())
	})
}

// TestWatchResumes: from a revision, by the parameter or by the header.
func TestWatchResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for i := range 100 {
			f.node.put("a", fmt.Sprint(i))
			f.node.put("z", fmt.Sprint(i))
		}
		for _, s := range []*streamed{
			f.stream(watch+"/a?from_revision=3", "Accept: text/event-stream"), f.stream(watch+"/a", "Last-Event-ID: 3"),
			f.stream(watch+"/a?from_revision=1", "Last-Event-ID: 3"), // as a browser reconnects
		} {
			text := s.next()
			assert.Equal(t, 98, strings.Count(text, "event: change\n"))
			assert.True(t, strings.HasPrefix(text, ": heartbeat\nid: 3\n\nid: 5\nevent: change"), text[:100])
			s.stop()
			<-s.done
		}
		// Everything has a bare name, too.
		for _, target := range []string{watch, watch + "/"} {
			s := f.stream(target + "?from_revision=0")
			assert.Equal(t, 200, strings.Count(s.next(), "event: change\n"))
			s.stop()
			<-s.done
		}
	})
}

// TestWatchAwaits: a revision that is not applied here yet, and is elsewhere.
func TestWatchAwaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.node.put("a", "1")
		f.node.linearize = func() {
			f.node.linearize = nil
			f.node.put("a", "2")
			f.node.put("a", "3")
		}
		s := f.stream(watch + "/a?from_revision=2")
		text := s.next()
		assert.Equal(t, 200, s.Code)
		assert.Equal(t, 1, strings.Count(text, "event: change"))
		assert.Contains(t, text, "id: 3\nevent: change")
		s.stop()
		<-s.done
	})
}

// TestWatchEndsInStream: what comes up later is told as the last event.
func TestWatchEndsInStream(t *testing.T) {
	for name, end := range map[string]func(f *fixture){
		"stopping":   func(f *fixture) { close(f.drained) },
		"rebuilding": func(f *fixture) { f.node.hub.End() },
		"damaged":    func(f *fixture) { f.node.viewErr = fsm.ErrDamaged; f.node.put("a", "2") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.node.put("a", "1")
				s := f.stream(watch + "/a")
				s.next()
				end(f)
				text := s.next()
				<-s.done
				body, ok := strings.CutPrefix(text, "event: error\ndata: ")
				require.True(t, ok, text)
				require.True(t, strings.HasSuffix(body, "}\n\n"), text)
				var p struct {
					Type      string
					Retryable bool
				}
				require.NoError(t, json.Unmarshal([]byte(body), &p))
				assert.Equal(t, "urn:confman:problem:"+name, p.Type)
				assert.True(t, p.Retryable)
				s.stop()
			})
		})
	}
}

func TestWatchNodeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		s := f.stream(watch + "/a")
		close(f.node.done)
		assert.Contains(t, s.next(), "problem:stopping")
		<-s.done
		s.stop()
	})
}

// TestWatchFallsBehindTheFloor: a client that did not read for so long that the changes it
// lacks are gone.
func TestWatchFallsBehindTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.node.put("a", "1")
		w, err := f.node.hub.Watch("seed", 0)
		require.NoError(t, err)
		defer w.Close()
		compactedTo2(f)
		s := f.stream(watch + "/a?from_revision=1")
		<-s.done
		assert.Equal(t, 410, s.Code)
		p := decoded(t, s.ResponseRecorder)
		assert.Equal(t, json.Number("2"), p["oldest_revision"])
		assert.Equal(t, false, p["retryable"])
		s.stop()
		s = f.stream(fmt.Sprintf("%s/a?from_revision=%v", watch, p["oldest_revision"]))
		assert.Equal(t, ": heartbeat\nid: 2\n\n", s.next(), "the oldest revision can be begun from")
		s.stop()
		<-s.done
	})
}

// TestLongPoll: an answer at the first change, or after the wait.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.node.put("a/b", "1")
		poll := func(target string) (*streamed, func() map[string]any) {
			s := f.stream(target)
			return s, func() map[string]any {
				<-s.done
				s.stop()
				assert.Equal(t, 200, s.Code)
				assert.Equal(t, "no-store", s.Header().Get("Cache-Control"))
				return decoded(t, s.ResponseRecorder)
			}
		}
		began := time.Now()
		_, answer := poll(watch + "/a/?wait=30s")
		assert.Equal(t, map[string]any{"revision": json.Number("1"), "changes": []any{}}, answer())
		assert.Equal(t, 30*time.Second, time.Since(began))

		s, answer := poll(watch + "/a/?wait=30")
		f.node.put("z", "1")
		assert.Empty(t, s.next())
		f.node.put("a/c", "2")
		page := answer()
		assert.Equal(t, json.Number("3"), page["revision"])
		assert.Len(t, page["changes"], 1)

		_, answer = poll(watch + "/?wait=0s&from_revision=0")
		assert.Len(t, answer()["changes"], 3)
		assert.Equal(t, 30*time.Second, time.Since(began))
		assert.Zero(t, f.node.hub.Len())

		s, _ = poll(watch + "/?wait=30s")
		close(f.drained)
		<-s.done
		s.stop()
		assert.Equal(t, 503, s.Code)
		assert.Contains(t, s.Body.String(), "problem:stopping")
	})
}

// pipes is a listener of connections that hold nothing: who writes waits for who reads.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p.conns); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestWatchSlowClient: who does not read is cut off in the end, and holds no place.
func TestWatchSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.Now = time.Now
		s := &http.Server{Handler: f}
		l := pipes{make(chan net.Conn)}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		client, server := net.Pipe()
		l.conns <- server
		_, err := client.Write([]byte("GET /api/v1/watch/a HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		r := bufio.NewReader(client)
		for beats := 0; beats < 40; { // ten minutes
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			if strings.HasPrefix(line, "id: 0") {
				beats++
			}
		}
		assert.Equal(t, 1, f.node.hub.Len())
		went := time.Now()
		f.node.put("a", "1")
		synctest.Wait()
		assert.Equal(t, 1, f.node.hub.Len(), "it may be slow")
		time.Sleep(TransferTimeout + 2*DefaultHeartbeat)
		synctest.Wait()
		assert.Zero(t, f.node.hub.Len())
		assert.LessOrEqual(t, time.Since(went), 2*TransferTimeout)
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		_ = client.Close()
		synctest.Wait()
	})
}

// TestWatchesAreNoRequests: they are open for long, and leave room for those.
func TestWatchesAreNoRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		s := f.stream(watch + "/a")
		assert.Zero(t, f.requests.Load())
		assert.Equal(t, 1, f.node.hub.Len())
		f.requests.Store(MaxRequests)
		o := f.stream(watch + "/a")
		assert.Equal(t, 200, o.Code)
		for _, s := range []*streamed{s, o} {
			s.stop()
			<-s.done
		}
	})
}

// TestWatchOverTheWire: HTTP/1.1 and HTTP/2, and a server that shuts down.
func TestWatchOverTheWire(t *testing.T) {
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(proto, func(t *testing.T) {
			f := newFixture(t)
			f.Now = time.Now
			s := httptest.NewUnstartedServer(f)
			s.EnableHTTP2 = h2
			s.Config.RegisterOnShutdown(func() { close(f.drained) })
			s.StartTLS()
			defer s.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+watch+"/a", nil)
			require.NoError(t, err)
			req.Header.Set("Accept-Encoding", "gzip, zstd")
			resp, err := s.Client().Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, proto, resp.Proto)
			assert.Empty(t, resp.Header.Get("Content-Encoding"))
			lines := bufio.NewScanner(resp.Body)
			expect := func(want string) {
				t.Helper()
				for lines.Scan() {
					if strings.HasPrefix(lines.Text(), want) {
						return
					}
				}
				t.Fatalf("the stream ended before %q: %v", want, lines.Err())
			}
			expect("id: 0")
			f.node.put("a", "1")
			expect(`data: {"revision":1`)
			f.node.put("a", "2")
			expect(`data: {"revision":2`)
			down := make(chan error, 1)
			go func() { down <- s.Config.Shutdown(t.Context()) }()
			expect(`data: {"type":"urn:confman:problem:stopping"`)
			for lines.Scan() {
				assert.Empty(t, lines.Text())
			}
			require.NoError(t, lines.Err(), "the stream ends in order")
			require.NoError(t, <-down)
		})
	}
}

// TestWatchBatchesAreBounded: what is large waits until there is room for it, without being cut
// off or left out, and what is small goes past it.
func TestWatchBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		large := `"` + strings.Repeat("x", MaxWaitingBatchBytes) + `"`
		s := f.stream(watch + "/")
		other := f.stream(watch + "/small")
		s.next()
		other.next()
		for range MaxLargeBatches { // as many slow clients
			f.large <- struct{}{}
		}
		f.node.put("large", large)
		f.node.put("small", "1")
		assert.Empty(t, s.next())
		assert.Contains(t, other.next(), `"path":"small"`)
		poll := f.stream(watch + "/?wait=1s&from_revision=0")
		<-poll.done
		poll.stop()
		assert.Equal(t, map[string]any{"revision": json.Number("0"), "changes": []any{}}, decoded(t, poll.ResponseRecorder))
		time.Sleep(DefaultHeartbeat)
		assert.Equal(t, ": heartbeat\nid: 0\n\n", s.next(), "it is there, and was given nothing")

		<-f.large
		text := s.next()
		assert.Contains(t, text, large)
		assert.Equal(t, []string{"id: 1", "id: 2"}, ids(text))
		f.node.put("small", "2")
		assert.Equal(t, []string{"id: 3"}, ids(s.next()))
		assert.Len(t, f.large, MaxLargeBatches-1)
		assert.Empty(t, f.batches)

		f.large <- struct{}{}
		f.node.put("large", "["+large+"]")
		assert.Empty(t, s.next())
		close(f.drained)
		assert.Contains(t, s.next(), "problem:stopping", "who waits is told, too")
		for _, s := range []*streamed{s, other} {
			<-s.done
			s.stop()
		}
		assert.Len(t, f.large, MaxLargeBatches)
		assert.Empty(t, f.batches)
	})
}

// TestWatchWaitsForItsTurn: and gives that up when it has to.
func TestWatchWaitsForItsTurn(t *testing.T) {
	for name, end := range map[string]func(f *fixture, s *streamed){
		"the turn comes": func(f *fixture, s *streamed) {
			<-f.batches
			assert.Equal(f.tb, []string{"id: 0", "id: 1"}, ids(s.next()))
			s.stop()
		},
		"the node drains":   func(f *fixture, _ *streamed) { close(f.drained) },
		"the node stops":    func(f *fixture, _ *streamed) { close(f.node.done) },
		"the client leaves": func(_ *fixture, s *streamed) { s.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.node.put("a", "1")
				for range MaxBatches {
					f.batches <- struct{}{}
				}
				s := f.stream(watch + "/?from_revision=0")
				assert.Empty(t, s.next())
				end(f, s)
				<-s.done
				s.stop()
				assert.Zero(t, f.node.hub.Len())
			})
		})
	}
}

// ids are the lines of a stream that move its position.
func ids(text string) (all []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "id: ") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}
