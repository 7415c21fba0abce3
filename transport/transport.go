package transport

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Message is one message between two nodes, named by their raft ids. Exactly one
// of the pointers is set.
type Message struct {
	From, To uint64

	Raft         *raftpb.Message
	Forward      *Forward
	ForwardReply *ForwardReply
	Form         *Form
	Image        *Image
	ImageReply   *ImageReply
	ImageRequest *ImageRequest
	Digest       *Digest
	Claim        *Claim
	ClaimReply   *ClaimReply
}

// Forward asks the leader to propose a command that another node accepted. Raft
// never resends a proposal, so the origin does, and the store's window refuses
// the repeats.
type Forward struct {
	// Addressee is the incarnation of the receiver that may act on this copy. Any
	// other refuses it, so a copy that outlives the process it was sent to can
	// never be accepted by the next one. Zero: the sender does not know it yet;
	// nobody acts on such a copy, the reply tells the sender the incarnation.
	Addressee uint64
	// Incarnation and Seq name the proposal together with Message.From.
	Incarnation uint64
	Seq         uint64
	// Attempt numbers the copies of one proposal from 1; a receiver acts on each at
	// most once, so that a copy it refused stays refused when the network repeats it.
	Attempt uint32
	// Command is the encoded command (package fsm).
	Command []byte
}

// ForwardReply answers a Forward.
type ForwardReply struct {
	// Incarnation is that of the node that answers.
	Incarnation uint64
	// Origin, Seq and Attempt are the Forward's Incarnation, Seq and Attempt.
	Origin  uint64
	Seq     uint64
	Attempt uint32
	// Verdict says what became of that copy.
	Verdict Verdict
	// Term and Index are where the leader appended it (Accepted only).
	Term  uint64
	Index uint64
}

// Verdict is what the receiver of a Forward did with that copy.
type Verdict uint8

const (
	// Accepted: appended to the leader's log at (Term, Index).
	Accepted Verdict = iota + 1
	// NotAddressed: the copy was for another incarnation; it was not proposed.
	NotAddressed
	// NotLeader: this incarnation does not lead and did not propose the copy.
	NotLeader
	// Overloaded: the leader has too much in flight and did not propose the copy.
	Overloaded
	// StorageFull: the leader's disk is full and it did not propose the copy.
	StorageFull
)

// Form is one step of forming a cluster (protocol.md §6): all configured
// members must meet with empty data directories before any of them may vote.
type Form struct {
	Kind FormKind
	// Config is a hash of the configured member names and the sender's view of
	// them; nodes with different ones do not form a cluster.
	Config uint64
	// State is the sender's own state.
	State FormState
	// Cluster is the 128-bit cluster id the message is about; zero when there is none yet.
	Cluster [16]byte
	// Life is random and new in each process of the sender; Echo is the receiver's
	// Life as the sender last heard it (zero: not heard). What depends on the
	// receiver's state counts only if Echo is right: a message that outlived the
	// process it was meant for must not lead its successor.
	Life, Echo [16]byte
}

// FormKind is the step that a Form takes.
type FormKind uint8

const (
	// FormHello says what the sender is and asks the same of the receiver.
	FormHello FormKind = iota + 1
	// FormReply answers any other Form with the sender's state.
	FormReply
	// FormPrepare asks the receiver to make Cluster durable as its own, without voting yet.
	FormPrepare
	// FormCommit says that all members have made Cluster durable: it may be served now.
	FormCommit
)

// FormState is how far a node is in becoming a member.
type FormState uint8

const (
	// FormEmpty: the data directory holds nothing.
	FormEmpty FormState = iota + 1
	// FormPrepared: the cluster id is durable; the node has never voted.
	FormPrepared
	// FormMember: the node is a member and may have voted.
	FormMember
)

// Image is a piece of a database image, for a replica that the log cannot bring up
// to date: its receiver is too far behind, or has lost its database.
type Image struct {
	// Incarnation is the sender's. With Transfer and Message.From it names one
	// transfer of one image; a piece of another never continues it.
	Incarnation uint64
	Transfer    uint64
	// Term is that of the leader that sends because raft asked it to; zero: the
	// receiver asked for it.
	Term uint64
	// Index is that of the last entry applied in the image.
	Index uint64
	// Size is the image's in bytes; Data are those at Offset.
	Size   uint64
	Offset uint64
	Data   []byte
	// Sum is the CRC-32C of all other fields, as package node computes it: between
	// two disks only this stands for the bytes.
	Sum uint32
}

// ImageReply answers pieces of an image.
type ImageReply struct {
	// Incarnation and Transfer are the Image's.
	Incarnation uint64
	Transfer    uint64
	Verdict     ImageVerdict
	// Offset is what the receiver has on its disk without a gap: where to go on (ImageWanted only).
	Offset uint64
}

// ImageVerdict is what the receiver of an image did with it.
type ImageVerdict uint8

const (
	// ImageWanted: the bytes before Offset are written, those from there on are wanted.
	ImageWanted ImageVerdict = iota + 1
	// ImageTaken: the image is whole, verified and durable.
	ImageTaken
	// ImageRefused: the image is not wanted, or there is no room for it.
	ImageRefused
	// ImageDamaged: the image was written as it came and is damaged: so is the sender's database.
	ImageDamaged
)

// ImageRequest asks a peer for its image (protocol.md §4, rebuild).
type ImageRequest struct {
	// First is the least index that the image may hold: the log goes on from there.
	First uint64
}

// Digest is the sender's state hash right after the entry at Index was applied.
type Digest struct {
	Index uint64
	// Asked: this is the leader's wish that all who apply that entry send their hash; Hash is zero.
	Asked bool
	Hash  [32]byte
}

// Claim says to the leader whose data directory a seat belongs to, and what its program
// knows. Members send it, to all that they know if they hear of no leader, and so does a node that starts with an empty directory for a seat
// that was made for it: it takes no part before it is welcomed.
type Claim struct {
	// Life is random and of one data directory: it was made durable there before this was sent. Zero: the
	// sender's program is too old to say, and whoever speaks its version of the wire says this for it.
	Life [16]byte
	// Version is the newest command version that the sender knows (package fsm).
	Version uint8
}

// ClaimReply answers a Claim.
type ClaimReply struct {
	// Life is the Claim's: an answer to another life's is none.
	Life    [16]byte
	Verdict ClaimVerdict
	// Members are those that the sender knows, and Last the greatest raft id that any member ever had
	// (ClaimWelcome only): one who comes back may not know who leads now, and would not hear it.
	Members []Peer
	Last    uint64
	// Commit is an entry that the sender knows to be committed, and CommitTerm its term (ClaimWelcome only; 0: it
	// says of none). Whoever has that entry in its log knows as much.
	Commit, CommitTerm uint64
}

// ClaimVerdict is what became of a claim.
type ClaimVerdict uint8

const (
	// ClaimWelcome: the seat is that life's, in a committed entry.
	ClaimWelcome ClaimVerdict = iota + 1
	// ClaimTaken: another life holds the seat.
	ClaimTaken
	// ClaimGone: the sender is not a member any more.
	ClaimGone
)

// Peer is a member as the wire knows it.
type Peer struct {
	RaftID uint64
	// Name is what its certificate must say. Two may have one, while one replaces the other.
	Name string
	// Address is host:port; "": this node waits for the peer to connect.
	Address string
}

// Transport carries messages to other nodes. Safe for concurrent use.
type Transport interface {
	// Send queues msgs for their receivers and returns at once. Those that find
	// no room are dropped.
	Send(msgs []Message)
}

// Handler receives what arrives. Its methods are called from the transport's
// goroutines and must not block for long: a slow one delays its peer only.
type Handler interface {
	// Receive takes one message that arrived; the message is the handler's.
	Receive(m Message)
	// Unreachable says that messages to peer were dropped or its connection was
	// lost: once for each burst of losses. It may be called from within Send.
	Unreachable(peer uint64)
	// Gone says that nobody listens at peer's address, so that the process that was there has ended. It comes with each
	// attempt to connect.
	Gone(peer uint64)
	// Dismissed says that peer refused this node's stream since this node's raft id is not a
	// member of their cluster any more; also if this node belongs to none yet. It is the word of one peer,
	// which may be mistaken, and may come again and again.
	Dismissed(peer uint64)
}

// BatchHandler may a Handler be to which messages that came together can be given together.
type BatchHandler interface {
	// ReceiveAll takes msgs as Receive would one by one; they and the slice are the handler's.
	ReceiveAll(msgs []Message)
}

// OutdatedHandler may a Handler be that wants to hear the same of its data directory.
type OutdatedHandler interface {
	// Outdated says that peer refused this node's stream since it has heard a later incarnation of it. It comes as
	// Dismissed does.
	Outdated(peer uint64)
}

// PeerStats is a peer's connection at the moment, of a transport that can tell.
type PeerStats struct {
	ID   uint64
	Name string
	// Address is where this node connects to; "": nowhere, it waits for the peer to connect.
	Address string
	// Connected: a stream to the peer is open, of wire version Version.
	Connected bool
	Version   int
	// Queued and QueuedBytes wait to be sent; Dropped found no room, ever.
	Queued      int
	QueuedBytes int
	Dropped     uint64
	// RoundTrip is the last ping's, with what it waited behind; zero: not known yet.
	RoundTrip time.Duration
}
