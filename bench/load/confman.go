package load

import (
	"errors"
	"fmt"

	"github.com/confman/confman/bench/lane"
)

// maxStaleness is the bound of a bounded read that names none, in millionths of a second.
const maxStaleness = 5_000_000

// ConfmanPath is where keys are in Confman's API.
const ConfmanPath = "/api/v1/config/"

// confmanClient is a client of Confman's REST API.
type confmanClient struct {
	chooser
	op       op
	get, put request
}

// NewConfman makes clients of a Confman cluster, spread over its nodes.
func NewConfman(w Work, addrs ...string) (Driver, error) {
	b := newBook(w)
	askers := make([]lane.Asker, 0, w.Clients)
	for i := range w.Clients {
		askers = append(askers, newConfmanClient(b, i))
	}
	return lane.New(askers, addrs...)
}

func newConfmanClient(b *book, i int) *confmanClient {
	key := AppendKey(nil, 0)
	path := ConfmanPath + string(key)
	c := &confmanClient{chooser: newChooser(b, i)}
	value := b.work.Values.Append(nil, 0, 0)
	c.put = newRequest("PUT", path, "Content-Type: text/plain\r\n", value)
	c.put.key, c.put.value = len("PUT ")+len(path)-digits, len(c.put.text)-len(value)
	query := "?consistency=linearizable"
	if b.work.Local {
		query = "?consistency=bounded"
	}
	c.get = newRequest("GET", path+query, "", nil)
	c.get.key = len("GET ") + len(path) - digits
	return c
}

// Ask is the next request.
func (c *confmanClient) Ask() []byte {
	c.op = c.next()
	r := c.get
	if c.op.put {
		r = c.put
		c.work.Values.patch(r.text[r.value:], c.op.key, c.op.serial)
	}
	putDigits(r.text[r.key:], uint64(c.op.key))
	return r.text
}

// Hear judges the answer.
func (c *confmanClient) Hear(a *lane.Answer) error {
	revision := numberAfter(a.Body, `"revision"`)
	if c.op.put {
		if a.Status != 200 && a.Status != 201 {
			return refused(a)
		}
		return c.wrote(c.op, revision)
	}
	if a.Status != 200 {
		return refused(a)
	}
	if err := c.work.Values.check(textAfter(a.Body, `"value"`), c.op.key); err != nil {
		return fmt.Errorf("the read of key %d: %w", c.op.key, err)
	}
	if c.work.Local {
		if err := proven(a.Header("Confman-Staleness: ")); err != nil {
			return err
		}
	}
	return c.read(c.op, revision)
}

var errNotProven = errors.New("how old the answer is is not proven")

// proven says whether a staleness in seconds is a number, and within the bound.
func proven(text []byte) error {
	var micros, scale int64 = 0, 1_000_000
	point := false
	for _, c := range text {
		switch {
		case c == '.' && !point:
			point = true
		case c < '0' || c > '9' || micros > 1<<40:
			return fmt.Errorf("%w: %q", errNotProven, text)
		case !point:
			micros = 10*micros + int64(c-'0')*1_000_000
		default:
			scale /= 10
			micros += int64(c-'0') * scale
		}
	}
	if len(text) == 0 || micros > maxStaleness {
		return fmt.Errorf("%w: %q", errNotProven, text)
	}
	return nil
}

// refused is the error of an answer with another status than the wanted one.
func refused(a *lane.Answer) error { return fmt.Errorf("status %d: %.300q", a.Status, a.Body) }
