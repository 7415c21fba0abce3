// Package lane sends HTTP/1.1 requests over many kept connections, one at a time on each, with one thread and as little of a
// processor as that takes: the load shares the machine with what it measures.
package lane

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/bench/hist"
)

// Asker is one client: it makes its requests, and judges the answers. A Loop calls all of its askers from one goroutine.
type Asker interface {
	// Ask is the next request, good until the next call.
	Ask() []byte
	// Hear judges the answer to it. With an error the loop ends.
	Hear(*Answer) error
}

const (
	// events is how many a look at the sockets takes.
	events = 256
	// Patience is how long an answer may take; what takes longer is an error.
	Patience = 30 * time.Second
)

// Loop is the clients of one server or cluster. Its methods are not safe for concurrent use.
type Loop struct {
	epoll  int
	lanes  []*lane
	pace   time.Duration
	failed error
	events [events]unix.EpollEvent
}

// lane is one client and its connection.
type lane struct {
	*conn
	asker   Asker
	waits   bool // for an answer
	writes  bool // it is told when its socket takes more
	askedAt time.Time
	due     time.Time // of the next request
}

// Pace has each client wait so long from one request to the next, if the answer does not take longer.
func (l *Loop) Pace(d time.Duration) { l.pace = d }

// New makes a loop of askers, the addresses in turn.
func New(askers []Asker, addrs ...string) (_ *Loop, err error) {
	l := &Loop{}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	for i, asker := range askers {
		c, err := dial(addrs[i%len(addrs)])
		if err != nil {
			return nil, err
		}
		l.lanes = append(l.lanes, &lane{conn: c, asker: asker})
		if err := l.tell(unix.EPOLL_CTL_ADD, i, unix.EPOLLIN); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// tell has the kernel tell of a lane's socket.
func (l *Loop) tell(op, i int, of uint32) error {
	return unix.EpollCtl(l.epoll, op, l.lanes[i].fd, &unix.EpollEvent{Events: of, Fd: int32(i)})
}

// Run has all clients ask and ask again for the time d, and counts the answers that came within it. Requests that are not
// answered then are left to the next Run, or to Drain. After an error nothing is counted any more.
func (l *Loop) Run(d time.Duration) (*hist.Hist, error) {
	h := &hist.Hist{}
	return h, l.run(time.Now().Add(d), h)
}

// Drain waits for the answers that are outstanding.
func (l *Loop) Drain() error { return l.run(time.Now().Add(Patience), nil) }

// run goes on until a time; without h it begins no request, and returns when all are answered.
func (l *Loop) run(until time.Time, h *hist.Hist) error {
	if l.failed == nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		l.failed = l.work(until, h)
	}
	return l.failed
}

func (l *Loop) work(until time.Time, h *hist.Hist) error {
	var answer Answer
	for first := true; h != nil || l.outstanding() > 0; first = false {
		now := time.Now()
		if !now.Before(until) {
			break
		}
		wake := until
		if h != nil && (first || l.pace > 0) {
			next, err := l.askDue(now)
			if err != nil {
				return err
			}
			if !next.IsZero() && next.Before(until) {
				wake = next
			}
		}
		// Rounded up, so as not to spin through the last millisecond.
		n, err := unix.EpollWait(l.epoll, l.events[:], int((wake.Sub(now)+time.Millisecond-1)/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, event := range l.events[:max(n, 0)] {
			i := int(event.Fd)
			lane := l.lanes[i]
			if event.Events&unix.EPOLLOUT != 0 {
				if err := l.flushed(i); err != nil {
					return err
				}
			}
			if event.Events&^unix.EPOLLOUT == 0 {
				continue
			}
			if !lane.waits {
				return fmt.Errorf("%s: the server speaks unasked, or ended the connection", lane.addr)
			}
			done, err := lane.receive(&answer)
			if err != nil {
				return err
			}
			if !done {
				continue
			}
			now = time.Now()
			lane.waits = false
			if err := lane.asker.Hear(&answer); err != nil {
				return fmt.Errorf("%s: %w", lane.addr, err)
			}
			if h == nil || !now.Before(until) {
				continue
			}
			h.Add(now.Sub(lane.askedAt))
			if lane.due.After(now) {
				continue
			}
			if err := l.ask(i, now); err != nil {
				return err
			}
		}
	}
	return l.late(time.Now(), h == nil)
}

// askDue begins the requests of all lanes that have none and are to have one, and returns when the next one is due, if one is.
func (l *Loop) askDue(now time.Time) (next time.Time, err error) {
	for i, lane := range l.lanes {
		switch {
		case lane.waits:
		case !lane.due.After(now):
			if err := l.ask(i, now); err != nil {
				return next, err
			}
		case next.IsZero() || lane.due.Before(next):
			next = lane.due
		}
	}
	return next, nil
}

// ask begins a lane's next request.
func (l *Loop) ask(i int, now time.Time) error {
	lane := l.lanes[i]
	lane.waits, lane.askedAt, lane.due = true, now, now.Add(l.pace)
	if err := lane.send(lane.asker.Ask()); err != nil {
		return err
	}
	return l.flushed(i)
}

// flushed writes what is left of a request, and has the kernel tell when it can go on.
func (l *Loop) flushed(i int) error {
	lane := l.lanes[i]
	if err := lane.flush(); err != nil {
		return err
	}
	if writes := len(lane.out) > 0; writes != lane.writes {
		lane.writes = writes
		of := uint32(unix.EPOLLIN)
		if writes {
			of |= unix.EPOLLOUT
		}
		return l.tell(unix.EPOLL_CTL_MOD, i, of)
	}
	return nil
}

func (l *Loop) outstanding() (n int) {
	for _, lane := range l.lanes {
		if lane.waits {
			n++
		}
	}
	return n
}

// late is the error if an answer takes too long; at the end, if one is missing.
func (l *Loop) late(now time.Time, end bool) error {
	for _, lane := range l.lanes {
		if lane.waits && (end || now.Sub(lane.askedAt) > Patience) {
			return fmt.Errorf("%s: no answer for %s", lane.addr, now.Sub(lane.askedAt).Round(time.Millisecond))
		}
	}
	return nil
}

// Close ends the connections.
func (l *Loop) Close() error {
	err := unix.Close(l.epoll)
	for _, lane := range l.lanes {
		err = errors.Join(err, lane.close())
	}
	l.lanes = nil
	return err
}
