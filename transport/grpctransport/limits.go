package grpctransport

import "time"

const (
	// MaxReceiveBytes bounds one frame: a transaction at its limit (4 MiB) and 1 MiB for what goes with it.
	MaxReceiveBytes = 4<<20 + 1<<20

	// MaxMessageBytes bounds one message, so that it fits a frame together with
	// the urgent ones that go before it; a larger one is dropped and reported.
	MaxMessageBytes = MaxReceiveBytes - 2*maxUrgentBytes

	// maxFrameBytes is where a sender starts the next frame; one message alone may be larger.
	maxFrameBytes = 128 << 10

	// maxUrgentBytes bounds the urgent messages of one frame.
	maxUrgentBytes = 64 << 10

	// windowBytes bounds the bulk on its way to a peer that the peer has not
	// acknowledged. What is urgent waits behind that much at most, not behind all
	// that gRPC and TCP would buffer; at a round trip of 50 ms it lets 10 MB/s through.
	windowBytes = 512 << 10

	// ackBytes is after how much bulk a sender asks for an acknowledgment.
	ackBytes = 64 << 10

	// MaxQueuedMessages and MaxQueuedBytes bound what waits for one peer, in each
	// of the three classes; what finds no room is dropped.
	MaxQueuedMessages = 4096
	MaxQueuedBytes    = 32 << 20 // more than raft lets be in flight to one peer

	// keptItems bounds the room of a queue that is kept while it is empty.
	keptItems = 64

	// pingInterval is the time between pings on a stream. silencePatience is how
	// long the peer may leave them unanswered before the connection is given up: as
	// long as a starved machine needs. Bulk on its way adds what it takes at
	// slowestLink (bytes per second), or a slow link would never get a large message
	// through.
	pingInterval    = 500 * time.Millisecond
	silencePatience = 4 * time.Second
	slowestLink     = 64 << 10

	// wirePatience is how long the peer's kernel may leave bytes unacknowledged. It
	// answers for a process that is starved or busy, so this can be shorter.
	wirePatience = 2 * time.Second

	// connectPatience bounds a TCP connect: a lost SYN is sent again after a second
	// at the earliest, and a new attempt is sooner. handshakePatience bounds all
	// that comes before the first message.
	connectPatience   = time.Second
	handshakePatience = 2 * time.Second

	// maxGuests bounds the connections at a time that have not come to the end of their
	// handshake; each may hold as much as TLS lets a stranger send.
	maxGuests = 256

	// visitPatience bounds the connection of a node that is no member: one stream, to hear that.
	visitPatience = handshakePatience

	// dismissInterval is how often Handler.Dismissed is called for one peer.
	dismissInterval = time.Minute

	// minBackoff and maxBackoff bound the wait between attempts to connect; it
	// doubles, and each wait is drawn between half of it and all. With
	// connectPatience it bounds how long a healed partition goes unnoticed.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 500 * time.Millisecond

	// keepaliveInterval is how long a connection may be idle before gRPC asks, which
	// it does not do more often. It rids a receiver of peers that vanished.
	keepaliveInterval = 10 * time.Second

	// streamWindowBytes is the flow-control window of a stream and a connection.
	streamWindowBytes = 1 << 20

	// maxMembers bounds the members in an answer to a claim, maxNameBytes their names and addresses: what the
	// state may hold (TestAnswersHaveRoomForAllMembers).
	maxMembers   = 16
	maxNameBytes = 512

	// refusalInterval is how often one and the same refusal is logged; maxRefusals
	// bounds the refusals that are remembered for that, and so the lines in that time;
	// maxReasonBytes bounds a line, of which the refused may have chosen a part.
	refusalInterval = time.Minute
	maxRefusals     = 64
	maxReasonBytes  = 1 << 10
)

// A frame of urgent messages and the largest other one fits. Negative: no compile.
const _ = uint(MaxReceiveBytes - MaxMessageBytes - maxUrgentBytes)
