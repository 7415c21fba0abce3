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
