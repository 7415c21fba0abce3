package load

import (
	"bytes"
	"fmt"

	"github.com/confman/confman/bench/lane"
)

// emptyClient asks what a client of Confman asks, of a handler that gives one answer to everything.
type emptyClient struct {
	*confmanClient
	first *[]byte // what was answered first, to any client
}

// NewEmpty makes clients of the empty handler.
func NewEmpty(w Work, addrs ...string) (Driver, error) {
	b := newBook(w)
	askers := make([]lane.Asker, 0, w.Clients)
	first := &[]byte{}
	for i := range w.Clients {
		askers = append(askers, &emptyClient{newConfmanClient(b, i), first})
	}
	return lane.New(askers, addrs...)
}

// Hear judges the answer.
func (c *emptyClient) Hear(a *lane.Answer) error {
	if a.Status != 200 {
		return refused(a)
	}
	if len(*c.first) == 0 {
		*c.first = append(*c.first, a.Body...)
	}
	if len(a.Body) == 0 || !bytes.Equal(a.Body, *c.first) {
		return fmt.Errorf("not the answer to everything: %.100q", a.Body)
	}
	return nil
}
