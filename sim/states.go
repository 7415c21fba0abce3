package sim

import (
	"slices"

	"github.com/confman/confman/node"
)

// markPrefix is before the names of node.Marks where they are counted.
const markPrefix = "mark: "

// states are what a world counts besides faults and marks: what came of them, and
// of the clients' operations. TestStates holds it against the places that count.
var states = []string{
	"appends grouped",
	"clean stop",
	"client gives up",
	"crash: during an append",
	"crash: flush was done",
	"does not start on its disk",
	"flush",
	"formed",
	"fresh claim",
	"fresh claim read",
	"key judged",
	"killed",
	"leader elected",
	"log damaged: the node is out",
	"log: torn tail cut",
	"message lost",
	"message lost in a reset",
	"message overtakes",
	"outcome: applied",
	"outcome: compare_failed",
	"outcome: failed",
	"outcome: not_applied",
	"outcome: read",
	"outcome: unchanged",
	"outcome: unknown",
	"pause",
	"power lost",
	"read: no quorum answered in time",
	"session read",
	"session: the node is behind",
	"start",
	"stopped by its disk",
	"vote granted",
	"write: not_applied: disk is full: no writes are taken",
	"write: not_applied: no quorum answered in time",
	"write: not_applied: too much in flight",
	"write: unknown: no quorum answered in time",
}

// States are the names of what a world counts besides Faults and Marks.
func States() []string { return slices.Clone(states) }

// Marks are the names under which a world counts the rare places of the core.
func Marks() []string {
	names := node.Marks()
	for i := range names {
		names[i] = markPrefix + names[i]
	}
	return names
}
