package jepsen

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// countingGround counts what a test says.
type countingGround struct {
	*fakeGround
	mu   sync.Mutex
	cut  uint64
	disk uint64

	fails uint64 // syncs, when they are to
	bears bool   // no node ends because of that
	reads bool   // a node that starts does
}

func (g *countingGround) Packets() map[Link]Packets {
	g.mu.Lock()
	defer g.mu.Unlock()
	return map[Link]Packets{{"node1", "node2"}: {Cut: g.cut}, {"node2", "node1"}: {Cut: 100 * g.cut}}
}

func (g *countingGround) DiskHits(string) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disk
}

// TestFelt: a fault that hits nothing is not one that was made.
func TestFelt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &countingGround{fakeGround: newFake(3, 0)}
		r, err := newRun(g, Options{})
		require.NoError(t, err)
		for _, cuts := range []uint64{0, 1} {
			f, err := r.cut(t.Context(), []Link{{"node1", "node2"}}, "cut")
			require.NoError(t, err)
			g.cut += cuts
			r.suffer(t.Context(), "n", f, time.Second)
			assert.Equal(t, int(cuts), r.fired["n"])
		}
		assert.Nil(t, (&Run{Ground: g.fakeGround}).hitOn(nil, isCut), "nobody counts")
	})
}

// Start is that of a node that reads when it starts, or does not even then.
func (g *countingGround) Start(ctx context.Context, name string, args ...string) error {
	if g.mu.Lock(); g.reads {
		g.disk++
	}
	g.mu.Unlock()
	return g.fakeGround.Start(ctx, name, args...)
}

// TestSickDisksAreFelt: a disk that reads nothing, or is full, is none that is broken unless somebody noticed.
func TestSickDisksAreFelt(t *testing.T) {
	for _, c := range []struct {
		name, nemesis string
		reads, says   bool
		felt          bool
	}{
		{name: "nobody reads", nemesis: "read-errors"},
		{name: "who starts reads", nemesis: "read-errors", reads: true, felt: true},
		{name: "nobody lacks room", nemesis: "full-disk"},
		{name: "it says that it lacks room", nemesis: "full-disk", says: true, felt: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &countingGround{fakeGround: newFake(3, 0), bears: !c.says, reads: c.reads}
				r, err := newRun(g, Options{Quiet: time.Second})
				require.NoError(t, err)
				rest := r.minded(t.Context(), r.mind)
				require.NoError(t, r.begin(t.Context(), nil))
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				r.torment(ctx, nemeses[c.nemesis])
				assert.Equal(t, c.felt, r.fired[c.nemesis] > 0)
				rest()
				time.Sleep(2 * time.Second) // connections that nobody used end
			})
		})
	}
}

// SetDisk is that of a node that bears whatever its disk does.
func (g *countingGround) SetDisk(ctx context.Context, name string, d DiskState) error {
	if d.SyncError {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.disk += g.fails
	}
	if g.bears {
		return nil
	}
	return g.fakeGround.SetDisk(ctx, name, d)
}

// TestTrusted: a node that goes on after a sync failed is found; one that was not asked to sync, and one that ends, are not.
func TestTrusted(t *testing.T) {
	for _, c := range []struct {
		name         string
		fails        uint64
		bears, wrong bool
	}{
		{name: "it goes on", fails: 1, bears: true, wrong: true},
		{name: "it ends", fails: 1},
		{name: "no sync failed", bears: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := newRun(&countingGround{fakeGround: newFake(3, 0), fails: c.fails, bears: c.bears}, Options{})
				require.NoError(t, err)
				rest := r.minded(t.Context(), nil)
				require.NoError(t, r.begin(t.Context(), nil))
				f, err := r.sicken(t.Context(), "node2", DiskState{SyncError: true}, "sick", saysEIO)
				require.NoError(t, err)
				require.NoError(t, f.Undo(t.Context()))
				assert.True(t, r.Ground.Runs("node2"))
				if c.wrong {
					require.Len(t, r.blames, 1)
					require.ErrorIs(t, r.blames[0].err, ErrTrusted)
				} else {
					assert.Empty(t, r.blames)
				}
				rest()
				time.Sleep(2 * time.Second) // connections that nobody used end
			})
		})
	}
}
