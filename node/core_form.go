package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// formInterval is how often a node that is not a member yet asks the others.
const formInterval = 200 * time.Millisecond

var (
	// ErrDiskLost means that the data directory is empty, or older than what the
	// others know: this node may have voted before, so it may not vote again.
	ErrDiskLost = errors.New("this node's data directory was lost or replaced: it may have voted before and must rejoin as a new member")
	// ErrOtherCluster means that the data directory belongs to another cluster than that of a configured member.
	ErrOtherCluster = errors.New("configured members belong to different clusters")
)

// Formation is how nodes that meet with empty data directories become a cluster
// (protocol.md §6). Like Core it is pure: the driver feeds it and obeys it. It
// stays in use after the node is a member, to answer those who still ask.
//
// The first member in sorted order coordinates, in two phases. When every other
// member has answered, in this process's life, that it is empty or has never
// voted, it makes a new cluster id durable and asks all to do the same
// (prepare). When all have, it is formed, and says so (commit). Nobody votes
// before it knows that all have prepared, so a node that is found empty
// afterwards lost its disk, and nobody helps it in.
type Formation struct {
	id     Identity
	names  []string // sorted; the raft id of names[i] is i+1
	config uint64
	draw   fsm.ClusterID
	life   [16]byte    // draw; of a restored node, its directory's
	peers  []peerState // by raft id - 1; this node's own is not used
	asked  bool
	askAt  time.Duration
}

type peerState struct {
	heard   bool
	life    [16]byte
	echoed  bool // it answered this process
	state   transport.FormState
	cluster fsm.ClusterID
	config  uint64
}

// FormStep is what the driver must do: first make Persist durable, if it is not
// nil (with Formed set, the log must exist durably before), then send Send. When
// Identity().Formed is set afterwards, the core may start. Err stops the node.
type FormStep struct {
	Persist *Identity
	Send    []transport.Message
	Err     error
}

// NewFormation starts from what the data directory holds; an id without a
// Cluster means empty. names are the configured members, self one of them; draw
// is new and random in each process: the cluster id, if it falls to this node to
// choose one, and what tells this process from those before it.
func NewFormation(names []string, self string, id Identity, draw fsm.ClusterID) *Formation {
	names = slices.Sorted(slices.Values(names))
	n, ok := slices.BinarySearch(names, self)
	must(ok, "%s is not among the configured members", self)
	must(draw != fsm.ClusterID{}, "the drawn cluster id is zero")
	f := &Formation{id: id, names: names, draw: draw, life: draw, peers: make([]peerState, len(names))}
	if id.Restored != nil {
		f.life = id.Restored.Life
	}
	if !id.Formed {
		def(&f.id.Version, fsm.Version)
		f.id.Name, f.id.RaftID = self, uint64(n+1)
		f.id.Members = nil
		for i, name := range names {
			f.id.Members = append(f.id.Members, fsm.Member{RaftID: uint64(i + 1), Name: name})
		}
	}
	f.config = hashConfig(names, f.id.Version, id.Restored)
	return f
}

// hashConfig tells whether two nodes are configured with the same members, and would begin with the same
// version and state.
func hashConfig(names []string, version uint8, restored *Restored) uint64 {
	b := []byte{version}
	for _, name := range names {
		b = binary.BigEndian.AppendUint64(b, uint64(len(name)))
		b = append(b, name...)
	}
	if restored != nil {
		b = append(b, restored.State[:]...)
	}
	h := fnv.New64a()
	_, _ = h.Write(b) // a hash never fails
	return h.Sum64()
}

// Identity is the newest identity, as the last Persist said.
func (f *Formation) Identity() Identity { return f.id }

// Waiting says, for each configured member that keeps the cluster from forming,
// its name and why; nil once formed.
func (f *Formation) Waiting() []string {
	if f.id.Formed {
		return nil
	}
	var out []string
	for i, name := range f.names {
		p := f.peers[i]
		switch {
		case uint64(i+1) == f.id.RaftID:
		case !p.heard:
			out = append(out, name+": no answer yet")
		case p.config != f.config && f.id.Restored != nil && p.config == hashConfig(f.names, fsm.Version, nil):
			out = append(out, name+": has not been restored from the same backup (run confman restore there, as the first node's printed)")
		case p.config != f.config && f.id.Restored != nil:
			out = append(out, name+": is configured with other members, or has been restored from another backup, or to another cluster id, revision or time (compare the command lines of confman restore)")
		case p.config != f.config && p.state == transport.FormPrepared && !f.prepared():
			out = append(out, name+": is configured with other members (compare Cluster.Nodes of both), or has been restored from a backup, and this node has not")
		case p.config != f.config:
			out = append(out, name+": is configured with other members (compare Cluster.Nodes of both), or runs another release")
		case f.coordinates() && f.prepared() && !f.ready(i):
			out = append(out, name+": has not stored the cluster id yet")
		}
	}
	return out
}

// Tick drives formation on; call it about every TickInterval until formed.
func (f *Formation) Tick(now time.Duration) FormStep {
	if f.id.Formed || (f.asked && now-f.askAt < formInterval) {
		return FormStep{}
	}
	f.asked, f.askAt = true, now
	if step := f.advance(); step.Err != nil || step.Persist != nil {
		return step
	}
	if f.coordinates() && f.prepared() {
		return FormStep{Send: f.toAll(transport.FormPrepare)}
	}
	return FormStep{Send: f.toAll(transport.FormHello)}
}

// Receive takes a message whose Form is set.
func (f *Formation) Receive(m transport.Message) FormStep {
	if m.To != f.id.RaftID || m.From == m.To || m.From == 0 || m.From > uint64(len(f.peers)) {
		return FormStep{}
	}
	in := m.Form
	if f.id.Formed {
		f.peers[m.From-1].life = in.Life
		return f.answer(m)
	}
	echoed := in.Echo == f.life
	f.peers[m.From-1] = peerState{heard: true, life: in.Life, echoed: echoed, state: in.State, cluster: in.Cluster, config: in.Config}
	if again := f.id.Restored != nil && in.Cluster == f.id.Cluster && in.State == transport.FormMember; again && echoed && in.Config != f.config {
		// It is the same cluster, and knows this node's directory as another one: see stranger.
		return FormStep{Err: fmt.Errorf("node: %s is a member of cluster %x already, and %s was restored again, or otherwise: %w", f.names[m.From-1], in.Cluster, f.id.Name, ErrDiskLost)}
	}
	if in.Config != f.config || !echoed {
		return f.answer(m)
	}
	fromCoordinator := m.From == 1
	switch {
	case in.Kind == transport.FormPrepare && fromCoordinator && in.Cluster != f.id.Cluster:
		// An earlier prepare was never committed anywhere, or the coordinator would
		// have found a member among the others: it may be replaced.
		f.id.Cluster = in.Cluster
		step := f.answer(m)
		step.Persist = f.copyID()
		return step
	case in.State == transport.FormMember && in.Cluster == f.id.Cluster:
		// All have prepared, or there would be no member: this is the commit.
		if !f.form() {
			return f.answer(m) // of a restored one this node does not know all yet, and goes on asking
		}
		step := f.answer(m)
		step.Persist = f.copyID()
		return step
	case in.State == transport.FormMember && !f.prepared():
		return FormStep{Err: fmt.Errorf("node: %s is a member of cluster %x, and %s has an empty data directory: %w", f.names[m.From-1], in.Cluster, f.id.Name, ErrDiskLost)}
	case in.State == transport.FormMember:
		return FormStep{Err: fmt.Errorf("node: %s is a member of cluster %x, and %s was to join cluster %x: %w", f.names[m.From-1], in.Cluster, f.id.Name, f.id.Cluster, ErrOtherCluster)}
	}
	step := f.advance()
	if step.Persist == nil {
		step.Send = append(step.Send, f.answer(m).Send...)
	}
	return step
}

// advance takes the coordinator's next step, if all others let it.
func (f *Formation) advance() FormStep {
	if !f.coordinates() {
		return FormStep{}
	}
	all := true
	for i := range f.peers {
		if uint64(i+1) != f.id.RaftID {
			p := f.peers[i]
			all = all && p.echoed && p.config == f.config && p.state != transport.FormMember
		}
	}
	if !all {
		return FormStep{}
	}
	if !f.prepared() {
		f.id.Cluster = f.draw
		if len(f.names) > 1 {
			return FormStep{Persist: f.copyID(), Send: f.toAll(transport.FormPrepare)}
		}
	}
	for i := range f.peers {
		if uint64(i+1) != f.id.RaftID && !f.ready(i) {
			return FormStep{}
		}
	}
	if !f.form() {
		return FormStep{}
	}
	return FormStep{Persist: f.copyID(), Send: f.toAll(transport.FormCommit)}
}

// form makes this node a member. One that was restored remembers the directories of the others, and
// needs to have heard of all of them.
func (f *Formation) form() bool {
	if r := f.id.Restored; r != nil {
		known := Restored{State: r.State, Life: r.Life, Lives: make([][16]byte, len(f.peers))}
		for i := range f.peers {
			p := &f.peers[i]
			if known.Lives[i] = p.life; uint64(i+1) == f.id.RaftID {
				known.Lives[i] = r.Life
			} else if !p.echoed || p.config != f.config {
				return false
			}
		}
		f.id.Restored = &known
	}
	f.id.Formed = true
	return true
}

// stranger tells whether m comes from a directory that was made after the cluster had formed with
// another one of that node's: its owner restored it again, and what it had voted is forgotten.
func (f *Formation) stranger(m transport.Message) bool {
	return f.id.Formed && f.id.Restored != nil && int(m.From) <= len(f.id.Restored.Lives) && f.id.Restored.Lives[m.From-1] != m.Form.Life
}

// ready tells whether the member names[i] has made this cluster's id durable.
func (f *Formation) ready(i int) bool {
	p := f.peers[i]
	return p.echoed && p.state == transport.FormPrepared && p.cluster == f.id.Cluster
}

func (f *Formation) coordinates() bool { return f.id.RaftID == 1 }

func (f *Formation) prepared() bool { return f.id.Cluster != fsm.ClusterID{} }

func (f *Formation) copyID() *Identity {
	id := f.id
	return &id
}

func (f *Formation) state() transport.FormState {
	switch {
	case f.id.Formed:
		return transport.FormMember
	case f.prepared():
		return transport.FormPrepared
	default:
		return transport.FormEmpty
	}
}

func (f *Formation) message(to uint64, kind transport.FormKind) transport.Message {
	return transport.Message{From: f.id.RaftID, To: to, Form: &transport.Form{
		Kind: kind, Config: f.config, State: f.state(), Cluster: f.id.Cluster, Life: f.life, Echo: f.peers[to-1].life,
	}}
}

func (f *Formation) toAll(kind transport.FormKind) []transport.Message {
	var out []transport.Message
	for i := range f.names {
		if id := uint64(i + 1); id != f.id.RaftID {
			out = append(out, f.message(id, kind))
		}
	}
	return out
}

// answer tells the sender of m this node's state, unless m is an answer itself.
func (f *Formation) answer(m transport.Message) FormStep {
	if m.Form.Kind == transport.FormReply {
		return FormStep{}
	}
	reply := f.message(m.From, transport.FormReply)
	if f.stranger(m) {
		reply.Form.Config = ^f.config
	}
	return FormStep{Send: []transport.Message{reply}}
}
