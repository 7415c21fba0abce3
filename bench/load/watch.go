package load

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confman/confman/bench/lane"
)

// Watch is many watchers of one key, spread over the nodes.
type Watch interface {
	// Put puts a new value, and returns how long it took until the last watcher had been told of it: each once.
	Put() (time.Duration, error)
	Close() error
}

// watchedKey is the key.
const watchedKey = 0

// streamWatch is watchers by streams over HTTP.
type streamWatch struct {
	*lane.Streams
	values *Values
	n      int
	serial uint64
	seen   []uint64 // by each watcher
	mark   func(serial uint64) []byte
	ask    func(serial uint64) []byte
}

// open opens the streams; established is in the event that says that a watch has begun.
func (w *streamWatch) open(request, ending []byte, established string, addrs ...string) (_ Watch, err error) {
	if w.Streams, err = lane.OpenStreams(w.n, request, ending, addrs...); err != nil {
		return nil, err
	}
	w.seen = make([]uint64, w.n)
	_, err = w.Await(nil, nil, w.n, func(_ int, event []byte) (bool, error) { return bytes.Contains(event, []byte(established)), nil })
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Put is Watch's.
func (w *streamWatch) Put() (time.Duration, error) {
	w.serial++
	mark := w.mark(w.serial)
	return w.Await(w.ask(w.serial), func(a *lane.Answer) error {
		if a.Status != 200 && a.Status != 201 || numberAfter(a.Body, `"revision"`) == 0 {
			return refused(a)
		}
		return nil
	}, w.n, func(i int, event []byte) (bool, error) {
		if !bytes.Contains(event, mark) {
			return false, nil // a heartbeat
		}
		if w.seen[i] == w.serial {
			return false, fmt.Errorf("watcher %d was told twice of %d", i, w.serial)
		}
		w.seen[i] = w.serial
		return true, nil
	})
}

// WatchConfman has n watchers over server-sent events.
func WatchConfman(n int, v *Values, addrs ...string) (Watch, error) {
	key := string(AppendKey(nil, watchedKey))
	w := &streamWatch{values: v, n: n}
	w.mark = func(serial uint64) []byte { return v.Append(nil, watchedKey, serial)[:MinValue] }
	w.ask = func(serial uint64) []byte {
		return newRequest("PUT", ConfmanPath+key, "Content-Type: text/plain\r\n", v.Append(nil, watchedKey, serial)).text
	}
	// The first heartbeat comes at once, and has an id.
	return w.open(newRequest("GET", "/api/v1/watch/"+key, "Accept: text/event-stream\r\n", nil).text, []byte("\n\n"), "id", addrs...)
}

// WatchEtcdHTTP has n watchers over etcd's gateway.
func WatchEtcdHTTP(n int, v *Values, addrs ...string) (Watch, error) {
	key := base64.StdEncoding.EncodeToString(AppendKey(nil, watchedKey))
	w := &streamWatch{values: v, n: n}
	w.mark = func(serial uint64) []byte {
		return v.AppendEncoded(nil, watchedKey, serial)[:base64.StdEncoding.EncodedLen(varying)]
	}
	const header = "Content-Type: application/json\r\n"
	w.ask = func(serial uint64) []byte {
		body := fmt.Appendf(nil, `{"key":"%s","value":"%s"}`, key, v.AppendEncoded(nil, watchedKey, serial))
		return newRequest("POST", "/v3/kv/put", header, body).text
	}
	body := fmt.Appendf(nil, `{"create_request":{"key":"%s"}}`, key)
	return w.open(newRequest("POST", "/v3/watch", header, body).text, []byte("\n"), `"created"`, addrs...)
}

// grpcWatch is watchers by etcd's own client: one of that for each node, which has all watches of it share a stream.
type grpcWatch struct {
	values  *Values
	n       int
	serial  uint64
	clients []*clientv3.Client
	end     context.CancelFunc
	want    atomic.Pointer[string] // the value that is being told of
	told    atomic.Int64
	last    chan time.Time
	failed  chan error
}

// WatchEtcdGRPC has n watchers by gRPC.
func WatchEtcdGRPC(n int, v *Values, addrs ...string) (_ Watch, err error) {
	w := &grpcWatch{values: v, n: n, last: make(chan time.Time, 1), failed: make(chan error, n)}
	ctx, end := context.WithCancel(context.Background())
	w.end = end
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for _, addr := range addrs {
		c, err := DialEtcd(addr)
		if err != nil {
			return nil, err
		}
		w.clients = append(w.clients, c)
	}
	begun := make(chan struct{}, n)
	for i := range n {
		events := w.clients[i%len(w.clients)].Watch(ctx, string(AppendKey(nil, watchedKey)), clientv3.WithCreatedNotify())
		go w.watch(i, events, begun)
	}
	deadline := time.NewTimer(lane.Patience)
	defer deadline.Stop()
	for range n {
		select {
		case <-begun:
		case err := <-w.failed:
			return nil, err
		case <-deadline.C:
			return nil, fmt.Errorf("%d watches did not begin within %s", n, lane.Patience)
		}
	}
	return w, nil
}

func (w *grpcWatch) watch(i int, events clientv3.WatchChan, begun chan<- struct{}) {
	var seen string
	for r := range events {
		switch {
		case r.Err() != nil:
			w.failed <- fmt.Errorf("watcher %d: %w", i, r.Err())
			return
		case r.Created:
			begun <- struct{}{}
		}
		for _, e := range r.Events {
			want := w.want.Load()
			if want == nil || string(e.Kv.Value) != *want || seen == *want {
				w.failed <- fmt.Errorf("watcher %d: an event that is not due: %.40q", i, e.Kv.Value)
				return
			}
			seen = *want
			if w.told.Add(1) == int64(w.n) {
				w.last <- time.Now()
			}
		}
	}
}

// Put is Watch's.
func (w *grpcWatch) Put() (time.Duration, error) {
	w.serial++
	value := string(w.values.Append(nil, watchedKey, w.serial))
	w.told.Store(0)
	w.want.Store(&value)
	ctx, cancel := context.WithTimeout(context.Background(), lane.Patience)
	defer cancel()
	start := time.Now()
	if _, err := w.clients[0].Put(ctx, string(AppendKey(nil, watchedKey)), strings.Clone(value)); err != nil {
		return 0, err
	}
	select {
	case end := <-w.last:
		return end.Sub(start), nil
	case err := <-w.failed:
		return 0, err
	case <-ctx.Done():
		return 0, fmt.Errorf("%d of %d watchers were told within %s", w.told.Load(), w.n, lane.Patience)
	}
}

// Close is Watch's.
func (w *grpcWatch) Close() error {
	w.end()
	var err error
	for _, c := range w.clients {
		err = errors.Join(err, c.Close())
	}
	return err
}
