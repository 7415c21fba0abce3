package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime reads the clock of Tick.Now: CLOCK_BOOTTIME, which goes on while the
// machine sleeps (Go's monotonic clock does not) and is never set.
func bootTime() time.Duration {
	var t unix.Timespec
	// It fails only for a clock that the kernel does not have.
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	must(err == nil, "CLOCK_BOOTTIME: %v", err)
	return drifted(time.Duration(t.Nano()))
}

// monotonicZero is what time.Since tells Go's monotonic clock from.
var monotonicZero = time.Now()

// tickTime is bootTime at a tick, and how far that is ahead of Go's clock: see aboutBootTime.
func (r *Runner) tickTime() time.Duration {
	now := bootTime()
	r.ahead.Store(int64(now - time.Since(monotonicZero)))
	return now
}

// aboutBootTime is bootTime without its system call, of which requests make enough: what it was ahead of Go's
// clock at the last tick. Since then the machine may have slept, which is not counted: then it is too early, as a deadline may be and
// the age of a proof may not.
func (r *Runner) aboutBootTime() time.Duration {
	ahead := r.ahead.Load()
	if ahead == 0 { // there was no tick yet
		return bootTime()
	}
	return time.Duration(ahead) + time.Since(monotonicZero)
}
