package node

import (
	"context"
	"sync"

	"github.com/confman/confman/fsm"
)

// occasion wakes all that wait for the next of something. The zero value is ready.
type occasion struct {
	mu sync.Mutex
	ch chan struct{} // nil: nobody waits
}

// next is closed by the next notify.
func (s *occasion) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *occasion) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// WaitRevision returns once a view taken here shows revision rev, or a later one. ctx bounds
// the wait. Errors: ErrForming, ErrStopped, ctx's.
func (r *Runner) WaitRevision(ctx context.Context, rev fsm.Revision) error {
	if m := r.member.Load(); m != nil && m.state().Revision >= rev {
		return nil // most often: nobody needs to be woken
	}
	for {
		m := r.member.Load()
		if m == nil {
			return r.notYet()
		}
		applied := r.applied.next() // before the look, so that nothing comes between
		if m.state().Revision >= rev {
			return nil
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stop:
			return ErrStopped
		}
	}
}
