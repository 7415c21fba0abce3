package main

import (
	"context"
	"runtime/debug"
	gometrics "runtime/metrics"
	"time"
)

// A node at rest makes so little garbage that Go's runtime would keep for minutes what it took under load. So what
// it holds without need is given back, once, soon after the load ends: it costs one collection.
const (
	// restInterval is how often it is looked; twice in a row it must be at rest.
	restInterval = 2 * time.Second
	// restBytes is how much is allocated meanwhile at most by a node at rest: ticks, scrapes, maintenance.
	restBytes = 16 << 20
	// surplusBytes is how much more than what lives is held without being worth a collection.
	surplusBytes = 48 << 20
)

// memoryUse is what Go's runtime says of its memory, in bytes.
type memoryUse struct {
	allocated uint64 // since the start
	held      uint64 // of the system's
	live      uint64 // on the heap, when it was last collected
}

// resting tells when memory is to be given back: once each time that the node comes to rest.
type resting struct {
	before memoryUse
	still  bool // it was at rest when it was looked last
	gave   bool // since it was not
}

func (r *resting) due(now memoryUse) bool {
	at := now.allocated-r.before.allocated <= restBytes
	due := at && r.still && !r.gave && now.held > now.live+surplusBytes
	r.before, r.still, r.gave = now, at, at && (r.gave || due)
	return due
}

// giveMemoryBack gives back what a node at rest holds without need, until ctx ends.
func giveMemoryBack(ctx context.Context) {
	ticker := time.NewTicker(restInterval)
	defer ticker.Stop()
	r := resting{before: useOfMemory()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if r.due(useOfMemory()) {
				debug.FreeOSMemory()
			}
		}
	}
}

func useOfMemory() memoryUse {
	s := []gometrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	gometrics.Read(s)
	return memoryUse{allocated: s[0].Value.Uint64(), held: s[1].Value.Uint64() - s[2].Value.Uint64(), live: s[3].Value.Uint64()}
}
