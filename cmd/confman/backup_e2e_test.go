package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// written is what a writer was told that it did: value "" is a delete.
type written struct {
	revision   uint64
	key, value string
}

// writers write to all nodes until they are told to stop, and record what was acknowledged.
type writers struct {
	f    *fleet
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	acks []written
}

func (f *fleet) write(n int) *writers {
	w := &writers{f: f, stop: make(chan struct{})}
	for i := range n {
		w.done.Go(func() { w.run(i) })
	}
	return w
}

func (w *writers) run(id int) {
	rnd := rand.New(rand.NewPCG(1, uint64(id)))
	for i := 0; ; i++ {
		select {
		case <-w.stop:
			return
		default:
		}
		key := fmt.Sprintf("load/w%d/k%d", id, rnd.IntN(12)) // its own: what is there is known
		p := w.f.nodes[rnd.IntN(len(w.f.nodes))]
		method, value := http.MethodPut, strconv.Quote(fmt.Sprintf("%d.%d", id, i))
		if rnd.IntN(4) == 0 {
			method, value = http.MethodDelete, ""
		}
		a, err := w.f.send(method, p.url()+configPath+key, value, "Content-Type", "application/json")
		if err != nil || a.status >= 300 && a.status != http.StatusNotFound {
			return // the cluster is going down
		}
		revision, err := strconv.ParseUint(a.header.Get("Confman-Revision"), 10, 64)
		changed := a.status < 300 && !strings.Contains(a.body, `"changed":false`)
		if err == nil && changed {
			w.mu.Lock()
			w.acks = append(w.acks, written{revision, key, value})
			w.mu.Unlock()
		}
	}
}

// acknowledged is the newest revision that was.
func (w *writers) acknowledged() (newest uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.acks {
		newest = max(newest, a.revision)
	}
	return newest
}

// end stops the writers; what they did, by revision.
func (w *writers) end(t *testing.T) map[uint64]written {
	close(w.stop)
	w.done.Wait()
	all := map[uint64]written{}
	for _, a := range w.acks {
		require.NotContains(t, all, a.revision, "two writes at one revision")
		all[a.revision] = a
	}
	return all
}

// asOf is what there was at a revision.
func asOf(t *testing.T, all map[uint64]written, revision uint64) map[string]string {
	keys := map[string]string{}
	for r := uint64(1); r <= revision; r++ {
		w, ok := all[r]
		require.True(t, ok, "nobody was told of revision %d", r)
		if keys[w.key] = w.value; w.value == "" {
			delete(keys, w.key)
		}
	}
	return keys
}

// requireState compares all keys at a revision, "" for the newest.
func (f *fleet) requireState(t *testing.T, p *proc, revision string, want map[string]string) {
	query := "?format=ndjson"
	if revision != "" {
		query += "&revision=" + revision
	}
	a := f.ask(p, http.MethodGet, "/api/v1/export/"+query, "")
	require.Equal(t, http.StatusOK, a.status, a.body)
	got := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(a.body)); lines.Scan(); {
		var rec struct {
			Path  string
			Value json.RawMessage
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &rec))
		got[rec.Path] = string(rec.Value)
	}
	require.Equal(t, want, got, "at revision %q", revision)
}

// requireHistory compares what happened to each key up to a revision, newest first.
func (f *fleet) requireHistory(t *testing.T, p *proc, all map[uint64]written, upTo uint64) {
	want := map[string][]string{}
	for _, r := range slices.Sorted(maps.Keys(all)) {
		if w := all[r]; r <= upTo {
			what := "put " + w.value
			if w.value == "" {
				what = "delete "
			}
			want[w.key] = append([]string{fmt.Sprint(r, " ", what)}, want[w.key]...)
		}
	}
	require.NotEmpty(t, want)
	for key, events := range want {
		a := f.ask(p, http.MethodGet, "/api/v1/history/"+key+"?limit=10000", "")
		require.Equal(t, http.StatusOK, a.status, a.body)
		var page struct {
			Items []struct {
				Revision uint64
				Action   string
				Value    json.RawMessage
			}
		}
		require.NoError(t, json.Unmarshal([]byte(a.body), &page))
		var got []string
		for _, item := range page.Items {
			got = append(got, fmt.Sprint(item.Revision, " ", item.Action, " ", string(item.Value)))
		}
		require.Equal(t, events, got, key)
	}
}

// restoreAll restores every node, the others as the first one's output says.
func (f *fleet) restoreAll(t *testing.T, backup string, more ...string) {
	first := f.confman(append([]string{"restore", "--from", backup, "--config", f.nodes[0].config}, more...)...)
	require.Zero(t, first.code, first.err)
	for _, p := range f.nodes[1:] {
		_, line, found := strings.Cut(first.out, "\n  ")
		require.True(t, found, first.out)
		line, _, _ = strings.Cut(line, "\n")
		args := split(strings.ReplaceAll(line, f.nodes[0].config, p.config))
		require.Equal(t, "confman", args[0])
		r := f.confman(args[1:]...)
		require.Zero(t, r.code, r.err)
	}
}

// TestE2EBackupAndRestore backs up under load, destroys everything, restores, and compares every key and
// all of the history with what the writers were told.
func TestE2EBackupAndRestore(t *testing.T) {
	f := up(t, 3)
	w := f.write(4)
	f.until(readyWait, "there is something to lose", func() bool { return w.acknowledged() > 200 })
	file := filepath.Join(f.dir, "x.backup")
	before := w.acknowledged()
	r := f.confman("backup", "--out", file, "-o", "json")
	require.Zero(t, r.code, r.err)
	var sum backupSummary
	require.NoError(t, json.Unmarshal([]byte(r.out), &sum))
	require.GreaterOrEqual(t, sum.Revision, before, "it holds what was acknowledged before it was asked for")
	f.until(readyWait, "something is written that is lost", func() bool { return w.acknowledged() > sum.Revision+50 })
	all := w.end(t)
	lost := w.acknowledged()
	f.kill(f.nodes...)
	old := filepath.Join(f.dir, "old")
	require.NoError(t, os.Rename(f.nodes[2].data, old))
	for _, p := range f.nodes[:2] {
		require.NoError(t, os.RemoveAll(p.data))
	}

	r = f.confman("backup", "verify", file)
	require.Zero(t, r.code, r.err)
	f.restoreAll(t, file)
	f.start(f.nodes...)
	f.await(f.nodes...)
	now := f.converge()
	begin := sum.Revision + 1<<32
	require.Equal(t, begin, now.Revision)
	for _, p := range f.nodes {
		f.requireState(t, p, "", asOf(t, all, sum.Revision))
	}
	for revision := uint64(0); revision <= sum.Revision; revision += 1 + sum.Revision/20 {
		f.requireState(t, f.nodes[0], strconv.FormatUint(revision, 10), asOf(t, all, revision))
	}
	f.requireHistory(t, f.nodes[1], all, sum.Revision)
	r = f.confman("history", "--verify")
	require.Zero(t, r.code, r.out+r.err)

	// What was lost is said to be.
	key := all[lost].key
	for query, want := range map[string]int{"?revision=": http.StatusGone, "?min_revision=": http.StatusConflict} {
		assert.Equal(t, want, f.ask(f.nodes[0], http.MethodGet, configPath+key+query+strconv.FormatUint(lost, 10), "").status, query)
	}
	assert.Equal(t, http.StatusGone, f.ask(f.nodes[0], http.MethodGet, fmt.Sprintf("/api/v1/watch/?from_revision=%d&wait=0s", lost), "").status)
	assert.Equal(t, http.StatusPreconditionFailed, f.ask(f.nodes[0], http.MethodPut, configPath+key, "1", "If-Match", fmt.Sprintf("%q", strconv.FormatUint(lost, 10))).status)
	a := f.ask(f.nodes[1], http.MethodPut, configPath+"new", "1")
	require.Equal(t, http.StatusCreated, a.status, a.body)
	assert.Equal(t, strconv.FormatUint(begin+1, 10), a.header.Get("Confman-Revision"))

	// A node of the old cluster that comes back is refused, and changes nothing.
	late := f.nodes[2]
	f.stop(late)
	require.NoError(t, os.Rename(late.data, filepath.Join(f.dir, "new")))
	require.NoError(t, os.Rename(old, late.data))
	f.start(late)
	f.until(readyWait, "the old node is told", func() bool {
		return strings.Contains(late.output(), "one of the two has another cluster's data directory")
	})
	health := f.ask(late, http.MethodGet, "/health/ready", "")
	assert.Equal(t, http.StatusServiceUnavailable, health.status)
	a = f.ask(f.nodes[0], http.MethodPut, configPath+"new", "2")
	assert.Equal(t, http.StatusOK, a.status, a.body)

	// As of an older revision, in a cluster of one.
	at := sum.Revision / 2
	one := newFleet(t, 1)
	one.restoreAll(t, file, "--at-revision", strconv.FormatUint(at, 10))
	one.start(one.nodes...)
	one.await(one.nodes...)
	one.requireState(t, one.nodes[0], "", asOf(t, all, at))
	one.requireHistory(t, one.nodes[0], all, at)
	require.Equal(t, begin, one.converge().Revision)
}

// TestE2ERestoreRefuses what is not a backup, and directories that hold something.
func TestE2ERestoreRefuses(t *testing.T) {
	f := newFleet(t, 1)
	file := filepath.Join(f.dir, "x.backup")
	whole := exampleBackup(t)
	whole[len(whole)/2] ^= 1
	require.NoError(t, os.WriteFile(file, whole, 0o600))
	r := f.confman("restore", "--from", file, "--config", f.nodes[0].config)
	assert.Equal(t, exitError, r.code)
	assert.Contains(t, r.err, "backup is damaged")
	whole[len(whole)/2] ^= 1
	require.NoError(t, os.WriteFile(file, whole, 0o600))
	r = f.confman("restore", "--from", file, "--config", f.nodes[0].config, "--at-revision", "9")
	assert.Equal(t, exitError, r.code)
	assert.Contains(t, r.err, "older than --at-revision")
	r = f.confman("restore", "--from", file, "--config", f.nodes[0].config, "--cluster-id", strings.Repeat("ab", 16))
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "take the whole command")
	f.restoreAll(t, file)
	r = f.confman("restore", "--from", file, "--config", f.nodes[0].config)
	assert.Equal(t, exitError, r.code)
	assert.Contains(t, r.err, "not empty")
}
