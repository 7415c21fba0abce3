package jepsen

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// grounds are both kinds of network. Where there can be no namespaces, both are loopback.
var grounds = map[string]LocalOptions{"namespaces": {}, "loopback": {Loopback: true}}

// localRun is a cluster of three that serves, and what one looks at it with.
func localRun(t *testing.T, o LocalOptions) *Run {
	t.Helper()
	o.Dir = t.TempDir()
	if o.Program == "" {
		o.Program = confman(t)
	}
	ground, err := NewLocal(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, ground.Close(ctx))
		if t.Failed() || os.Getenv("SHOWLOGS") != "" {
			for _, m := range ground.Machines() {
				text, _ := os.ReadFile(filepath.Join(o.Dir, m.Name+".log"))
				t.Logf("%s:\n%s", m.Name, text)
			}
		}
	})
	for _, line := range ground.Means() {
		t.Log(line)
	}
	r, err := newRun(ground, Options{Log: t.Logf})
	require.NoError(t, err)
	t.Cleanup(r.minded(context.Background(), nil))
	require.NoError(t, r.begin(t.Context(), nil))
	return r
}

// isolated are the links of a machine with all others, not with clients.
func isolated(r *Run, name string) map[Link]Condition {
	links := map[Link]Condition{}
	for other := range r.machines {
		if other != name {
			links[Link{name, other}], links[Link{other, name}] = Condition{Cut: true}, Condition{Cut: true}
		}
	}
	return links
}

func TestE2EPartitionedLeader(t *testing.T) {
	for name, o := range grounds {
		t.Run(name, func(t *testing.T) {
			r := localRun(t, o)
			ctx := t.Context()
			first := r.Leader(ctx)
			require.NotEmpty(t, first)
			require.NoError(t, r.Ground.SetLinks(ctx, isolated(r, first)))
			began := time.Now()
			require.Eventually(t, func() bool {
				now := r.Leader(ctx)
				return now != "" && now != first
			}, 20*time.Second, 20*time.Millisecond, "nobody else leads")
			t.Logf("%v until another one leads", time.Since(began))
			out, err := r.Ground.Confman(ctx, "put", "x", "1")
			require.NoError(t, err)
			assert.NotEmpty(t, out)
			require.NoError(t, r.Ground.SetLinks(ctx, nil))
			began = time.Now()
			require.NoError(t, r.awaitReady(ctx, 20*time.Second))
			t.Logf("%v until all are ready", time.Since(began))
		})
	}
}

// TestE2ECorruption: what is changed between nodes is never believed, and the cluster goes on.
func TestE2ECorruption(t *testing.T) {
	for name, o := range grounds {
		t.Run(name, func(t *testing.T) {
			r := localRun(t, o)
			ctx := t.Context()
			links := map[Link]Condition{}
			for a := range r.machines {
				for b := range r.machines {
					if a != b {
						links[Link{a, b}] = Condition{Corrupt: 0.01}
					}
				}
			}
			require.NoError(t, r.Ground.SetLinks(ctx, links))
			for i := range 200 {
				_, err := r.Ground.Confman(ctx, "put", fmt.Sprintf("k/%d", i), strings.Repeat("x", 1000))
				require.NoError(t, err)
			}
			require.NoError(t, r.Ground.SetLinks(ctx, nil))
			require.NoError(t, r.awaitReady(ctx, 20*time.Second))
			corrupted := uint64(0)
			for _, p := range r.Ground.(*Local).Packets() {
				corrupted += p.Corrupted
			}
			assert.Positive(t, corrupted)
		})
	}
}

// TestE2ESpares: machines beside those that form the cluster become members, and can be cut off like others.
func TestE2ESpares(t *testing.T) {
	for name, o := range grounds {
		t.Run(name, func(t *testing.T) {
			o.Spares = 2
			r := localRun(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.NoError(t, r.Ground.Can(Spares))
			require.NoError(t, r.join(ctx, "node4", "node5"))
			require.NoError(t, r.promote(ctx, "node4", "node5"))
			require.NoError(t, r.Ground.SetLinks(ctx, isolated(r, "node4")))
			waitFor(t, "node4 is not ready", func() bool {
				s, err := r.Standing(ctx, "node4")
				return err == nil && !s.Ready
			})
			require.NoError(t, r.Ground.SetLinks(ctx, nil))
			require.NoError(t, r.awaitReady(ctx, 20*time.Second))
		})
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 20*time.Second, 20*time.Millisecond, what)
}
