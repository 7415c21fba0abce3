package client

import (
	"net/http"
	"strconv"
	"time"
)

// Meta is what every answer says about itself.
type Meta struct {
	// Revision is the store's that the answer was made from; after a write, the write's.
	Revision uint64
	// Staleness bounds how old that state may be, but for the way back, if Fresh.
	Staleness time.Duration
	Fresh     bool
	// Node answered; Leader led, as far as it knew ("": not known).
	Node, Leader string
	RequestID    string
	// AsOf is when the newest change in the answer to a read of the past (ReadOptions.At) was
	// accepted; else zero.
	AsOf time.Time
	// Replayed: a write under the same idempotency key was done before, and this is its
	// answer.
	Replayed bool
}

func metaOf(h http.Header) Meta {
	m := Meta{
		Node: h.Get("Confman-Node"), Leader: h.Get("Confman-Leader"), RequestID: h.Get("X-Request-Id"),
		Replayed: replayed(h),
	}
	if m.Leader == "unknown" {
		m.Leader = ""
	}
	// Revisions of an answer that lacks them are zero: nothing is known.
	m.Revision, _ = strconv.ParseUint(h.Get("Confman-Revision"), 10, 64)
	if s, err := strconv.ParseFloat(h.Get("Confman-Staleness"), 64); err == nil {
		m.Staleness, m.Fresh = time.Duration(s*float64(time.Second)), true
	}
	if at, err := http.ParseTime(h.Get("Memento-Datetime")); err == nil {
		m.AsOf = at
	}
	return m
}

func replayed(h http.Header) bool { return h.Get("Idempotency-Replayed") == "true" }
