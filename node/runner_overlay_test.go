package node

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// Commands that cost the overlay a thousand times their bytes, many at once: what is superseded
// goes through it, too. They wait for room, and the node does not stop.
func TestSmallCommandsOverLargeValues(t *testing.T) {
	const n = 100
	c := newTrio(t, "only")
	cfg := c.configs["only"]
	cfg.MaxOverlayBytes, cfg.FlushBytes = 1<<20, 256<<10
	c.configs["only"] = cfg
	c.start()
	c.ready()
	r := c.runners["only"]
	value := strings.Repeat("v", 256<<10)
	all := func(command func(i int) *fsm.Command) {
		var (
			wg     sync.WaitGroup
			failed atomic.Pointer[error]
		)
		for i := range n {
			wg.Go(func() {
				if _, err := r.Propose(t.Context(), command(i)); err != nil {
					failed.Store(&err)
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			require.NoError(t, *err)
		}
	}
	key := func(i int) string { return fmt.Sprintf("k%d", i) }
	all(func(i int) *fsm.Command { return put(key(i), value) })
	all(func(i int) *fsm.Command { return &fsm.Command{Ops: []fsm.Op{{Kind: fsm.Delete, Key: key(i)}}} })
	require.NoError(t, r.Err())
	_, found := get(t, r, key(n-1))
	assert.False(t, found)
}
