package main

import (
	"context"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"
)

// A node at rest makes so little garbage that Go's runtime would keep for minutes what it took under load. So what
// it took is given back, once, soon after the load ends: it costs one collection. How much of it is garbage nobody knows without
// one: what was alive at the last includes what is flushed by now.
const (
	// restInterval is how often it is looked; twice in a row it must be at rest.
	restInterval = 2 * time.Second
	// restBytes is how much is allocated meanwhile at most by a node at rest: ticks, scrapes, maintenance.
	restBytes = 16 << 20
	// surplusBytes is how much more than after the last time is held without being worth a collection.
	surplusBytes = 32 << 20
	// restAgain is after how many looks it is worth one all the same: that time an overlay was alive that is flushed now.
	restAgain = 30
)

// memoryUse is what Go's runtime says of its memory, in bytes.
type memoryUse struct {
	allocated uint64 // since the start
	held      uint64 // of the system's
}

// resting tells when memory is to be given back.
type resting struct {
	before memoryUse
	still  bool   // it was at rest when it was looked last
	busy   bool   // it was not, since the last time
	looks  int    // since then
	least  uint64 // that was held since then
}

func (r *resting) due(now memoryUse) bool {
	at := now.allocated-r.before.allocated <= restBytes
	r.looks++
	due := at && r.still && r.busy && (now.held > r.least+surplusBytes || r.looks >= restAgain)
	r.before, r.still, r.busy, r.least = now, at, r.busy || !at, min(r.least, now.held)
	return due
}

// gave is told what is held afterwards.
func (r *resting) gave(now memoryUse) { *r = resting{before: now, still: r.still, least: now.held} }

// giveMemoryBack gives back what a node at rest holds without need, until ctx ends.
func giveMemoryBack(ctx context.Context) {
	ticker := time.NewTicker(restInterval)
	defer ticker.Stop()
	var r resting
	r.gave(useOfMemory())
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if r.due(useOfMemory()) {
				debug.FreeOSMemory()
				r.gave(useOfMemory())
			}
		}
	}
}

func useOfMemory() memoryUse {
	s := []gometrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	gometrics.Read(s)
	return memoryUse{allocated: s[0].Value.Uint64(), held: s[1].Value.Uint64() - s[2].Value.Uint64()}
}
