package node

import (
	"errors"
	"time"

	"github.com/confman/confman/fsm"
)

// repacking is the core's side of a database of which most is free: it is copied into a new
// file, a step at each tick, and that then takes its place (fsm.Repack). Neither goes on
// while an image goes out or comes in: the disk has enough to do.
type repacking struct {
	sparse   bool // the last flush found most of the database free
	packing  bool // a copy was begun
	packed   bool // it is whole
	copying  bool // a Repack is under way
	orphan   bool // that is of a store which is given up
	swapping bool
	packAt   time.Duration // when the last copy ended, whatever came of it
}

// measure takes how much of the database is free, less what the next flush will take of it: bbolt never writes a page in its
// place, so under a steady load of changes as much is free as a flush writes.
func (c *Core) measure(pages, free int) {
	c.sparse = c.cfg.RepackBytes >= 0 && pages*fsm.PageBytes >= c.cfg.RepackBytes && float64(free) > c.cfg.RepackShare*float64(pages)
}

// storeBusy tells whether an image is on its way, or the store is about to be another.
func (c *Core) storeBusy() bool {
	return c.lost || c.replacing() || c.outgoing != nil || c.incoming != nil
}

func (c *Core) tickRepack() {
	if c.copying || c.packed || c.storeBusy() {
		return
	}
	if !c.packing {
		if !c.sparse || c.full || c.packAt != 0 && c.now-c.packAt < c.cfg.RepackPause {
			return
		}
		c.packing = true
	}
	c.copying = true
	c.emit(Repack{Budget: c.cfg.RepackStepBytes})
}

func (c *Core) repacked(in Repacked) {
	must(c.copying, "repacked without a Repack")
	c.copying = false
	switch {
	case c.orphan:
		c.orphan = false
	case errors.Is(in.Err, fsm.ErrDamaged):
		c.damaged(in.Err)
	case in.Err != nil:
		c.endRepack()
	default:
		c.packed = in.Done
	}
}

// startSwap has a whole copy become the database, when no flush is under way: until it is
// done, none begins.
func (c *Core) startSwap() {
	if !c.packed || c.swapping || c.flushing || c.storeBusy() {
		return
	}
	c.swapping = true
	c.emit(Swap{})
}

func (c *Core) swapped(in Swapped) {
	if !c.swapping {
		return // of a store that is given up
	}
	c.endRepack()
	c.measure(in.Pages, in.Free)
}

func (c *Core) endRepack() {
	c.packing, c.packed, c.swapping, c.sparse, c.packAt = false, false, false, false, c.now
}

// abandonRepack: the store is another one, or will be.
func (c *Core) abandonRepack() {
	c.orphan = c.orphan || c.copying
	c.endRepack()
}
