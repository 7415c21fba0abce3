//go:build failpoints

package main

import (
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"
)

// clockFile names the file that says how wrong the wall clock is: by how much, as time.ParseDuration has it, and how
// fast it goes from then on, such as "-1h 1.5". It is looked at again and again.
const clockFile = "CONFMAN_CLOCK_FILE"

// lookInterval is how long at most what the file said is believed.
const lookInterval = 20 * time.Millisecond

var clock struct {
	sync.Mutex
	looked time.Time
	said   string
	since  time.Time // when it was said first
	offset time.Duration
	rate   float64
}

// wallClock is what time it is, or what the file has it be.
func wallClock() time.Time {
	now, file := time.Now(), os.Getenv(clockFile)
	if file == "" {
		return now
	}
	clock.Lock()
	defer clock.Unlock()
	if now.Sub(clock.looked) >= lookInterval {
		clock.looked = now
		lookAtClock(file, now)
	}
	return set(now, clock.offset+time.Duration(float64(now.Sub(clock.since))*(clock.rate-1)))
}

func lookAtClock(file string, now time.Time) {
	b, err := os.ReadFile(file) //nolint:gosec // the test names it
	said := string(b)
	if err != nil {
		said = "0s 1" // nobody has written it yet
	}
	if said == clock.said {
		return
	}
	offset, rate := "", 1.0
	_, err = fmt.Sscan(said, &offset, &rate)
	by, parsed := time.ParseDuration(offset)
	if err != nil || parsed != nil {
		panic(fmt.Sprintf("%s: %q: want an offset and a rate", file, said))
	}
	clock.said, clock.since, clock.offset, clock.rate = said, now, by, rate
}

// set is t with another time of day and the same monotonic reading, which is what a clock that was set makes of it.
// Package time has no way to: Add moves both.
func set(t time.Time, by time.Duration) time.Time {
	const seconds, nanoseconds = 33, 30 // bits of a wall, behind the one that says that there is a monotonic reading
	words := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t)) //nolint:gosec // TestFailpointClock shows that it is what time.Time is
	s := int64(words.wall << 1 >> (1 + nanoseconds))
	ns := int64(words.wall&(1<<nanoseconds-1)) + int64(by%time.Second)
	s += int64(by / time.Second)
	if ns < 0 {
		s, ns = s-1, ns+int64(time.Second)
	}
	if ns >= int64(time.Second) {
		s, ns = s+1, ns-int64(time.Second)
	}
	if s < 0 || s >= 1<<seconds {
		panic("a clock that is off by more than it can tell")
	}
	words.wall = 1<<63 | uint64(s)<<nanoseconds | uint64(ns)
	return t
}
