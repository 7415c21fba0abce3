//go:build failpoints

package faultpoint

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/pingcap/failpoint"
	"golang.org/x/sys/unix"
)

// The rewriter of package failpoint empties a file without declarations that follows a rewritten one: here that is doc.go,
// whose name sorts before this one's.

// On: this is a program that can be told to fail.
const On = true

// What a point's term may return, besides the text of an error.
const (
	Crash     = "crash"      // the process ends there and then
	CrashSoon = "crash soon" // it goes on, and ends within soon
	PowerLoss = "power loss" // what was not synced is lost, and the process ends
	TornWrite = "torn write" // half of what was to be written is, and the process ends: package wal only
)

const soon = 3 * time.Millisecond

// Hit is the point of that name: its text is the error of what it stands before.
func Hit(name string) error { return Strike(name, Value(name)) }

// HitPeer is the point of that name, and the one of that name with a dash and the peer's behind it.
func HitPeer(name, peer string) error { return errors.Join(Hit(name), Hit(name+"-"+peer)) }

// Int is the number that the point returns, or otherwise.
func Int(name string, otherwise int) int {
	if n, ok := Value(name).(int); ok {
		return n
	}
	return otherwise
}

// Value is what the point returns, for whoever makes something else of it than Hit does; nil if it is off.
func Value(name string) (v any) {
	failpoint.Inject(name, func(got failpoint.Value) { v = got })
	return v
}

// Between asks what the point was enabled with by failpoint.EnableCall: whether what one node says to another is lost.
func Between(name string, from, to uint64) (lost bool) {
	failpoint.InjectCall(name, from, to, &lost)
	return lost
}

// Strike does what v, which the point returned, says.
func Strike(name string, v any) error {
	switch what, ok := v.(string); {
	case !ok: // "off", "sleep" and "print" come here, too
	case what == Crash:
		End(name, what)
	case what == CrashSoon:
		time.AfterFunc(rand.N(soon), func() { End(name, what) })
	case what == PowerLoss:
		LosePower(name)
	default:
		return errors.New(what)
	}
	return nil
}

// End ends the process as if somebody had killed it: nothing is deferred, nothing flushed.
func End(name, what string) {
	fmt.Fprintf(os.Stderr, "failpoint %s: %s\n", name, what)
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
	select {}
}
