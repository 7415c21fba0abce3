package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dated is a context of which only the deadline is known.
type dated struct {
	context.Context
	at time.Time
}

func (d dated) Deadline() (time.Time, bool) { return d.at, true }

// Who waits for a loop that stands still waits until the deadline, although the context has no timer.
func TestAWaitEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := waiterPool.New().(*waiter)
		began := time.Now()
		_, err := w.wait(dated{context.Background(), began.Add(5 * time.Second)})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(began))
	})

	w := newWaiter(false)
	w.answer <- answer{err: ErrNoQuorum}
	a, err := w.wait(dated{context.Background(), time.Now()})
	require.NoError(t, err, "it is answered")
	require.ErrorIs(t, a.err, ErrNoQuorum)
}
