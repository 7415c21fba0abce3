package lane

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Streams are answers that do not end: many connections on each of which a server tells of something now and then. Its methods are not
// safe for concurrent use.
type Streams struct {
	epoll   int
	ending  []byte // of an event
	streams []*stream
	put     *conn
	events  [events]unix.EpollEvent
}

// stream is one of them.
type stream struct {
	*conn
	begun bool   // its head is there
	raw   []byte // what came and is not decoded
	left  int    // of the chunk that begins raw
	text  []byte // what is decoded and no whole event
}

// OpenStreams sends the same request over n connections, the addresses in turn; events end with ending. Puts go to the first address.
func OpenStreams(n int, request, ending []byte, addrs ...string) (_ *Streams, err error) {
	s := &Streams{ending: ending}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	add := func(addr string, i int) (*conn, error) {
		c, err := dial(addr)
		if err != nil {
			return nil, err
		}
		return c, unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
	}
	if s.put, err = add(addrs[0], n); err != nil {
		return nil, err
	}
	for i := range n {
		c, err := add(addrs[i%len(addrs)], i)
		if err != nil {
			return nil, err
		}
		s.streams = append(s.streams, &stream{conn: c})
		if err := c.send(request); err != nil {
			return nil, err
		}
		if len(c.out) > 0 {
			return nil, fmt.Errorf("%s: a new connection takes no %d bytes", c.addr, len(request))
		}
	}
	return s, nil
}

// Await sends request, unless it is nil, and hands every event to heard, with its stream's number, until there were want for which that is
// true, and the request was answered as judge wants it. It returns how long that took.
func (s *Streams) Await(request []byte, judge func(*Answer) error, want int, heard func(i int, event []byte) (bool, error)) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	answered := request == nil
	if !answered {
		if err := s.put.send(request); err != nil {
			return 0, err
		}
		if len(s.put.out) > 0 {
			return 0, fmt.Errorf("%s: the connection takes no %d bytes", s.put.addr, len(request))
		}
	}
	got, end := 0, start // when the last event came
	count := func(i int, event []byte) error {
		yes, err := heard(i, event)
		if yes {
			got++
		}
		return err
	}
	for !answered || got < want {
		left := time.Until(start.Add(Patience))
		if left <= 0 {
			return 0, fmt.Errorf("%d of %d events within %s, the request answered: %t", got, want, Patience, answered)
		}
		n, err := unix.EpollWait(s.epoll, s.events[:], int(left/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, err
		}
		before := got
		for _, event := range s.events[:max(n, 0)] {
			i := int(event.Fd)
			if i < len(s.streams) {
				if err := s.streams[i].read(s.ending, func(event []byte) error { return count(i, event) }); err != nil {
					return 0, err
				}
				continue
			}
			var a Answer
			done, err := s.put.receive(&a)
			if err != nil {
				return 0, err
			}
			if done {
				if answered {
					return 0, fmt.Errorf("%s: an answer to nothing", s.put.addr)
				}
				answered = true
				if err := judge(&a); err != nil {
					return 0, err
				}
			}
		}
		if got > before {
			end = time.Now()
		}
	}
	return end.Sub(start), nil
}

// read reads once, and hands on the events that are whole.
func (s *stream) read(ending []byte, heard func([]byte) error) error {
	if cap(s.raw)-len(s.raw) < firstBuffer/2 {
		s.raw = append(make([]byte, 0, max(firstBuffer, 2*cap(s.raw))), s.raw...)
	}
	n, err := unix.Read(s.fd, s.raw[len(s.raw):cap(s.raw)])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", s.addr, err)
	case n == 0:
		return fmt.Errorf("%s: the server ended a stream", s.addr)
	}
	s.raw = s.raw[:len(s.raw)+n]
	if !s.begun {
		end := bytes.Index(s.raw, emptyLine)
		if end < 0 {
			return nil
		}
		status, size, err := parseHead(s.raw[:end+2])
		if err != nil || status != 200 || size >= 0 {
			return errors.Join(fmt.Errorf("%s: no stream: %.500q", s.addr, s.raw), err)
		}
		s.begun = true
		s.raw = s.raw[:copy(s.raw, s.raw[end+len(emptyLine):])]
	}
	if err := s.decode(); err != nil {
		return fmt.Errorf("%s: %w", s.addr, err)
	}
	rest := s.text
	for {
		event, after, ok := bytes.Cut(rest, ending)
		if !ok {
			break
		}
		if err := heard(event); err != nil {
			return fmt.Errorf("%s: %w", s.addr, err)
		}
		rest = after
	}
	s.text = s.text[:copy(s.text, rest)]
	return nil
}

// decode takes the chunks that are whole, and what is there of the next one's text.
func (s *stream) decode() error {
	rest := s.raw
	for {
		if s.left > 2 { // text, then an end of line
			n := min(s.left-2, len(rest))
			s.text = append(s.text, rest[:n]...)
			rest, s.left = rest[n:], s.left-n
		}
		if s.left <= 2 {
			n := min(s.left, len(rest))
			rest, s.left = rest[n:], s.left-n
		}
		if s.left > 0 {
			break
		}
		line, after, ok := bytes.Cut(rest, emptyLine[:2])
		if !ok {
			break
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return fmt.Errorf("a chunk's size: %.20q", line)
		}
		if size == 0 {
			return errors.New("the server ended a stream")
		}
		rest, s.left = after, int(size)+2
	}
	s.raw = s.raw[:copy(s.raw, rest)]
	return nil
}

// Close ends the connections.
func (s *Streams) Close() error {
	err := unix.Close(s.epoll)
	for _, stream := range s.streams {
		err = errors.Join(err, stream.close())
	}
	if s.put != nil {
		err = errors.Join(err, s.put.close())
	}
	return err
}
