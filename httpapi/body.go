package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// body reads a request's body within a limit. Each read may take TransferTimeout, and all of
// them together no longer than that and MinBodyRate allow, so that a slow client is told from
// one that has stalled, or drips; after the end there is no deadline: it would cancel the
// request while it waits for its write.
type body struct {
	c       *call
	control *http.ResponseController
	src     io.ReadCloser
	caller  string // whose share it holds; "": of nobody
	held    int64  // of MaxBodyMemoryBytes
	ended   bool   // it was read to its end
	reads   int
	got     int64 // bytes
	waited  time.Duration
}

func (c *call) body(limit int64) *body {
	return &body{
		c: c, control: http.NewResponseController(c.w),
		src: http.MaxBytesReader(c.wire(), c.r.Body, limit),
	}
}

// Read reads some of the body.
func (b *body) Read(p []byte) (int, error) {
	// Only a test's recorder has no deadlines; the answer's one follows the body,
	// else a long upload would leave no time to answer.
	now := b.c.api.Now()
	if b.reads > 0 || b.c.api.transfer != TransferTimeout { // else they are as the server set them with the request's headers
		left := b.c.api.transfer - b.waited + time.Duration(float64(b.got)/MinBodyRate*float64(time.Second))
		_ = b.control.SetReadDeadline(now.Add(min(left, b.c.api.transfer)))
		_ = b.control.SetWriteDeadline(now.Add(b.c.api.transfer + WriteWait))
	}
	b.reads++
	n, err := b.src.Read(p)
	b.got += int64(n)
	b.waited += b.c.api.Now().Sub(now)
	var tooLong *http.MaxBytesError
	switch {
	case err == nil, errors.As(err, &tooLong):
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = problemf(kindBodyTimeout, "no more of the body arrived in time: %d bytes did in %v; the first are waited for up to %v, and it takes %d bytes a second",
			b.got, b.waited.Round(time.Millisecond), TransferTimeout, MinBodyRate)
	case errors.Is(err, io.EOF):
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	default: // the client left, or its chunks are not well formed
		err = problemf(kindIncompleteBody, "the body cannot be read to its end: %v", err)
	}
	return n, err
}

// hold takes n bytes of the memory for bodies, until release. A body is read before it is known
// whether its sender may do what it asks for: so one caller has not all of the memory, but for what a
// single request takes.
func (b *body) hold(n int64) error {
	api := b.c.api
	if who := &b.c.who; who.identity != nil && b.caller == "" {
		b.caller = who.principal.String()
	}
	if b.caller != "" && !api.shares.take(b.caller, b.held, n) {
		return problemf(kindOverloaded, "the request bodies of %s in memory have reached %d bytes", b.caller, MaxCallerBodyBytes)
	}
	if !api.bodies.TryAcquire(n) {
		api.shares.give(b.caller, n)
		return problemf(kindOverloaded, "the request bodies in memory have reached %d bytes", MaxBodyMemoryBytes)
	}
	b.held += n
	return nil
}

// release gives back what was held.
func (b *body) release() {
	b.c.api.bodies.Release(b.held)
	b.c.api.shares.give(b.caller, b.held)
	b.held = 0
}

// shares are what each caller who is known holds of the memory for bodies. Safe for concurrent use.
type shares struct {
	mu   sync.Mutex
	held map[string]int64
}

// take adds n to what caller holds, for a request that has some of it already, unless that is too much.
func (s *shares) take(caller string, has, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held[caller]
	if held > has && held+n > MaxCallerBodyBytes {
		return false
	}
	if s.held == nil {
		s.held = make(map[string]int64)
	}
	s.held[caller] = held + n
	return true
}

func (s *shares) give(caller string, n int64) {
	if caller == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[caller] -= n; s.held[caller] == 0 {
		delete(s.held, caller)
	}
}

// bodyStep is how much memory a body of unknown length takes at a time.
const bodyStep = 1 << 20

// all reads the whole body, which counts as held until release.
func (b *body) all(limit int64) ([]byte, error) {
	length := b.c.r.ContentLength
	if length > limit {
		return nil, tooLarge("body", limit)
	}
	if length >= 0 {
		if err := b.hold(length); err != nil {
			return nil, err
		}
		text := make([]byte, length)
		if _, err := io.ReadFull(b, text); err != nil {
			return nil, err
		}
		if b.ended { // the end came with the last of it
			return text, nil
		}
		// One more read meets the end, and lifts the deadline.
		_, err := b.Read(make([]byte, 1))
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return text, err
	}
	var text []byte
	for {
		if cap(text)-len(text) < bodyStep/2 {
			step := max(bodyStep, int64(cap(text))) // double it
			if err := b.hold(step); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, int64(cap(text))+step), text...)
		}
		n, err := b.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
