package grpctransport

import (
	"sync"
	"time"
)

// flow is what one stream has on its way. The sender asks for an acknowledgment
// (a ping in a frame) after so much bulk and after so much time; the peer gives it
// (a pong) when it has read that frame and handled the ones before.
type flow struct {
	wake    chan struct{} // capacity 1: there may be something to send
	version int           // of the wire

	mu    sync.Mutex
	due   bool   // a ping is to be sent, whatever else is
	last  uint64 // the newest ping's number
	sent  int64  // bytes of bulk on this stream
	acked int64  // of these, acknowledged
	asked []mark // pings that are not answered, oldest first; silencePatience bounds them
	heard time.Time
	trip  time.Duration
}

// mark is a ping on its way.
type mark struct {
	ping uint64
	sent int64 // flow.sent, its own frame included
	at   time.Time
}

func newFlow(version int, now time.Time) *flow {
	return &flow{wake: make(chan struct{}, 1), version: version, heard: now, due: true}
}

// room reports whether more bulk may be sent.
func (f *flow) room() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent-f.acked < windowBytes
}

// sending counts a frame with so much bulk; it returns the frame's ping, or 0.
func (f *flow) sending(bulkBytes int, now time.Time) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent += int64(bulkBytes)
	askedFor := f.acked
	if n := len(f.asked); n > 0 {
		askedFor = f.asked[n-1].sent
	}
	if !f.due && f.sent-askedFor < ackBytes {
		return 0
	}
	f.due = false
	f.last++
	f.asked = append(f.asked, mark{ping: f.last, sent: f.sent, at: now})
	return f.last
}

// pong takes the answer to a ping, and to all before it.
func (f *flow) pong(ping uint64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.asked) && f.asked[n].ping <= ping {
		f.acked, f.trip = f.asked[n].sent, now.Sub(f.asked[n].at)
		n++
	}
	if n == 0 {
		return // of no ping that was sent
	}
	f.asked = append(f.asked[:0], f.asked[n:]...)
	f.heard = now
	signal(f.wake)
}

// tick makes a ping due. It reports whether the peer has been silent for too long.
func (f *flow) tick(now time.Time) (silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.due = true
	signal(f.wake)
	patience := silencePatience + time.Duration(f.sent-f.acked)*time.Second/slowestLink
	return now.Sub(f.heard) > patience
}

func (f *flow) pingDue() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.due
}

func (f *flow) roundTrip() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trip
}
