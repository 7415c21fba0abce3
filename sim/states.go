package sim

import (
	"maps"
	"slices"

	"github.com/confman/confman/node"
)

// markPrefix is before the names of node.Marks where they are counted.
const markPrefix = "mark: "

// states are what a world counts besides faults and marks: what came of them, and
// of the clients' operations. TestStates holds it against the places that count.
var states = []string{
	"absence read from a damaged store",
	"answer replayed to one who lost the permission",
	"answer replayed",
	"answers expired",
	"appends grouped",
	"audit read",
	"backup made",
	"bootstrap race lost",
	"children listed",
	"clean stop",
	"client gives up",
	"compaction as a namespace has it",
	"copy begun",
	"copy of a damaged store fails",
	"crash: during an append",
	"crash: flush lacks its last meta page",
	"crash: flush was done",
	"crash: installing an image",
	"crash: swapping in a copy",
	"crash: verifying an image",
	"damage found by the scrub",
	"damage found",
	"denied where it was applied",
	"denied where it was applied, allowed where it was accepted",
	"disk full in the end",
	"does not start on its disk",
	"else branch done",
	"flush",
	"formed",
	"fresh claim",
	"grant and revocation in flight at once",
	"history read",
	"image damaged",
	"image dropped",
	"image finds no room",
	"image installed",
	"image opened",
	"image verified",
	"install completed at a start",
	"judged: bank",
	"judged: idempotency",
	"judged: linearizability",
	"judged: list-append",
	"judged: not-applied",
	"judged: porcupine",
	"judged: session",
	"judged: set",
	"judged: split-brain",
	"judged: staleness",
	"judged: watch",
	"key without an answer",
	"killed",
	"late copies applied",
	"leader elected",
	"log damaged: the node is out",
	"log truncated",
	"log: torn tail cut",
	"message lost in a reset",
	"message lost",
	"message of another cluster refused",
	"message overtakes",
	"node set aside in the end",
	"node without its disk stays out",
	"operator decides a dispute",
	"outcome: applied",
	"outcome: compare_failed",
	"outcome: failed",
	"outcome: not_applied",
	"outcome: read",
	"outcome: unchanged",
	"outcome: unknown",
	"past compacted",
	"past inspected",
	"past lost in a restore",
	"past namespace read",
	"past read",
	"past version trimmed",
	"patch evaluated again",
	"pause",
	"policy read from an image",
	"power lost",
	"read back",
	"read not decided: policy too old",
	"read refused",
	"read: no quorum answered in time",
	"read: older than asked",
	"read: store is being rebuilt from a peer",
	"report of denials repeated",
	"report of denials sent again",
	"restore refused: compacted",
	"restored again beside a member",
	"restored at a revision",
	"restored beside a node of the old cluster",
	"restored beside an empty node",
	"restored otherwise on one node",
	"ruled: attack",
	"ruled: grant",
	"ruled: report",
	"ruled: revocation",
	"ruled: write of before",
	"session: the node is behind",
	"start",
	"starts with a damaged store",
	"stopped by its disk",
	"store file lost",
	"store rebuilt",
	"subtree removed",
	"view held",
	"vote granted",
	"watch refused",
	"watch: compacted",
	"watch: permission gone",
	"watch: store is being rebuilt from a peer",
	"watch: what it had was lost in a restore",
	"watched",
	"watcher does not read",
	"write checked again with a quorum",
	"write not checked: no quorum answered in time",
	"write of another node refused for want of room",
	"write of before the restore asked for again",
	"write refused where it was accepted",
	"write: compacted",
	"write: denied",
	"write: idempotency key reused",
	"write: it is the last administrator",
	"write: no such revision yet",
	"write: no such role",
	"write: not_applied: disk is full: no writes are taken",
	"write: not_applied: no quorum answered in time",
	"write: not_applied: store is being rebuilt from a peer",
	"write: not_applied: too much in flight",
	"write: role is in use",
	"write: there is an administrator",
	"write: unknown: no quorum answered in time",
	"write: unknown: node was brought up to date by another's state while the command was on its way",
	"write: unknown: store is being rebuilt from a peer",
}

// holes are the names that no world reaches, and why not. A sweep demands all but
// these, so whoever closes a hole takes its name out.
var holes = map[string]string{
	"answers expired":       "a world of a minute is too short: TestAnswersExpire has a longer one, and each world's afterlife makes the time pass",
	"key without an answer": "keys are worn before the search for an order gets long",
	markPrefix + "write repeated, and its first time forgotten": "no node takes as many writes in one life as the window holds",
}

// Holes are the names on the lists that no world reaches yet, and why not.
func Holes() map[string]string { return maps.Clone(holes) }

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
