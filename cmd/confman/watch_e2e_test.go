package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

const (
	// lastWatched is the value after which nothing more is written.
	lastWatched = `"the last"`
	// watchedBranches are how many subtrees of what is watched are written to.
	watchedBranches = 10
	// mostMissed is more than a node can miss without being sent an image.
	mostMissed = 50_000
)

// TestE2EWatch: watchers see every change once, in order and transactions whole, while nodes
// are killed, stopped, held up and started again under them, and take images.
func TestE2EWatch(t *testing.T) {
	f := newFleet(t, 3)
	f.keepNoLog()
	f.edit("History", "KeepVersions", 0) // all of it is compared in the end
	f.start(f.nodes...)
	f.await(f.nodes...)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	newClient := func(first int) *client.Client {
		var urls []string
		for i := range f.nodes {
			urls = append(urls, f.nodes[(first+i)%len(f.nodes)].url())
		}
		c, err := client.New(client.Options{Endpoints: urls, AttemptTimeout: 5 * time.Second})
		require.NoError(t, err)
		return c
	}
	type seen struct {
		path    string
		changes []client.Change
		err     error
	}
	var all sync.WaitGroup
	streams := make([]*seen, 10)
	for i := range streams {
		s := &seen{path: []string{"w/", "", "w/0/a", ""}[i/3]}
		streams[i] = s
		c, heartbeat := newClient(i), time.Second
		if i == 9 { // it stays with one node, whatever happens to that
			var err error
			c, err = client.New(client.Options{Endpoints: []string{f.nodes[0].url()}, AttemptTimeout: 5 * time.Second})
			require.NoError(t, err)
			heartbeat = 30 * time.Second
		}
		all.Go(func() {
			for ch, err := range c.Watch(ctx, s.path, client.WatchOptions{FromStart: true, Heartbeat: heartbeat}) {
				if s.err = err; err != nil {
					return
				}
				s.changes = append(s.changes, ch)
				if slices.ContainsFunc(ch.Events, func(e client.Event) bool { return string(e.Value) == lastWatched }) {
					return
				}
			}
		})
	}
	shell := f.begin("watch", "w/0/a", "--from", "0", "-o", "json")

	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// What became of it does not matter here: the history says what there was.
				value := fmt.Sprintf("%d.%d", w, i)
				url := f.nodes[w].url()
				switch i % 4 {
				case 0, 1:
					_, _ = f.send(http.MethodPost, url+"/api/v1/import/w/"+strconv.Itoa(i/4%watchedBranches), fmt.Sprintf(`{"a":%q,"b":%q,"c":%q}`, value, value, value))
				case 2:
					_, _ = f.send(http.MethodPut, url+configPath+"elsewhere/"+fmt.Sprint(i%50), value)
				case 3:
					_, _ = f.send(http.MethodDelete, url+configPath+"w/0/c", "")
				}
			}
		})
	}
	grow := func(by uint64, seenBy ...*proc) {
		var from uint64
		f.until(readyWait, "the cluster is written to", func() bool {
			for _, p := range seenBy {
				if s, ok := f.standing(p); ok && s.Revision > 0 {
					if from == 0 {
						from = s.Revision
					}
					return s.Revision > from+by
				}
			}
			return false
		})
	}
	for range 2 {
		grow(200, f.nodes...)
		leader := f.leader()
		f.kill(leader)
		grow(200, f.others(leader)...)
		f.start(leader)
		f.await(leader)
		follower := f.others(f.leader())[0]
		f.stop(follower)
		grow(200, f.others(follower)...)
		f.start(follower)
		f.await(follower)
		held := f.leader()
		require.NoError(t, held.signal(syscall.SIGSTOP))
		grow(200, f.others(held)...)
		require.NoError(t, held.signal(syscall.SIGCONT))
		f.await(f.nodes...)
	}
	// One is held up until the log has gone on without it: it takes the database, with its watchers.
	held, said := f.nodes[0], len(f.nodes[0].output())
	for by := uint64(2000); !strings.Contains(held.output()[said:], "an image took the store's place"); by *= 2 {
		require.Less(t, by, uint64(mostMissed), "no image was needed")
		require.NoError(t, held.signal(syscall.SIGSTOP))
		grow(by, f.others(held)...)
		require.NoError(t, held.signal(syscall.SIGCONT))
		f.await(f.nodes...)
	}
	close(stop)
	writers.Wait()
	c := newClient(0)
	_, _, err := c.Put(ctx, "w/0/a", []byte(lastWatched), client.TypeJSON, client.WriteOptions{})
	require.NoError(t, err)
	all.Wait()

	want := map[string][]string{}
	for path := range map[string]bool{"w/": true, "": true, "w/0/a": true} {
		for e, err := range c.History(ctx, path, client.HistoryOptions{}) {
			require.NoError(t, err)
			want[path] = append(want[path], shownEvent(&e))
		}
		slices.Sort(want[path])
	}
	for i, s := range streams {
		require.NoError(t, s.err)
		var got []string
		last := uint64(0)
		for _, ch := range s.changes {
			require.Greater(t, ch.Revision, last, "stream %d: a revision comes once, and in order", i)
			last = ch.Revision
			for _, e := range ch.Events {
				require.Equal(t, ch.Revision, e.Revision)
				got = append(got, shownEvent(&e))
			}
		}
		slices.Sort(got)
		require.Equal(t, want[s.path], got, "stream %d of %q", i, s.path)
	}
	t.Logf("%d events, %d below w/", len(want[""]), len(want["w/"]))

	f.until(readyWait, "the command has shown the last change", func() bool { return strings.Contains(shell.out.String(), "the last") })
	require.NoError(t, shell.cmd.Process.Signal(syscall.SIGINT))
	r := shell.result()
	assert.Zero(t, r.code, "Ctrl-C is how it ends: %s", r.err)
	var lines []string
	for line := range strings.Lines(r.out) {
		var ch client.Change
		require.NoError(t, json.Unmarshal([]byte(line), &ch))
		for _, e := range ch.Events {
			lines = append(lines, shownEvent(&e))
		}
	}
	slices.Sort(lines)
	assert.Equal(t, want["w/0/a"], lines)
}

func shownEvent(e *client.Event) string {
	return fmt.Sprintf("%09d %s %v %s", e.Revision, e.Path, e.Deleted, e.Value)
}
