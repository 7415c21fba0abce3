package node

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/fsm"
)

// room is what a node knows of the space that it has, and what it refused for want of it. All of
// it is read without a lock, by every write and every look at the status.
type room struct {
	free atomic.Int64 // of the data directory's file system; negative: not known
	low  atomic.Bool  // free came below the floor, and is not well above it again

	atQuota atomic.Bool  // a write was refused for the quota, and the store is not well below it again
	growing atomic.Int64 // bytes of the commands in flight here that make the store larger

	refused atomic.Uint64 // writes, for the quota
}

// QuotaError is a write that was refused because it would make the store larger, which has
// reached its quota. It is ErrQuota.
type QuotaError struct {
	// Used and Quota are bytes: RunnerConfig.StoreQuotaBytes, and what of it is taken.
	Used, Quota int64
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%v: %d bytes are used of %d", ErrQuota, e.Used, e.Quota)
}

// Unwrap returns ErrQuota.
func (e *QuotaError) Unwrap() error { return ErrQuota }

// growth is how a command may make the store larger.
type growth int

const (
	noGrowth    growth = iota // deletions, and what is bounded by itself: namespaces, denials
	undoGrowth                // a rollback: often it undoes what filled the store, and may only remove
	plainGrowth               // puts
)

func growthOf(cmd *fsm.Command) growth {
	g := noGrowth
	for _, ops := range [...][]fsm.Op{cmd.Ops, cmd.Else} {
		for i := range ops {
			switch ops[i].Kind { //nolint:exhaustive // the others do not grow
			case fsm.Put:
				g = plainGrowth
			case fsm.Restore:
				g = max(g, undoGrowth)
			}
		}
	}
	return g
}

// admit refuses cmd if the store has no room left here for what is in flight, cmd with it: one by
// one, many at once would go far beyond the quota. Other nodes have quotas of their own, and look
// at them for what they accept; a command that was accepted is applied by all.
func (r *Runner) admit(m *member, cmd *fsm.Command, g growth, inFlight int64) error {
	store := m.store.Load()
	if store == nil {
		return nil
	}
	quota := r.cfg.StoreQuotaBytes
	most := quota
	if g == undoGrowth {
		most += quota / rollbackReserve
	}
	used := store.UsedBytes()
	if used+inFlight <= most || answeredBefore(store, cmd) {
		return nil
	}
	return &QuotaError{Used: used, Quota: quota}
}

// answeredBefore tells whether cmd was done already under its idempotency key: then it takes no
// room, and that it was not applied would be wrong.
func answeredBefore(store *fsm.Store, cmd *fsm.Command) bool {
	if cmd.Idempotency.Key == "" {
		return false
	}
	v, err := store.View()
	if err != nil {
		return false
	}
	defer v.Close()
	_, known, err := v.Answer(&cmd.Principal, &cmd.Idempotency)
	return known && err == nil
}

// noteRefused notes that a write failed for the quota, if it did.
func (r *room) noteRefused(err error) {
	if errors.Is(err, ErrQuota) {
		r.refused.Add(1)
		r.atQuota.Store(true)
	}
}

// diskSpace is the size of the file system of path, and what a process of this user may still write there, in bytes.
func diskSpace(path string) (all, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("node: free space of %s: %w", path, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

func diskFree(path string) (int64, error) {
	_, free, err := diskSpace(path)
	return free, err
}

// tight is whether the disk has little room.
func (r *Runner) tight() bool { return r.room.free.Load() < tightRoom }

// look measures the room on the disk. What the loop does not know yet it tells the core with its
// next tick.
func (r *Runner) look() error {
	free, err := r.cfg.diskFree(r.cfg.Dir)
	if err != nil {
		return err
	}
	r.room.free.Store(free)
	if floor := r.cfg.MinFreeBytes; r.room.low.Load() {
		r.room.low.Store(free < floor+floor/floorSlack)
	} else {
		r.room.low.Store(free < floor)
	}
	return nil
}

// watchDisk looks at the disk until the node stops. A file system that cannot be asked is what
// it was when it could.
func (r *Runner) watchDisk() {
	ticker := time.NewTicker(r.cfg.diskInterval)
	defer ticker.Stop()
	said := false
	quota := false
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
		}
		r.watchQuota(&quota)
		err := r.look()
		if err != nil && !said {
			r.log.Warn("the free space of the disk cannot be found out", slogError(err))
		}
		said = err != nil
	}
}

// watchQuota says in the log when writes begin to be refused for the quota, and when the store is
// well below it again. said is whether the log has the first.
func (r *Runner) watchQuota(said *bool) {
	m := r.member.Load()
	if m == nil || !r.room.atQuota.Load() {
		return
	}
	store := m.store.Load()
	if store == nil {
		return
	}
	used, quota := store.UsedBytes(), r.cfg.StoreQuotaBytes
	attrs := []any{slog.Int64("used", used), slog.Int64("quota", quota), slog.Uint64("refused", r.room.refused.Load())}
	if !*said {
		*said = true
		r.log.Warn("the store has reached its quota: what would make it larger is refused", attrs...)
	}
	if used <= quota-quota/quotaSlack {
		*said = false
		r.room.atQuota.Store(false)
		r.log.Info("the store is below its quota again", attrs...)
	}
}

// tellRoom is what the core must be told of the disk with this tick, if anything.
func (r *Runner) tellRoom(ins []Input) []Input {
	low := r.room.low.Load()
	if low == r.loop.low {
		return ins
	}
	r.loop.low = low
	r.log.Warn("the free space of the disk crossed its floor",
		slog.Int64("free", r.room.free.Load()), slog.Int64("floor", r.cfg.MinFreeBytes), slog.Bool("low", low))
	return append(ins, DiskLow{Low: low})
}
