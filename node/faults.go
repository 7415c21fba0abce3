//go:build failpoints

package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/transport"
)

// fault is a failpoint where nothing else can go wrong: an error stops the node.
func (r *Runner) fault(point string) {
	if err := faultpoint.Hit("node/" + point); err != nil {
		r.fail(fmt.Errorf("node: failpoint %s: %w", point, err))
	}
}

// lost is the failpoint of that name, and one for each kind of message: they stand before each message that is sent or
// received, which an error loses. What is enabled by EnableCall is asked about each: func(from, to uint64, lost *bool).
func lost(point string, m *transport.Message) bool {
	name := "node/" + point
	return errors.Join(faultpoint.Hit(name), faultpoint.Hit(name+"-"+kind(m))) != nil || faultpoint.Between(name+"-between", m.From, m.To)
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
	mu                 sync.Mutex
	real, told, jumped time.Duration
}

// drifted is the failpoints node/drift, by so many millionths the monotonic clock goes too fast, and node/jump, so many
// milliseconds it has jumped ahead altogether: it is never set back.
func drifted(now time.Duration) time.Duration {
	ppm, jump := faultpoint.Int("node/drift", 0), time.Duration(faultpoint.Int("node/jump", 0))*time.Millisecond
	drift.mu.Lock()
	defer drift.mu.Unlock()
	if drift.real == 0 {
		drift.real, drift.told = now, now
	}
	if passed := now - drift.real; passed > 0 {
		drift.real, drift.told = now, drift.told+passed+passed*time.Duration(ppm)/1_000_000
	}
	if jump > drift.jumped {
		drift.told, drift.jumped = drift.told+jump-drift.jumped, jump
	}
	return drift.told
}

// repackSoon is the failpoint node/repack-soon: any number has a database copied again and again.
func repackSoon(s Settings) Settings {
	if faultpoint.Int("node/repack-soon", 0) != 0 {
		s.RepackBytes, s.RepackShare, s.RepackPause = 1, 1e-9, time.Second
	}
	return s
}
