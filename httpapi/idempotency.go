package httpapi

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"

	"github.com/confman/confman/fsm"
)

// idempotencyKey reads the Idempotency-Key header; "" if there is none.
func idempotencyKey(h http.Header) (string, error) {
	key, given := single(h["Idempotency-Key"])
	if !given {
		return "", nil
	}
	if key == "" || len(key) > fsm.MaxIdempotencyKeyBytes || !visible(key) {
		return "", invalidHeader("Idempotency-Key", fmt.Sprintf("is not 1 to %d visible ASCII characters", fsm.MaxIdempotencyKeyBytes))
	}
	return key, nil
}

func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// once has cmd, if the request has an Idempotency-Key, done once, however often the request is
// made: with each node that takes it, and until it is forgotten (fsm.IdempotencyRetention).
func (c *call) once(cmd *fsm.Command, body []byte) {
	if cmd.Idempotency.Key != "" {
		cmd.Idempotency.Request = requestHash(c.r, body)
	}
}

// severalTimes refuses an Idempotency-Key of a request that takes several transactions: no one
// answer could be remembered of them.
func severalTimes(cmd *fsm.Command) error {
	if cmd.Idempotency.Key == "" {
		return nil
	}
	return invalidHeader("Idempotency-Key", "is for requests that are one transaction; this one may be several, "+
		"and can be made again without: what is as it asks for already stays")
}

// hashedHeaders are those that say what a write is to do.
var hashedHeaders = [...]string{"Content-Type", "If-Match", "If-None-Match", "Confman-Comment"}

// requestHash is what two requests under one Idempotency-Key must have in common: the SHA-256 of
// method, path, query, hashedHeaders and body, each after its length (8 bytes, little-endian), so
// that nothing of one can pass for a part of the next. The path is without its escapes, the query
// in the order of names, and a header that is missing is empty: they mean the same.
//
// Nodes of different versions must agree on it while a key is remembered.
func requestHash(r *http.Request, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	part := func(b []byte) {
		var length [8]byte
		binary.LittleEndian.PutUint64(length[:], uint64(len(b)))
		_, _ = h.Write(length[:])
		_, _ = h.Write(b)
	}
	part([]byte(r.Method))
	part([]byte(r.URL.Path))
	part([]byte(r.URL.Query().Encode()))
	for _, name := range hashedHeaders {
		value, _ := single(r.Header[name])
		part([]byte(value))
	}
	part(body)
	h.Sum(sum[:0])
	return sum
}

// replayedHeader marks an answer that was given before.
var replayedHeader = []string{"true"}

// replayed marks the answer that will be made of res, if it is not the first one.
func (c *call) replayed(res *fsm.Result) {
	if res.Replayed {
		c.w.Header()["Idempotency-Replayed"] = replayedHeader
	}
}
