package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

const (
	// testDrain is Api.DrainDelay: HAProxy notices within 2 s (inter 1s, fastinter 250ms, fall 2).
	testDrain = "3s"
	// someLoad is how many requests of each kind make a load.
	someLoad = 50
)

// TestE2EHAProxy puts HAProxy, configured as deploy/haproxy has it, before three nodes under load, and
// does to them what happens in years: restarts in order, crashes, and the loss of the quorum. It counts
// what clients notice.
func TestE2EHAProxy(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute, and a package of Debian; make e2e runs it")
	}
	f := newFleet(t, 3)
	f.edit("Api", "DrainDelay", testDrain)
	f.start(f.nodes...)
	f.await(f.nodes...)
	p := newProxy(f)
	l := newProxyLoad(p)
	w := l.watch(t)
	var phases []*loadPhase
	enter := func(format string, args ...any) *loadPhase {
		phases = append(phases, l.enter(fmt.Sprintf(format, args...)))
		return phases[len(phases)-1]
	}
	defer func() { t.Logf("through HAProxy:\n%s", report(phases)) }()

	calm := enter("nothing")
	l.busy(calm, 2*someLoad)
	poll := make(chan error, 1)
	go func() { poll <- longPoll(t.Context(), p) }()

	var restarts []*loadPhase
	for _, n := range f.nodes {
		ph := enter("%s, which %s, is restarted with a drain", n.name, does(f, n))
		restarts = append(restarts, ph)
		l.busy(ph, someLoad)
		before := p.seen()
		f.stop(n)
		f.until(readyWait, "HAProxy has noticed", func() bool { return p.down(n) })
		l.busy(ph, someLoad)
		f.start(n)
		f.await(n)
		f.until(readyWait, "HAProxy has found the node again", func() bool { return p.up(f.nodes...) })
		l.busy(ph, someLoad)
		fell := p.fell(before)
		assert.Contains(t, fell[n.name], "code: 503", "%s served until HAProxy had noticed", n.name)
		assert.Len(t, fell, 1, "an election turns no node away: %v", fell)
	}
	require.NoError(t, <-poll, "a long-poll is not cut short")

	leader := f.leader()
	var crashes []*loadPhase
	for _, n := range []*proc{f.others(leader)[0], leader} {
		ph := enter("%s, which %s, is killed", n.name, does(f, n))
		crashes = append(crashes, ph)
		l.busy(ph, someLoad)
		before := p.seen()
		f.kill(n)
		f.until(readyWait, "HAProxy has noticed", func() bool { return p.down(n) })
		l.busy(ph, someLoad)
		failed := ph.of(boundedRead).failed
		l.busy(ph, someLoad)
		assert.Equal(t, failed, ph.of(boundedRead).failed, "none fails once HAProxy has noticed: %s", ph.name)
		assert.Len(t, p.fell(before), 1, "an election turns no node away: %v", p.fell(before))
		f.start(n)
		f.await(n)
		f.until(readyWait, "HAProxy has found the node again", func() bool { return p.up(f.nodes...) })
	}

	leader = f.leader()
	frozen, left := f.others(leader)[0], f.others(leader)[1]
	still := enter("%s, which follows, stands still", frozen.name)
	l.busy(still, someLoad)
	require.NoError(t, frozen.signal(syscall.SIGSTOP))
	f.until(readyWait, "HAProxy has noticed", func() bool { return p.down(frozen) })
	l.busy(enter("it still does"), someLoad)
	enter("%s, which leads, does too: the quorum is lost", leader.name)
	require.NoError(t, leader.signal(syscall.SIGSTOP))
	f.until(readyWait, "the leader stands still", func() bool { return stands(leader) })
	l.lose()
	f.until(readyWait, "the node that is left says that it is not ready", func() bool {
		return f.ask(left, http.MethodGet, "/health/ready", "").status == http.StatusServiceUnavailable
	})
	f.until(readyWait, "HAProxy has noticed", func() bool { return p.down(f.nodes...) })
	a := p.ask(http.MethodGet, configPath+loadKey)
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.True(t, ofProxy(a.header), "HAProxy asks no node: %v", a.header)
	f.until(readyWait, "reads were refused after the bound", func() bool { return l.refusedLate() >= someLoad })
	l.regain()
	for _, n := range []*proc{frozen, leader} {
		require.NoError(t, n.signal(syscall.SIGCONT))
	}
	f.await(f.nodes...)
	f.until(readyWait, "HAProxy has found all nodes again", func() bool { return p.up(f.nodes...) })
	healed := enter("they go on")
	l.busy(healed, 2*someLoad)
	l.end()

	// Nothing fails that is a read, or repeated by its client.
	for _, ph := range append(restarts, calm, still) {
		for _, kind := range []string{boundedRead, linearizableRead, repeatedWrite} {
			assert.Zero(t, ph.of(kind).failed, "%s: %s: %v", ph.name, kind, ph.of(kind).why)
		}
	}
	assert.Zero(t, calm.of(singleWrite).failed, "%v", calm.of(singleWrite).why)
	for _, ph := range crashes {
		assert.LessOrEqual(t, ph.of(boundedRead).failed, readers, "%s: only what is under way can fail: %v", ph.name, ph.of(boundedRead).why)
		assert.Zero(t, ph.of(repeatedWrite).failed, "%s: %v", ph.name, ph.of(repeatedWrite).why)
	}
	assert.Empty(t, l.wrong[:min(len(l.wrong), 10)], "what must never be: %d times", len(l.wrong))
	l.settled(w)
	f.converge()
}

// longPoll waits through the proxy for a change that does not come, for longer than other reads take at
// most. A node that stops sends it to another one, which HAProxy asks if that happens no more than twice.
func longPoll(ctx context.Context, p *proxy) error {
	const wait = 12 * time.Second
	for {
		began := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url()+"/api/v1/watch/quiet/?wait="+wait.String(), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		err = errors.Join(err, resp.Body.Close())
		took := time.Since(began)
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(text), "problem:stopping"):
		case resp.StatusCode != http.StatusOK || took < wait:
			return fmt.Errorf("after %v: %d %s", took, resp.StatusCode, text)
		default:
			return nil
		}
	}
}

// does is what a node is in the cluster.
func does(f *fleet, n *proc) string {
	if f.leader() == n {
		return "leads"
	}
	return "follows"
}

// stands tells whether the process of a node was stopped by a signal.
func stands(n *proc) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	_, state, found := strings.Cut(string(stat), ") ")
	return err == nil && found && strings.HasPrefix(state, "T")
}

// settled compares what became of the writes with what their writers were told, and with what the
// watch gave.
func (l *proxyLoad) settled(w *watched) {
	f := l.p.f
	f.tb.Helper()
	there := map[string]bool{}
	for item, err := range l.again.List(f.tb.Context(), "load/", client.ListOptions{
		Recursive: true, ReadOptions: client.ReadOptions{Consistency: client.Linearizable},
	}) {
		require.NoError(f.tb, err)
		there[item.Path] = true
	}
	w.reached(f, l.acks[len(l.acks)-1].revision)
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Empty(f.tb, w.bad, "the watch gives each change once, in order")
	count := map[string]int{}
	for key, outcome := range l.fates {
		switch outcome {
		case "":
			count["acknowledged"]++
			assert.True(f.tb, there[key], "%s is lost", key)
			assert.Equal(f.tb, 1, w.seen[key], "how often the watch gave %s", key)
		case client.NotApplied:
			count[string(outcome)]++
			assert.False(f.tb, there[key], "%s was not to be applied", key)
		default:
			count[string(outcome)]++
		}
	}
	f.tb.Logf("what became of the writes: %v", count)
}
