package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// What the load does, each kind by several at once.
const (
	boundedRead      = "bounded read"
	linearizableRead = "linearizable read"
	singleWrite      = "write, sent once"
	repeatedWrite    = "write, repeated by its client"
)

var kinds = []string{boundedRead, linearizableRead, singleWrite, repeatedWrite}

const (
	// readers is how many read bounded; half as many do each of the other kinds.
	readers = 4
	// loadEvery is how often each reader and each writer asks at most.
	loadEvery = 10 * time.Millisecond
	// loadTimeout bounds a read: far more than any answer takes.
	loadTimeout = 60 * time.Second
	// staleBound is the bound of a bounded read that names none.
	staleBound = 5 * time.Second

	loadKey   = "load/read"
	loadValue = `{"limit": 30}`
)

// proxyLoad reads and writes through a proxy, counts what fails, and finds out what is not true.
type proxyLoad struct {
	p     *proxy
	once  *client.Client // each write is sent once
	again *client.Client
	stop  chan struct{}
	all   sync.WaitGroup

	// gate is read-locked by requests under way: they begin and end in one phase.
	gate  sync.RWMutex
	phase *loadPhase

	mu    sync.Mutex
	acks  []ack
	fates map[string]client.Outcome // of the keys that were written; "": acknowledged
	cut   time.Time                 // when the quorum was lost; zero: it was not
	late  int                       // reads refused that were asked when the bound had passed since
	wrong []string                  // what must never be
}

// ack is when a write was acknowledged, and the greatest revision acknowledged by then.
type ack struct {
	at       time.Time
	revision uint64
}

// loadPhase is what the load met while one thing happened.
type loadPhase struct {
	name string

	mu      sync.Mutex
	tallies map[string]*tally
}

// tally counts requests of one kind.
type tally struct {
	done, failed int
	slowest      time.Duration
	why          map[string]int
}

func newProxyLoad(p *proxy) *proxyLoad {
	tb := p.f.tb
	tb.Helper()
	l := &proxyLoad{p: p, stop: make(chan struct{}), fates: map[string]client.Outcome{}, phase: &loadPhase{tallies: map[string]*tally{}}}
	var err error
	l.once, err = client.New(client.Options{Endpoints: []string{p.url()}, MaxAttempts: 1})
	require.NoError(tb, err)
	l.again, err = client.New(client.Options{Endpoints: []string{p.url()}})
	require.NoError(tb, err)
	w, _, err := l.again.Put(tb.Context(), loadKey, []byte(loadValue), "", client.WriteOptions{})
	require.NoError(tb, err)
	p.f.converge() // a bounded read may be older than the write
	l.acknowledged(w.Revision)
	for range readers {
		l.read(boundedRead, "")
	}
	for i := range readers / 2 {
		l.read(linearizableRead, "?consistency=linearizable")
		l.write(singleWrite, l.once, fmt.Sprintf("load/once/%d", i))
		l.write(repeatedWrite, l.again, fmt.Sprintf("load/again/%d", i))
	}
	tb.Cleanup(l.end)
	return l
}

// end ends the load; more than once does no harm.
func (l *proxyLoad) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.all.Wait()
}

// enter begins a phase: what is under way belongs to the one before.
func (l *proxyLoad) enter(name string) *loadPhase {
	l.gate.Lock()
	defer l.gate.Unlock()
	l.phase = &loadPhase{name: name, tallies: map[string]*tally{}}
	return l.phase
}

// repeat calls do, at most once in loadEvery, until the end.
func (l *proxyLoad) repeat(do func(phase *loadPhase)) {
	l.all.Go(func() {
		pace := time.NewTicker(loadEvery)
		defer pace.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-pace.C:
			}
			l.gate.RLock()
			do(l.phase)
			l.gate.RUnlock()
		}
	})
}

// plainReader is one connection of a client that repeats nothing, not even what net/http would.
type plainReader struct {
	conn net.Conn
	in   *bufio.Reader
}

func (r *plainReader) get(addr, path string) (reply, error) {
	if r.conn == nil {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return reply{}, err
		}
		r.conn, r.in = conn, bufio.NewReader(conn)
	}
	a, last, err := r.exchange(path)
	if err != nil || last {
		_ = r.conn.Close() // all that it gives was read
		r.conn = nil
	}
	return a, err
}

func (r *plainReader) exchange(path string) (a reply, last bool, err error) {
	if err := r.conn.SetDeadline(time.Now().Add(loadTimeout)); err != nil {
		return a, true, err
	}
	if _, err := fmt.Fprintf(r.conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n", path); err != nil {
		return a, true, err
	}
	resp, err := http.ReadResponse(r.in, nil)
	if err != nil {
		return a, true, err
	}
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, resp.Close, errors.Join(err, resp.Body.Close())
}

func (l *proxyLoad) read(kind, query string) {
	r := &plainReader{}
	l.repeat(func(phase *loadPhase) {
		asked := time.Now()
		a, err := r.get(l.p.addr, configPath+loadKey+query)
		why := ""
		switch {
		case err != nil:
			why = reason(err)
		case a.status != http.StatusOK:
			why = refusal(a)
		}
		phase.count(kind, asked, why)
		l.judgeRead(kind, asked, a, why)
	})
}

// reason is an error without the addresses that make each one of its own.
func reason(err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return err.Error()
}

// refusal is what a refused read was told.
func refusal(a reply) string {
	p := &client.Problem{}
	_ = json.Unmarshal([]byte(a.body), p) // what is none shows
	p.Status = a.status
	return toldBy(p)
}

// toldBy is a problem's name, or what HAProxy calls its own.
func toldBy(p *client.Problem) string {
	switch p.Name() {
	case "":
		return fmt.Sprintf("%d without a problem", p.Status)
	case "about:blank":
		return fmt.Sprintf("%d of HAProxy: %s", p.Status, p.Title)
	}
	return fmt.Sprintf("%d %s", p.Status, p.Name())
}

// judgeRead compares what a read was told with what had been acknowledged when it was asked.
func (l *proxyLoad) judgeRead(kind string, asked time.Time, a reply, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	outlived := !l.cut.IsZero() && asked.After(l.cut.Add(staleBound))
	if why != "" {
		if outlived {
			l.late++
		}
		return
	}
	if a.body != loadValue {
		l.wrongf("%s: the value is %q", kind, a.body)
	}
	var age time.Duration
	if kind == boundedRead {
		seconds, err := strconv.ParseFloat(a.header.Get("Confman-Staleness"), 64)
		age = time.Duration(seconds * float64(time.Second))
		if err != nil || age > staleBound {
			l.wrongf("a bounded read was answered with staleness %q", a.header.Get("Confman-Staleness"))
		}
	}
	revision, err := strconv.ParseUint(a.header.Get("Confman-Revision"), 10, 64)
	if least := l.before(asked.Add(-age)); err != nil || revision < least {
		l.wrongf("%s: revision %d, at most %v old, but %d had been acknowledged", kind, revision, age, least)
	}
	if outlived || !l.cut.IsZero() && kind == linearizableRead && asked.After(l.cut) {
		l.wrongf("%s: answered, and asked %v after the quorum was lost", kind, asked.Sub(l.cut))
	}
}

// before is the greatest revision that was acknowledged before at.
func (l *proxyLoad) before(at time.Time) uint64 {
	i, _ := slices.BinarySearchFunc(l.acks, at, func(a ack, at time.Time) int {
		if a.at.Before(at) {
			return -1
		}
		return 1
	})
	if i == 0 {
		return 0
	}
	return l.acks[i-1].revision
}

// wrongf notes what must never be; with mu.
func (l *proxyLoad) wrongf(format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

func (l *proxyLoad) acknowledged(revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.acks); n > 0 {
		revision = max(revision, l.acks[n-1].revision)
	}
	l.acks = append(l.acks, ack{time.Now(), revision})
}

// write puts a new key below prefix each time.
func (l *proxyLoad) write(kind string, c *client.Client, prefix string) {
	n := 0
	l.repeat(func(phase *loadPhase) {
		n++
		key := fmt.Sprintf("%s/%d", prefix, n)
		asked := time.Now()
		w, _, err := c.Put(context.Background(), key, []byte(key), "", client.WriteOptions{})
		if err == nil {
			l.acknowledged(w.Revision)
		}
		outcome, why := client.Outcome(""), ""
		if err != nil {
			outcome = client.OutcomeOf(err)
			why = cmp.Or(string(outcome), "no outcome") + ": " + reasonOfWrite(err)
		}
		phase.count(kind, asked, why)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fates[key] = outcome
		if err != nil && outcome != client.NotApplied && outcome != client.Unknown {
			l.wrongf("a write failed without an outcome: %v", err)
		}
		if err == nil && !l.cut.IsZero() && asked.After(l.cut) {
			l.wrongf("a write was acknowledged that was sent when the quorum was lost")
		}
	})
}

func reasonOfWrite(err error) string {
	var p *client.Problem
	if errors.As(err, &p) {
		return toldBy(p)
	}
	return reason(err)
}

// count counts a request; why is "" if it was done.
func (ph *loadPhase) count(kind string, asked time.Time, why string) {
	took := time.Since(asked)
	ph.mu.Lock()
	defer ph.mu.Unlock()
	t := ph.tallies[kind]
	if t == nil {
		t = &tally{why: map[string]int{}}
		ph.tallies[kind] = t
	}
	t.slowest = max(t.slowest, took)
	if why == "" {
		t.done++
		return
	}
	t.failed++
	t.why[why]++
}

// of is the tally of kind.
func (ph *loadPhase) of(kind string) tally {
	ph.mu.Lock()
	defer ph.mu.Unlock()
	if t := ph.tallies[kind]; t != nil {
		return tally{t.done, t.failed, t.slowest, maps.Clone(t.why)}
	}
	return tally{}
}

// busy waits until n more requests of each kind were done.
func (l *proxyLoad) busy(ph *loadPhase, n int) {
	l.p.f.tb.Helper()
	var had []int
	for _, kind := range kinds {
		had = append(had, ph.of(kind).done)
	}
	l.p.f.until(readyWait, "there is load: "+ph.name, func() bool {
		for i, kind := range kinds {
			if ph.of(kind).done < had[i]+n {
				return false
			}
		}
		return true
	})
}

// lose notes that there is no quorum from now on; regain that there may be one.
func (l *proxyLoad) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.late = time.Now(), 0
}

func (l *proxyLoad) regain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = time.Time{}
}

// refusedLate counts the reads that were asked when the bound had passed since the quorum was lost,
// and refused.
func (l *proxyLoad) refusedLate() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.late
}

// report is what each phase met, in Markdown.
func report(phases []*loadPhase) string {
	var b strings.Builder
	b.WriteString("| what happens | request | done | failed | slowest | why |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, ph := range phases {
		for _, kind := range kinds {
			t := ph.of(kind)
			var why []string
			for _, w := range slices.Sorted(maps.Keys(t.why)) {
				why = append(why, fmt.Sprintf("%d × %s", t.why[w], w))
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %d | %.2f s | %s |\n", ph.name, kind, t.done, t.failed, t.slowest.Seconds(), strings.Join(why, ", "))
		}
	}
	return b.String()
}

// watched is what a watch through the proxy gives, over all that happens.
type watched struct {
	mu   sync.Mutex
	seen map[string]int // how often each key was put
	last uint64
	err  error
	bad  []string
}

// watch watches what the load writes until the test ends.
func (l *proxyLoad) watch(tb testing.TB) *watched {
	tb.Helper()
	w := &watched{seen: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	tb.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for change, err := range l.again.Watch(ctx, "load/", client.WatchOptions{FromStart: true}) {
			w.take(change, err)
		}
	}()
	return w
}

func (w *watched) take(change client.Change, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	if change.Revision <= w.last {
		w.bad = append(w.bad, fmt.Sprintf("revision %d after %d", change.Revision, w.last))
	}
	w.last = change.Revision
	for _, e := range change.Events {
		w.seen[e.Path]++
	}
}

// reached waits until the watch has given revision.
func (w *watched) reached(f *fleet, revision uint64) {
	f.tb.Helper()
	f.until(readyWait, "the watch has given all changes", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		require.NoError(f.tb, w.err)
		return w.last >= revision
	})
}
