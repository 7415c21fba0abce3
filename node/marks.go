package node

import "slices"

// marks names the rare places of the core that Settings.Mark is told of.
// TestMarks holds it against the calls.
var marks = []string{
	"apply waits for room in the overlay",
	"commit learned without a leader",
	"copy lost with its term",
	"copy stays possible: refused by a later incarnation",
	"entries of the log replaced",
	"entries read from the disk",
	"forward refused: disk full",
	"forward refused: for another incarnation",
	"forward refused: not the leader",
	"forward seen before",
	"hard state written alone before a proof",
	"image refused: from before this node's seat",
	"leader forgotten: its process has ended",
	"leader removes itself",
	"members introduced that are not here yet",
	"proof of freshness merged: too many",
	"raft refuses a batch of writes",
	"raft refuses a step of the configuration",
	"read refused: no leader for long",
	"read round confirmed too late",
	"read round given up",
	"read round waits for an entry of its leader's term",
	"read round waits for room",
	"seat is taken",
	"stands for election: the leader's process has ended",
	"step of the configuration refused",
	"stopped by an error of a read of the log",
	"term read from the disk",
	"write is out of attempts",
	"write refused: disk full",
	"write refused: no leader for long",
	"write refused: too many in flight",
	"write repeated, and its first time forgotten",
}

// Marks returns the names that Settings.Mark may be told, in order.
func Marks() []string { return slices.Clone(marks) }

// mark tells of a place, if anybody wants to know.
func (s *Settings) mark(name string) {
	if s.Mark != nil {
		s.Mark(name)
	}
}
