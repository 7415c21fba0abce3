package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The core is told once, each time that it asks, and no more once the node stops.
func TestTheLoopLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Runner{}
		r.inbox.init()
		for range 3 {
			r.linger()
			time.Sleep(LingerTime - time.Nanosecond)
			synctest.Wait()
			require.Empty(t, r.inbox.take())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			require.Equal(t, []item{{in: Lingered{}}}, r.inbox.take())
			time.Sleep(10 * LingerTime)
			synctest.Wait()
			require.Empty(t, r.inbox.take())
		}
		r.linger()
		r.inbox.close()
		time.Sleep(10 * LingerTime)
		synctest.Wait()
		require.Empty(t, r.inbox.take())
	})
}
