package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// shortLogs makes the nodes of a cluster write small segments, flush at once and keep
// no more of the log than they must.
func (c *trio) shortLogs() {
	for name, cfg := range c.configs {
		cfg.logOptions = wal.Options{SegmentBytes: 4 << 10}
		cfg.FlushBytes, cfg.FlushInterval = 1, time.Millisecond
		cfg.CatchUpEntries, cfg.ScrubInterval = -1, 20*time.Millisecond
		c.configs[name] = cfg
	}
}

func (c *trio) fill(r *Runner, from, n int) {
	c.t.Helper()
	for i := range n {
		mustPut(c.t, r, fmt.Sprintf("key%04d", from+i), strings.Repeat("v", 200))
	}
}

func overwrite(t *testing.T, path string, at []int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	for _, pos := range at {
		_, err := f.WriteAt([]byte{0xff, 0xff, 0xff}, pos)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

// TestNothingIsWrittenToAStoreThatTheScrubFoundDamaged: what a flush would add to it,
// the log has.
func TestNothingIsWrittenToAStoreThatTheScrubFoundDamaged(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.shortLogs()
	c.start()
	c.ready()
	c.fill(c.runners[c.leader()], 0, 50)
	c.agree()
	victim := c.names[0]
	c.close(victim) // its database holds all of this
	cfg := c.configs[victim]
	cfg.FlushInterval, cfg.FlushBytes = time.Hour, 1<<20
	c.configs[victim] = cfg
	c.start(victim)
	c.ready()
	mustPut(t, c.runners[c.leader()], "after", "1")
	c.agree()
	for _, id := range []uint64{1, 2, 3} {
		c.mesh.isolate(id, true) // nobody sends an image
	}
	r, path := c.runners[victim], filepath.Join(cfg.Dir, storeFile)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var at []int64 // of all copies: some are in free pages, which nobody reads
	for i := range b {
		if bytes.HasPrefix(b[i:], bytes.Repeat([]byte("v"), 200)) {
			at = append(at, int64(i))
		}
	}
	require.NotEmpty(t, at)
	overwrite(t, path, at)
	require.Eventually(t, func() bool { return r.Status().Damage != nil }, patience, time.Millisecond)
	was := r.Status()
	require.Less(t, was.Durable, was.Applied, "a flush would write something")
	c.close(victim)
	s, err := fsm.Open(path, fsm.Options{})
	require.NoError(t, err)
	assert.Equal(t, fsm.Index(was.Durable), s.State().Applied)
	require.NoError(t, s.Close())
}
