package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// betweenSteps is how many writes are acknowledged before the next node is taken.
const betweenSteps = 50

// upgrade is a fleet whose nodes are taken from one program to another.
type upgrade struct {
	*fleet
	*chronicle
	old, next build
}

// known is what the cluster's state says of commands: the version in use, and what each member knows.
type known struct {
	Active  int `json:"active_version"`
	Members []struct {
		ID      string
		Version int `json:"command_version"`
	}
}

func (u *upgrade) known(p *proc) known {
	u.tb.Helper()
	var k known
	u.until(readyWait, p.name+" says what members know", func() bool {
		a, err := u.send(http.MethodGet, p.url()+"/api/v1/cluster", "")
		return err == nil && a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &k) == nil
	})
	return k
}

// knows waits until the state says that a member knows a version.
func (u *upgrade) knows(p *proc, version int) {
	u.tb.Helper()
	u.until(readyWait, fmt.Sprintf("it is known that %s knows version %d", p.name, version), func() bool {
		for _, m := range u.known(u.leader()).Members {
			if m.ID == p.name {
				return m.Version == version
			}
		}
		return false
	})
}

// take has a node run another program: it is stopped in order and started again, and is ready before the
// next one is taken.
func (u *upgrade) take(p *proc, to build) {
	u.tb.Helper()
	u.fleet.stop(p)
	u.run(p, to)
}

// run starts a node that is down with a program.
func (u *upgrade) run(p *proc, with build) {
	u.tb.Helper()
	p.path = with.path
	u.fleet.start(p)
	u.await(p)
	u.writesOn(betweenSteps)
	assert.Equal(u.tb, u.old.about.CommandVersion, u.known(p).Active, "what the cluster uses rises by a word only")
}

// finalize asks a node to finalize the upgrade.
func (u *upgrade) finalize(p *proc) reply {
	u.tb.Helper()
	return u.ask(p, http.MethodPost, "/api/v1/cluster/finalize-upgrade", "{}", "Content-Type", "application/json")
}

// refusedFor asks to finalize while a member is too old, which is refused, and the member named.
func (u *upgrade) refusedFor(p *proc, ask *proc) {
	u.tb.Helper()
	a := u.finalize(ask)
	require.Equal(u.tb, http.StatusConflict, a.status, a.body)
	said := a.problem(u.tb)
	assert.Equal(u.tb, "version-unknown", said.Type)
	assert.Contains(u.tb, said.Detail, p.name)
}

// segments are the files of a node's log, oldest first.
func (u *upgrade) segments(p *proc) []string {
	u.tb.Helper()
	found, err := filepath.Glob(filepath.Join(p.data, "log", "wal-*.log"))
	require.NoError(u.tb, err)
	var names []string
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	slices.Sort(names)
	return names
}

// TestE2EUpgrade takes a cluster, under a load that is recorded, from the release before this one to this one, node by
// node, and back, and forward again, and then has it finalized. One node of the old release falls so far behind in between that it gets the
// database of a leader of the new one.
func TestE2EUpgrade(t *testing.T) {
	old, err := previous()
	require.NoError(t, err)
	path, err := program()
	require.NoError(t, err)
	next := build{path: path, of: "this commit", about: aboutThis()}
	if old.about.CommandVersion == next.about.CommandVersion {
		t.Logf("%s knows the same commands as %s: there is nothing to finalize", old.of, next.of)
	}

	f := newFleet(t, 3)
	f.keepNoLog()
	for _, p := range f.nodes {
		p.path = old.path
	}
	f.start(f.nodes...)
	f.await(f.nodes...)
	u := &upgrade{fleet: f, chronicle: f.record(), old: old, next: next}
	first, second, third := f.nodes[0], f.nodes[1], f.nodes[2]
	rises := old.about.CommandVersion < next.about.CommandVersion

	t.Log("forward")
	u.take(first, next)
	if rises {
		u.refusedFor(second, first)
	}
	u.take(second, next)
	u.take(third, next)
	for _, p := range f.nodes {
		u.knows(p, next.about.CommandVersion)
	}

	t.Log("back")
	u.take(third, old)
	if rises {
		u.knows(third, old.about.CommandVersion) // what it said before is not what it is
		u.refusedFor(third, first)
	}
	u.take(second, old)
	u.take(first, old)
	for _, p := range f.nodes {
		u.knows(p, old.about.CommandVersion)
	}

	t.Log("forward, with an image")
	u.take(first, next)
	u.take(second, next)
	u.fleet.stop(third)
	leader := u.leader()
	u.outrun(leader)
	u.run(third, old)
	assert.Contains(t, third.output(), "an image took the store's place")
	u.take(third, next)
	for _, p := range f.nodes {
		u.knows(p, next.about.CommandVersion)
	}

	t.Log("finalized")
	u.fleet.stop(third)
	a := u.finalize(first)
	require.Equal(t, http.StatusOK, a.status, a.body)
	for _, p := range []*proc{first, second} {
		u.until(readyWait, p.name+" uses the new version", func() bool { return u.known(p).Active == next.about.CommandVersion })
	}
	u.writesOn(betweenSteps)
	if rises {
		u.tooOld(third) // it meets the end of the upgrade in the log
	}
	third.path = next.path
	f.start(third)
	f.await(third)
	u.until(readyWait, third.name+" uses the new version", func() bool { return u.known(third).Active == next.about.CommandVersion })
	u.writesOn(betweenSteps)
	if rises {
		u.fleet.stop(third)
		u.tooOld(third) // it finds a store of the new version
		third.path = next.path
		f.start(third)
		f.await(third)
	}
	u.writesOn(betweenSteps)
	u.judge(t)
	f.converge()
	for _, p := range f.nodes {
		assert.Contains(t, p.output(), fmt.Sprintf("wire=%d", old.about.WireVersion), "%s spoke with the old release", p.name)
		assert.Contains(t, p.output(), fmt.Sprintf("wire=%d", next.about.WireVersion), "%s spoke with the new release", p.name)
	}
}

// tooOld starts a node with the old program, after the upgrade was finalized: it stops by itself, and says what to do.
func (u *upgrade) tooOld(p *proc) {
	u.tb.Helper()
	before := len(p.output())
	p.path = u.old.path
	u.fleet.start(p)
	require.Error(u.tb, u.exit(p), "the process went on, or stopped in order")
	said := p.output()[before:]
	assert.Contains(u.tb, said, "a version that this program does not know")
	assert.Contains(u.tb, said, "what to do: install the release that the other members run")
}

// outrun has the cluster write until a leader's log begins after what a node that is down may have.
func (u *upgrade) outrun(leader *proc) {
	u.tb.Helper()
	newest := u.segments(leader)
	require.NotEmpty(u.tb, newest)
	value := strings.Repeat("0123456789abcdef", 1<<20/16)
	var (
		round int
		taken atomic.Int64
		said  atomic.Pointer[reply]
	)
	defer func() {
		u.tb.Logf("%d MiB were written in %d rounds; the log has %v", taken.Load(), round, u.segments(leader))
		if a := said.Load(); a != nil {
			u.tb.Logf("the last refusal: %d %s", a.status, a.body)
		}
	}()
	u.until(readyWait, "the log has gone on", func() bool {
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				a, err := u.send(http.MethodPut, fmt.Sprintf("%s%sbulk/%d", leader.url(), configPath, i), fmt.Sprint(round, value[16:]), "Content-Type", "text/plain")
				if assert.NoError(u.tb, err) && a.status < http.StatusBadRequest {
					taken.Add(1)
				} else {
					said.Store(&a)
				}
			})
		}
		all.Wait()
		round++
		return u.segments(leader)[0] > newest[len(newest)-1]
	})
	info, err := os.Stat(filepath.Join(leader.data, "store.db"))
	require.NoError(u.tb, err)
	u.tb.Logf("the store has %d MiB", info.Size()>>20)
}
