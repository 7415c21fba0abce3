package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/config"
)

// TestE2EQuota fills the stores of a cluster: what would make them larger is refused at each node,
// what does not is taken, and what is deleted makes room for more.
func TestE2EQuota(t *testing.T) {
	f := newFleet(t, 3)
	f.edit("Data", "StoreQuotaBytes", config.MinStoreQuotaBytes)
	f.edit("History", "KeepVersions", 1)
	f.start(f.nodes...)
	f.await(f.nodes...)
	value := strings.Repeat("v", 256<<10)
	path := func(i int) string { return fmt.Sprintf("%sfill/%d", configPath, i) }

	// Two versions of each, of which one goes when the key does.
	n := 0
	fill := func(nodes ...*proc) (refused reply) {
		for ; refused.status != http.StatusInsufficientStorage; n++ {
			require.Less(t, n, 1000, "the quota is never reached")
			p := nodes[n%len(nodes)]
			refused = f.ask(p, http.MethodPut, path(n), value)
			if refused.status == http.StatusCreated {
				refused = f.ask(p, http.MethodPut, path(n), value+"2")
			}
		}
		return refused
	}
	fill(f.nodes...)
	t.Logf("%d keys of twice 256 KiB were taken", n-1)
	assert.Greater(t, n, 20)
	f.converge()
	tree := filepath.Join(t.TempDir(), "more.json")
	require.NoError(t, os.WriteFile(tree, []byte(`{"more":"`+value+`"}`), 0o600))
	// Old versions go when it is time to: that may make room for a while.
	f.until(readyWait, "an import is refused", func() bool {
		fill(f.nodes...)
		r := f.confman("import", "imported", tree)
		return r.code != 0 && strings.Contains(r.err, "(quota)")
	})
	for _, p := range f.nodes {
		problem := fill(p).problem(t)
		assert.Equal(t, "quota", problem.Type)
		assert.Equal(t, "not_applied", problem.Outcome)
		a := f.ask(p, http.MethodGet, path(0)+"?consistency=linearizable", "", "Accept", "application/octet-stream")
		require.Equal(t, http.StatusOK, a.status, a.body)
		same := a.body == value+"2" // require.Equal would print it
		require.True(t, same)
	}

	a := f.ask(f.nodes[1], http.MethodDelete, configPath+"fill/?recursive=true", "")
	require.Equal(t, http.StatusOK, a.status, a.body)
	f.until(readyWait, "the log says so", func() bool { return strings.Contains(f.nodes[1].output(), "the store has reached its quota") })
	f.until(readyWait, "what was deleted makes room at all nodes", func() bool {
		for _, p := range f.nodes {
			if a := f.ask(p, http.MethodPut, configPath+"more", value); a.status >= 300 {
				return false
			}
		}
		return true
	})
	assert.Equal(t, http.StatusNotFound, f.ask(f.nodes[2], http.MethodGet, path(0)+"?consistency=linearizable", "").status)
}

// TestE2EFloor: nodes whose disks are below their floor form a cluster, serve reads and refuse
// writes; with another floor they take them.
func TestE2EFloor(t *testing.T) {
	f := newFleet(t, 3)
	f.edit("Data", "MinFreeBytes", config.MaxMinFreeBytes) // no disk has as much
	f.start(f.nodes...)
	f.await(f.nodes...)
	for _, p := range f.nodes {
		a := f.ask(p, http.MethodPut, configPath+"a", "1")
		require.Equal(t, http.StatusInsufficientStorage, a.status, a.body)
		assert.Equal(t, "storage-full", a.problem(t).Type)
		assert.Equal(t, "not_applied", a.problem(t).Outcome)
		assert.Equal(t, http.StatusNotFound, f.ask(p, http.MethodGet, configPath+"a?consistency=linearizable", "").status)
	}
	// A follower with room is refused by a leader without.
	leader := f.leader()
	follower := f.others(leader)[0]
	f.edit("Data", "MinFreeBytes", 0)
	f.stop(follower)
	f.start(follower)
	f.await(follower)
	require.Equal(t, leader, f.leader())
	assert.Equal(t, "storage-full", f.ask(follower, http.MethodPut, configPath+"a", "1").problem(t).Type)

	rest := f.others(follower)
	f.stop(rest...)
	f.start(rest...)
	f.await(f.nodes...)
	for _, p := range f.nodes {
		f.until(readyWait, "writes are taken", func() bool { return f.ask(p, http.MethodPut, configPath+"a", "1").status < 300 })
	}
}

// TestE2ERates: a caller who writes too often is told when to come again, and a client of ours
// waits as long.
func TestE2ERates(t *testing.T) {
	f := newFleet(t, 1)
	f.edit("Limits", "WritesPerSecond", 1)
	f.edit("Limits", "WriteBurst", 2)
	f.start(f.nodes...)
	f.await(f.nodes...)
	p := f.nodes[0]
	var a reply
	for range 3 {
		a = f.ask(p, http.MethodPut, configPath+"a", "1")
	}
	require.Equal(t, http.StatusTooManyRequests, a.status, a.body)
	assert.Equal(t, "rate-limited", a.problem(t).Type)
	assert.Equal(t, "1", a.header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, f.ask(p, http.MethodGet, configPath+"a", "").status)
	for i := range 3 {
		r := f.confman("put", "a", strconv.Itoa(i))
		require.Zero(t, r.code, r.err)
	}
	assert.Equal(t, "2", strings.TrimSpace(f.ask(p, http.MethodGet, configPath+"a", "", "Accept", "text/plain").body))
}

const (
	// tightMemory is GOMEMLIMIT of a node that takes memoryKeys values of memoryValue bytes, and may
	// be exceeded by memorySlack MiB: by stacks of threads, and what the runtime has not returned yet.
	tightMemory = 96
	memorySlack = 48
	memoryKeys  = 768
	memoryValue = 256 << 10
)

// TestE2EMemory: under a limit of its memory a node takes far more than that, while others read, and
// stays close to the limit.
func TestE2EMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 192 MiB; make e2e runs it")
	}
	t.Setenv("GOMEMLIMIT", fmt.Sprintf("%dMiB", tightMemory))
	f := up(t, 1)
	p := f.nodes[0]
	assert.Contains(t, p.output(), "by=GOMEMLIMIT")
	of := func(i int) string { return strings.Repeat(fmt.Sprintf("%08d", i), memoryValue/8) }
	key := func(i int) string { return fmt.Sprintf("%sm/%04d", configPath, i) }

	var (
		writers, readers sync.WaitGroup
		next, written    atomic.Int64
		failed           atomic.Pointer[string]
	)
	fail := func(format string, args ...any) {
		why := fmt.Sprintf(format, args...)
		failed.CompareAndSwap(nil, &why)
	}
	for range 8 {
		writers.Go(func() {
			for i := int(next.Add(1)) - 1; i < memoryKeys && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				a, err := f.send(http.MethodPut, p.url()+key(i), of(i))
				if err != nil || a.status != http.StatusCreated {
					fail("PUT %d: %d %v", i, a.status, err)
					return
				}
				written.Add(1)
			}
		})
	}
	done := make(chan struct{})
	for r := range 4 {
		readers.Go(func() {
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				a, err := f.send(http.MethodGet, p.url()+"/api/v1/config/m/?recursive=true&limit=20", "")
				if err != nil || a.status != http.StatusOK && a.status != http.StatusNotFound || !json.Valid([]byte(a.body)) {
					fail("GET: %d %v", a.status, err)
					return
				}
			}
		})
	}
	most, ticker, over := 0.0, time.NewTicker(pollEvery), make(chan struct{})
	defer ticker.Stop()
	go func() { writers.Wait(); close(over) }()
	for running := true; running; {
		most = max(most, memory(t, p, "RssAnon"))
		select {
		case <-over:
			running = false
		case <-ticker.C:
		}
	}
	close(done)
	readers.Wait()
	if why := failed.Load(); why != nil {
		require.Fail(t, "under a limit of memory", *why)
	}
	require.EqualValues(t, memoryKeys, written.Load())
	for i := range memoryKeys {
		a := f.ask(p, http.MethodGet, key(i), "", "Accept", "application/octet-stream")
		require.Equal(t, http.StatusOK, a.status, a.body)
		same := a.body == of(i) // require.Equal would print it
		require.True(t, same, "key %d", i)
		if i%50 == 0 {
			most = max(most, memory(t, p, "RssAnon"))
		}
	}
	t.Logf("at most %.0f MiB were its own, of %d", most, tightMemory)
	assert.Less(t, most, float64(tightMemory+memorySlack))
}
