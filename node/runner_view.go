package node

import (
	"time"

	"github.com/confman/confman/fsm"
)

// View takes a snapshot of what is applied here, with the proof of its
// freshness. ErrStopped; ErrForming; ErrRebuilding.
func (r *Runner) View() (*fsm.View, Freshness, error) {
	m := r.member.Load()
	if m == nil {
		return nil, Freshness{}, r.notYet()
	}
	if r.stopping() {
		return nil, Freshness{}, ErrStopped
	}
	for {
		store := m.store.Load()
		// The proof comes before the view: it speaks for a state that is not newer.
		st := r.status.Load()
		if st.Damage != nil || store == nil {
			return nil, Freshness{}, ErrRebuilding
		}
		v, err := store.View()
		if m.store.Load() != store {
			// An image took its place meanwhile, and the proof may be the image's: a rebuilt
			// store can be older than the one before, or newer.
			if err == nil {
				v.Close()
			}
			continue
		}
		if err != nil {
			if r.stopping() {
				err = ErrStopped
			}
			return nil, Freshness{}, err
		}
		return v, Freshness{at: st.FreshAt, proven: st.Fresh, drift: r.cfg.MaxClockDriftPPM}, nil
	}
}

// Freshness is the proof of how fresh a view is: it holds every write that was
// acknowledged before an instant.
type Freshness struct {
	at     time.Duration // on bootTime's clock
	proven bool
	drift  int
}

// Age is an upper bound of the view's staleness at the time of the call, which
// must come after the last read from the view; false if nothing is proven.
func (f Freshness) Age() (time.Duration, bool) {
	if !f.proven {
		return 0, false
	}
	return Widened(bootTime()-f.at, f.drift), true
}

// Widened is the longest that a time measured as d, which is not negative, may have taken, if
// the clock drifts by at most so many parts in a million.
func Widened(d time.Duration, driftPPM int) time.Duration {
	n, drift := int64(d), int64(driftPPM)
	rest := 1_000_000 - drift
	return d + time.Duration(n/rest*drift+(n%rest*drift+rest-1)/rest)
}

// NodeStatus is Status with what the runner adds.
type NodeStatus struct { //nolint:revive // Status is the core's
	Status
	Name    string
	Cluster fsm.ClusterID
	// Formed is false while the node waits for the other members of a new cluster; Waiting names those not heard of.
	Formed  bool
	Waiting []string
	// Joining: the node does not form a cluster, it waits to be welcomed as the member that its seat is for.
	// Waiting then is a sentence that says what it waits for.
	Joining bool
	// State summarises the store.
	State fsm.State
	// LastBackup is when the newest scheduled backup in this node's directory was made; zero: none is known.
	LastBackup time.Time
	// BackupEvery is the time between scheduled backups; 0: this node makes none.
	BackupEvery time.Duration
	// Ready: a read was confirmed by a quorum and applied within ReadyAge, or within LeaderlessReadyAge if
	// no leader is known.
	Ready bool
	// Progress is what a leader knows of the others; nil of who does not lead.
	Progress []Progress
	// Staleness is how old the state may be at most, if Fresh.
	Staleness time.Duration
	// StoreBytes is what of the store is in use, of StoreQuota: past it what would make it larger
	// is refused.
	StoreBytes, StoreQuota int64
	// AtQuota: a write was refused for that, and the store is not well below its quota again.
	AtQuota bool
	// MinFree is the floor of the free space on the disk of the data directory (0: none).
	MinFree int64
}

// Status is the node's view of itself. Before the cluster is formed only Name,
// Waiting, and what is configured, are set.
func (r *Runner) Status() NodeStatus {
	out := NodeStatus{
		Name: r.cfg.Name, StoreQuota: r.cfg.StoreQuotaBytes,
		MinFree: r.cfg.MinFreeBytes,
		AtQuota: r.room.atQuota.Load(),
	}
	m := r.member.Load()
	if m == nil {
		out.Waiting, out.Joining = *r.waiting.Load(), r.joining
		return out
	}
	// As in View: the proof before the state.
	out.Status = *r.status.Load()
	out.Formed = true
	out.Cluster = m.identity.Cluster
	out.State = m.state()
	if store := m.store.Load(); store != nil {
		out.StoreBytes = store.UsedBytes()
	}
	out.LastBackup = r.lastBackupAt()
	if r.cfg.Backups.Dir != "" {
		out.BackupEvery = r.cfg.Backups.Every
	}
	if out.Fresh {
		out.Staleness = Widened(bootTime()-out.FreshAt, r.cfg.MaxClockDriftPPM)
	}
	if p := r.progress.Load(); p != nil {
		out.Progress = *p
	}
	out.Ready = ready(out) && !r.stopping() && !r.drained.Load()
	return out
}

// ready tells whether clients should be sent to the node (protocol.md §2).
func ready(s NodeStatus) bool {
	most := ReadyAge
	if s.Leader == 0 {
		most = LeaderlessReadyAge
	}
	return s.Formed && s.Damage == nil && s.Fresh && s.Staleness <= most
}
