package fsm

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknownVersion means that a committed command, or a database, is of a version that this
	// program does not know: the node must stop before it applies the one, or opens the other.
	ErrUnknownVersion = errors.New("fsm: of a version that this program does not know")
	// ErrUndecodable means that a command's bytes are not a command; all replicas
	// refuse it alike.
	ErrUndecodable = errors.New("fsm: command does not decode")
	// ErrDamaged means that the database holds what was not written.
	ErrDamaged = errors.New("fsm: database is damaged")
	// ErrLocked means that another process has the database open.
	ErrLocked = errors.New("fsm: database is in use by another process")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("fsm: store is closed")
	// ErrOrder means that an entry does not follow the last one applied.
	ErrOrder = errors.New("fsm: entry out of order")
	// ErrOverlayFull means that Apply was called with twice Options.MaxOverlayBytes
	// waiting to be flushed: the driver did not keep to its bound.
	ErrOverlayFull = errors.New("fsm: overlay is full")
	// ErrRepack means that a copy of the database, which a Repack made, is not what the
	// database is, and takes nobody's place.
	ErrRepack = errors.New("fsm: the copy is of no use")
)

// LimitError is a part of a command that is larger than its limit.
type LimitError struct {
	What string // "value of key \"a/b\"", "comment"
	Got  int
	Max  int
}

// Error names the part, its size and the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("fsm: %s: %d, at most %d", e.What, e.Got, e.Max)
}

// CompactedError means that what was asked for is older than what the store still holds.
type CompactedError struct {
	// Floor is the oldest revision that it can be read at, and that a watch can start from.
	Floor Revision
	// Gap is what was asked for is in, if a restore skipped it; else zero.
	Gap Gap
}

// Error names the floor.
func (e *CompactedError) Error() string {
	if e.Gap != (Gap{}) {
		return fmt.Sprintf("fsm: no such revision: the cluster was restored at %d and went on at %d", e.Gap.From, e.Gap.To)
	}
	return fmt.Sprintf("fsm: compacted: the oldest revision held is %d", e.Floor)
}

// damaged returns ErrDamaged with the place and what is wrong there.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// must stops the program at a bug of its own; never for input, disks or peers.
func must(ok bool, format string, args ...any) {
	if !ok {
		panic("fsm: " + fmt.Sprintf(format, args...))
	}
}
