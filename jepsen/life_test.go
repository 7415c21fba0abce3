package jepsen

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEnds: who ends by itself is started again, and that is a violation unless there is an excuse for it.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		name, words string
		excuse      string
		wrong       string
	}{
		{name: "a crash", words: "panic: index out of range", wrong: "panic: index out of range"},
		{name: "a crash that is not excused", words: "panic: oh", excuse: saysEIO, wrong: "panic: oh"},
		{name: "an excuse", words: "sync: input/output error", excuse: saysEIO},
		{name: "a damaged node is replaced", words: "damaged\nwhat to do: replace the node", excuse: replaceIt},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newFake(3, 0)
				r, err := newRun(g, Options{})
				require.NoError(t, err)
				rest := r.minded(t.Context(), r.mind)
				defer rest()
				require.NoError(t, r.begin(t.Context(), nil))
				if c.excuse != "" {
					r.Excuse("node2", c.excuse)() // revoked, but for the life that it has
				}
				g.mu.Lock()
				g.end("node2", errFakeExit, c.words)
				g.mu.Unlock()
				time.Sleep(5 * time.Second)
				assert.True(t, g.Runs("node2"))
				if c.wrong == "" {
					assert.Empty(t, r.ended())
				} else {
					require.Len(t, r.ended(), 1)
					assert.Contains(t, r.ended()[0].Text, "node2: exit status 1: confman: "+c.wrong)
					require.ErrorIs(t, r.blames[0].err, ErrCrashed)
				}
				assert.NoError(t, r.awaitReady(t.Context(), time.Second))

				// Those that are told to end are not wondered at.
				require.NoError(t, r.KillNode(t.Context(), "node1"))
				require.NoError(t, r.StopNode(t.Context(), "node3"))
				time.Sleep(5 * time.Second)
				assert.False(t, g.Runs("node1"))
				assert.False(t, g.Runs("node3"))
				require.NoError(t, r.KillNode(t.Context(), "node2"))
			})
		})
	}
}

// TestExcuseGoesWithTheDirectory: who was replaced is not excused for what the directory held that it had before; other excuses stay.
func TestExcuseGoesWithTheDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFake(3, 0)
		r, err := newRun(g, Options{})
		require.NoError(t, err)
		rest := r.minded(t.Context(), r.mind)
		defer rest()
		require.NoError(t, r.begin(t.Context(), nil))
		revoke := r.Excuse("node2", saysEIO)
		r.Excuse("node2", replaceIt)
		ends := func(words string) {
			g.mu.Lock()
			g.end("node2", errFakeExit, words)
			g.mu.Unlock()
			time.Sleep(5 * time.Second)
			require.True(t, g.Runs("node2"))
		}
		ends("damaged\nwhat to do: replace the node")
		ends("sync: input/output error")
		require.Empty(t, r.ended())
		ends("damaged\nwhat to do: replace the node")
		require.Len(t, r.ended(), 1)
		revoke() // but for the life that it has
		ends("sync: input/output error")
		require.Len(t, r.ended(), 1)
		ends("sync: input/output error")
		require.Len(t, r.ended(), 2)
	})
}

func TestBugs(t *testing.T) {
	for line, is := range map[string]bool{
		"panic: node: unhandled input":                              true,
		"fatal error: concurrent map writes":                        true,
		"WARNING: DATA RACE":                                        true,
		"Nov 28 21:00:00 host confman[12]: panic: oh":               true,
		`time=1 level=WARN msg="no connection" error="a panic: no"`: false,
		"confman: the store is damaged":                             false,
		`time=1 level=ERROR msg="panic in a handler" request_id=7`:  true,
		`{"level":"ERROR","msg":"panic in a handler"}`:              true,
		`level=ERROR msg="request failed" problem=internal path=/`:  true,
		`{"msg":"request failed","problem":"internal","path":"/"}`:  true,
		`level=ERROR msg="request failed" problem=damaged path=/`:   false,
		`level=INFO msg="internal problem=internally"`:              false,
	} {
		log := "time=1 level=INFO msg=serving\n" + line + "\ngoroutine 1\n"
		if is {
			assert.Equal(t, line, firstOf(bug, []byte(log)))
		} else {
			assert.Empty(t, firstOf(bug, []byte(log)))
		}
	}
}

// TestAstray: a node that finds that its state is wrong has it rebuilt, and all is well again; but that is a violation unless its disk was harmed.
func TestAstray(t *testing.T) {
	const rebuilt = "time=1 level=ERROR msg=\"the store is being rebuilt from a peer; nothing is served meanwhile\" term=2\n"
	const differs = "time=1 level=ERROR msg=\"another member's state differs from this one's, and no majority says whose is wrong: see docs/operations.md\"\n"
	for _, c := range []struct {
		name, log, damaged string
		wrong              bool
	}{
		{name: "all is well", log: "time=1 level=INFO msg=serving\n"},
		{name: "it differs", log: rebuilt, wrong: true},
		{name: "its disk was damaged", log: rebuilt, damaged: "node2"},
		{name: "another one's was", log: rebuilt, damaged: "node1", wrong: true},
		{name: "another one differs", log: differs, wrong: true},
		{name: "another one differs, which was damaged", log: differs, damaged: "node1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newFake(3, 0)
			r, err := newRun(g, Options{})
			require.NoError(t, err)
			g.logs["node2"] = c.log
			if c.damaged != "" {
				_, err := r.Damage(t.Context(), c.damaged, Damage{Kind: FlipDatabase})
				require.NoError(t, err)
			}
			found := r.bugs(t.Context())
			if !c.wrong {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.ErrorIs(t, found[0], ErrAstray)
		})
	}
}
