package linearizability

import "fmt"

// EventKind is what happened to a node or to the cluster.
type EventKind string

// The kinds of event.
const (
	// Leads: the node leads in Term.
	Leads EventKind = "leader"
	// Started, Crashed, Paused, Resumed: the node's process did, or was made to.
	Started EventKind = "start"
	Crashed EventKind = "crash"
	Paused  EventKind = "pause"
	Resumed EventKind = "resume"
	// FaultBegins and FaultEnds bracket a fault; they share Fault.
	FaultBegins EventKind = "fault_begin"
	FaultEnds   EventKind = "fault_end"
	// AppliedEntry: the node applied the entry at Index, of Term; Digest is of
	// whatever all nodes must agree on there: the entry, the state, or both.
	AppliedEntry EventKind = "applied"
)

// Event is something that happened to a node or to the cluster.
type Event struct {
	At   int64 // ns
	Kind EventKind
	Node string // not of faults
	// Term is of Leads and AppliedEntry, Index and Digest of AppliedEntry.
	Term, Index uint64
	Digest      string
	// Fault pairs a beginning with its end; an unended fault lasts to the end.
	Fault uint64
	// Name, Nodes, Links and Minority are of FaultBegins: what it is called, whom
	// and which links (from, to) it hits, and the nodes that cannot reach a majority
	// and back while it lasts. A harness that does not know leaves Minority empty.
	Name     string
	Nodes    []string
	Links    [][2]string
	Minority []string
	Text     string // for people
}

// Watch is a stream of changes as a client received it.
type Watch struct {
	ID     uint64 // from 1, unique among watches
	Client int
	Node   string
	Prefix string // of the keys watched
	From   uint64 // changes after this revision were asked for
	Start  int64  // ns
	// Through, unless 0, is a revision up to which the stream was said to be
	// complete, at ThroughAt; its last event says so too.
	Through   uint64
	ThroughAt int64
	Events    []WatchEvent // as they came
}

// WatchEvent is one changed key. Those of one transaction have the same revision
// and follow each other.
type WatchEvent struct {
	At       int64 // ns
	Revision uint64
	Key      string
	Deleted  bool
	Value    string // unless Deleted
}

func (w *Watch) String() string {
	return fmt.Sprintf("watch %d (client %d on %s, %q after revision %d)", w.ID, w.Client, w.Node, w.Prefix, w.From)
}
