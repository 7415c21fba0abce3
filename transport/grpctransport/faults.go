//go:build failpoints

package grpctransport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/pingcap/failpoint"
	"golang.org/x/sys/unix"
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
	fmt.Fprintf(os.Stderr, "failpoint grpctransport/%s: %s\n", point, what)
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
	select {}
}

// faultFrom is faultTo of who sent something.
func (t *Transport) faultFrom(point string, raftID uint64) error {
	return faultTo(point, t.name(raftID))
}

// faultTo is the failpoint of that name, and the one of that name with a dash and the peer's behind it.
func faultTo(point, peer string) error {
	return errors.Join(fault(point), fault(point+"-"+peer))
}
