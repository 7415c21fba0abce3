package jepsen

import (
	"context"
	"errors"
	"os"
	"regexp"
)

// A [Ground] may count what faults hit, so that those that hit nothing are not taken for faults.
type (
	// linkCounter counts what is sent.
	linkCounter interface {
		// Packets are what became of what was sent on each link.
		Packets() map[Link]Packets
	}
	// diskCounter counts what is asked of disks.
	diskCounter interface {
		// DiskHits is how many requests a machine's disk refused, or took longer for, because of how it was.
		DiskHits(machine string) uint64
	}
	// lossCounter counts what is lost with the power.
	lossCounter interface {
		// Forgotten is how much a machine's disk lost that was not synced: pieces, names and lengths that were others before.
		Forgotten(machine string) uint64
	}
)

// hitOn tells, when it is called, whether something counted as many as one on links since now; nil: the ground does not count.
func (r *Run) hitOn(links []Link, many func(Packets) uint64) (felt func() bool) {
	g, ok := r.Ground.(linkCounter)
	if !ok {
		return nil
	}
	sum := func() (n uint64) {
		all := g.Packets()
		for _, l := range links {
			n += many(all[l])
		}
		return n
	}
	before := sum()
	return func() bool { return sum() > before }
}

// hitDisk tells, when it is called, whether a disk refused or slowed down anything since now; nil: the ground does not count.
func (r *Run) hitDisk(name string) (felt func() bool) {
	g, ok := r.Ground.(diskCounter)
	if !ok {
		return nil
	}
	before := g.DiskHits(name)
	return func() bool { return g.DiskHits(name) > before }
}

// forgot tells, when it is called, whether a disk lost anything since now; nil: the ground does not count.
func (r *Run) forgot() (lost func() bool) {
	g, ok := r.Ground.(lossCounter)
	if !ok {
		return nil
	}
	sum := func() (n uint64) {
		for name := range r.machines {
			n += g.Forgotten(name)
		}
		return n
	}
	before := sum()
	return func() bool { return sum() > before }
}

// says tells, when it is called, whether a node has said something in its log since now.
func (r *Run) says(ctx context.Context, name string, what *regexp.Regexp) (said func() bool, err error) {
	log, err := r.logOf(ctx, name)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it has said nothing yet
		return nil, err
	}
	from := len(log)
	return func() bool {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		log, err := r.logOf(ctx, name)
		if err != nil {
			r.Log("the log of %s cannot be read: %v", name, err)
		}
		return what.Match(log[min(from, len(log)):])
	}, nil
}

// isCut, and the others, are what faults of links count.
func isCut(p Packets) uint64       { return p.Cut }
func isLost(p Packets) uint64      { return p.Lost }
func isReordered(p Packets) uint64 { return p.Reordered }
func isCorrupted(p Packets) uint64 { return p.Corrupted }
func isSlow(p Packets) uint64      { return p.Delivered + p.Full }

// isFelt is what a kind of fault counts.
var isFelt = map[Capability]func(Packets) uint64{Delays: isSlow, Losses: isLost, Reorders: isReordered, Corruption: isCorrupted, Bandwidth: isSlow}
