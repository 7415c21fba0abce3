//go:build failpoints

package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/pingcap/failpoint"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/transport"
)

// The failpoints of this package, as those of package wal are; docs/chaos.md lists them.

// What a failpoint's term may return, besides the text of an error.
const (
	crash     = "crash"      // the process ends there and then
	crashSoon = "crash soon" // it goes on, and ends within soon
)

const soon = 3 * time.Millisecond

// fault is the failpoint of that name: its text is the error of what it stands before.
func fault(point string) (err error) {
	failpoint.Inject(point, func(v failpoint.Value) { err = strike(point, v) })
	return err
}

func strike(point string, v failpoint.Value) error {
	switch what, ok := v.(string); {
	case !ok: // "off", "sleep" and "print" come here, too
	case what == crash:
		end(point, what)
	case what == crashSoon:
		time.AfterFunc(rand.N(soon), func() { end(point, what) })
	default:
		return errors.New(what)
	}
	return nil
}

// end ends the process as if somebody had killed it: nothing is deferred, nothing flushed.
func end(point, what string) {
	fmt.Fprintf(os.Stderr, "failpoint node/%s: %s\n", point, what)
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
	select {}
}

// fault is a failpoint where nothing else can go wrong: an error stops the node.
func (r *Runner) fault(point string) {
	if err := fault(point); err != nil {
		r.fail(fmt.Errorf("node: failpoint %s: %w", point, err))
	}
}

// lost is the failpoint of that name, and one for each kind of message: they stand before each message that is sent or
// received, which an error loses. What is enabled by EnableCall is asked about each: func(from, to uint64, lost *bool).
func lost(point string, m *transport.Message) (lost bool) {
	failpoint.InjectCall(point+"-between", m.From, m.To, &lost)
	return errors.Join(fault(point), fault(point+"-"+kind(m))) != nil || lost
}

func kind(m *transport.Message) string {
	switch {
	case m.Forward != nil:
		return "forward"
	case m.ForwardReply != nil:
		return "forward-reply"
	case m.Image != nil:
		return "image"
	case m.ImageReply != nil:
		return "image-reply"
	case m.ImageRequest != nil:
		return "image-request"
	case m.Raft != nil:
		return "raft"
	default:
		return "other"
	}
}

// drift is how the clock of the node went so far.
var drift struct {
	mu         sync.Mutex
	real, told time.Duration
}

// drifted is the failpoint node/drift: so many millionths does the monotonic clock go too fast.
func drifted(now time.Duration) time.Duration {
	ppm := 0
	failpoint.Inject("drift", func(v failpoint.Value) {
		if n, ok := v.(int); ok {
			ppm = n
		}
	})
	drift.mu.Lock()
	defer drift.mu.Unlock()
	if drift.real == 0 {
		drift.real, drift.told = now, now
	}
	if passed := now - drift.real; passed > 0 {
		drift.real, drift.told = now, drift.told+passed+passed*time.Duration(ppm)/1_000_000
	}
	return drift.told
}
