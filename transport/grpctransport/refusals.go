package grpctransport

import (
	"sync"
	"time"
)

// refusals decides what of all that is refused is logged: the same once in refusalInterval, and
// no more than maxRefusals different ones in that time. Who is refused tries again at once.
type refusals struct {
	mu     sync.Mutex
	logged map[string]time.Time // when
	unsaid int                  // those that there was no room for since the last one that was logged
}

// due tells whether to log what key stands for, and how many others were left out before.
func (r *refusals) due(key string, now time.Time) (due bool, unsaid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := func(at time.Time) bool { return now.Sub(at) >= refusalInterval || now.Before(at) }
	if at, ok := r.logged[key]; ok && !old(at) {
		return false, 0
	}
	if len(r.logged) >= maxRefusals {
		for k, at := range r.logged {
			if old(at) {
				delete(r.logged, k)
			}
		}
		if len(r.logged) >= maxRefusals {
			r.unsaid++
			return false, 0
		}
	}
	if r.logged == nil {
		r.logged = make(map[string]time.Time)
	}
	r.logged[key] = now
	unsaid, r.unsaid = r.unsaid, 0
	return true, unsaid
}

// forget has everything logged that comes next.
func (r *refusals) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.logged)
}
