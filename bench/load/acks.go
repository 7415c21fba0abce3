package load

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// ackTime is how long a put of Acks may take.
	ackTime = 10 * time.Second
	// ackPause is how long a client does nothing after an error.
	ackPause = 5 * time.Millisecond
	// ackEvery is the time between two puts of each node that are sent whatever became of the ones before: clients that wait for what a dead
	// leader lost would hide that others could write again.
	ackEvery = 10 * time.Millisecond
	// ackMost is how many of these may be under way.
	ackMost = 2048
)

// Acks is clients that put while nodes are killed: an error is no operation, and no fault. What counts is how long there was no
// acknowledgment from anybody.
type Acks struct {
	ctx   context.Context // ends with Close
	end   context.CancelFunc
	group sync.WaitGroup
	http  *http.Client
	put   MakePut

	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	n       uint64
	wrong   error
}

// MakePut makes a put of a value that no other one has.
type MakePut func(ctx context.Context, addr string, key int, serial uint64) (*http.Request, error)

// NewAcks starts clients over HTTP, spread over the nodes, each of which stays at its node and waits for its answer, and a put now and
// then to each node by who does not wait.
func NewAcks(clients int, put MakePut, addrs ...string) *Acks {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Acks{
		ctx: ctx, end: cancel, put: put, last: time.Now(),
		http: &http.Client{Timeout: ackTime, Transport: &http.Transport{MaxIdleConnsPerHost: clients + 16}},
	}
	for i := range clients {
		a.group.Go(func() { a.client(i, addrs[i%len(addrs)]) })
	}
	for i, addr := range addrs {
		a.group.Go(func() { a.now(clients+i, addr) })
	}
	return a
}

func (a *Acks) client(key int, addr string) {
	for serial := uint64(1); a.ctx.Err() == nil; serial++ {
		if err := a.one(addr, key, serial); err != nil {
			select {
			case <-a.ctx.Done():
			case <-time.After(ackPause):
			}
		}
	}
}

func (a *Acks) now(key int, addr string) {
	ticker := time.NewTicker(ackEvery)
	defer ticker.Stop()
	under := make(chan struct{}, ackMost)
	for serial := uint64(1); ; serial++ {
		select {
		case <-a.ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case under <- struct{}{}:
			a.group.Go(func() {
				_ = a.one(addr, key, serial) // what is not acknowledged is a gap
				<-under
			})
		default:
		}
	}
}

// one is one put.
func (a *Acks) one(addr string, key int, serial uint64) error {
	req, err := a.put(a.ctx, addr, key, serial)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if numberAfter(text, `"revision"`) == 0 {
		a.wrong = fmt.Errorf("a put was answered by %.200q", text)
		return a.wrong
	}
	a.longest = max(a.longest, now.Sub(a.last))
	a.last = now
	a.n++
	return nil
}

// Begin forgets gaps that were.
func (a *Acks) Begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.longest = 0
}

// Longest is the longest time without an acknowledgment since Begin, how many there were in all, and what was wrong with an answer.
func (a *Acks) Longest() (time.Duration, uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(a.longest, time.Since(a.last)), a.n, a.wrong
}

// Close ends the clients.
func (a *Acks) Close() {
	a.end()
	a.group.Wait()
	a.http.CloseIdleConnections()
}

// PutConfman makes puts of Confman.
func PutConfman(v *Values) MakePut {
	return func(ctx context.Context, addr string, key int, serial uint64) (*http.Request, error) {
		url := "http://" + addr + ConfmanPath + string(AppendKey(nil, key))
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(v.Append(nil, key, serial)))
		if err == nil {
			req.Header.Set("Content-Type", "text/plain")
		}
		return req, err
	}
}

// PutEtcd is the same for etcd's gateway.
func PutEtcd(v *Values) MakePut {
	return func(ctx context.Context, addr string, key int, serial uint64) (*http.Request, error) {
		body, err := json.Marshal(map[string]string{
			"key":   base64.StdEncoding.EncodeToString(AppendKey(nil, key)),
			"value": string(v.AppendEncoded(nil, key, serial)),
		})
		if err != nil {
			return nil, err
		}
		return http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v3/kv/put", strings.NewReader(string(body)))
	}
}
