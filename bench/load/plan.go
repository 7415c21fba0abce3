package load

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/confman/confman/bench/hist"
)

// Slice is how long one Run should be at most, so that who waits for a long load can end it.
const Slice = 5 * time.Second

// Driver is clients that ask and ask again. A *lane.Loop is one.
type Driver interface {
	// Run has all clients ask for a time, and counts what was answered rightly within it. Any error ends it.
	Run(time.Duration) (*hist.Hist, error)
	// Drain waits for the answers that are outstanding, and has nothing asked any more.
	Drain() error
	Close() error
}

// Work is what clients do.
type Work struct {
	Clients int
	Reads   float64 // of all operations: 0 puts only, 1 reads only
	Local   bool    // reads: of what the node has. Else they are linearizable.
	Keys    int
	Values  *Values
	Seed    uint64
}

// serials numbers the puts of all Drivers of this process: a value that is there already would change nothing, and have no revision of its own.
var serials atomic.Uint64

// book is what the clients of a Driver know together, to judge answers by. It may be used by many goroutines.
type book struct {
	work   Work
	newest atomic.Uint64   // the greatest revision that a put was answered with
	acked  []atomic.Uint64 // the same of each key
}

func newBook(w Work) *book {
	return &book{work: w, acked: make([]atomic.Uint64, w.Keys)}
}

// op is one operation of one client, and what its answer must not fall below.
type op struct {
	key    int
	put    bool
	serial uint64
	floor  uint64
}

// chooser makes one client's operations.
type chooser struct {
	*book
	random *rand.Rand
}

func newChooser(b *book, client int) chooser {
	return chooser{b, rand.New(rand.NewPCG(b.work.Seed, uint64(client)))}
}

func (c *chooser) next() op {
	o := op{key: c.random.IntN(c.work.Keys)}
	switch {
	case c.work.Reads == 0 || c.work.Reads < 1 && c.random.Float64() >= c.work.Reads:
		o.put, o.serial = true, serials.Add(1)
		o.floor = c.newest.Load()
	case !c.work.Local:
		o.floor = c.acked[o.key].Load()
	}
	return o
}

// wrote judges a put's revision: every put changes something, so it is greater than all that was acknowledged before the
// put was sent.
func (b *book) wrote(o op, revision uint64) error {
	if revision <= o.floor {
		return fmt.Errorf("the put of key %d has revision %d, but %d was acknowledged before it was sent", o.key, revision, o.floor)
	}
	raise(&b.newest, revision)
	raise(&b.acked[o.key], revision)
	return nil
}

// read judges the revision of a value that was read: a linearizable read sees every put that was acknowledged before it
// was sent.
func (b *book) read(o op, revision uint64) error {
	if revision == 0 || revision < o.floor {
		return fmt.Errorf("the read of key %d found revision %d, but %d was acknowledged before it was sent", o.key, revision, o.floor)
	}
	return nil
}

// raise makes a number at least n.
func raise(to *atomic.Uint64, n uint64) {
	for {
		if was := to.Load(); was >= n || to.CompareAndSwap(was, n) {
			return
		}
	}
}
