package node

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// TestWaitRevision: who wrote at one node waits at another for what it wrote.
func TestWaitRevision(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	for i := range 20 {
		res, err := c.runners[c.names[i%3]].Propose(t.Context(), put("a", fmt.Sprint(i)))
		require.NoError(t, err)
		r := c.runners[c.names[(i+1)%3]]
		require.NoError(t, r.WaitRevision(t.Context(), res.Revision))
		v, _, err := r.View()
		require.NoError(t, err)
		assert.GreaterOrEqual(t, v.State().Revision, res.Revision)
		v.Close()
	}
	r := c.runners[c.names[0]]
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- r.WaitRevision(ctx, 1000) }()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	go func() { ended <- r.WaitRevision(t.Context(), 1000) }()
	c.close(c.names[0])
	require.ErrorIs(t, <-ended, ErrStopped)
}

// TestWaitRevisionAcrossAnInstall: an image brings revisions that were never applied here.
func TestWaitRevisionAcrossAnInstall(t *testing.T) {
	c := newForgetfulTrio(t)
	mustPut(t, c.runners["node1"], "before", "1")
	victim := c.follower()
	c.close(victim)
	c.outgrow(c.lastIndex(victim))
	want := c.runners[c.leader()].Status().State.Revision
	c.start(victim)
	require.NoError(t, c.runners[victim].WaitRevision(t.Context(), want))
	assert.GreaterOrEqual(t, c.runners[victim].Status().State.Revision, want)
}

// TestOccasion: all that wait are woken, once.
func TestOccasion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o occasion
		o.notify() // nobody waits
		woken := make(chan fsm.Revision, 3)
		for i := range 3 {
			next := o.next()
			go func() {
				<-next
				woken <- fsm.Revision(i)
			}()
		}
		synctest.Wait()
		assert.Empty(t, woken)
		o.notify()
		synctest.Wait()
		assert.Len(t, woken, 3)
		select {
		case <-o.next():
			t.Error("the next occasion is past already")
		case <-time.After(time.Hour):
		}
	})
}
