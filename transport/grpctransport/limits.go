package grpctransport

import "time"

const (
	// WireVersion is this program's version of the protocol between nodes.
	WireVersion = 1

	// MaxReceiveBytes bounds one frame: a transaction at its limit (4 MiB) and 1 MiB for what goes with it.
	MaxReceiveBytes = 4<<20 + 1<<20

	// maxFrameBytes is where a sender starts the next frame; one message alone may be larger.
	maxFrameBytes = 1 << 20

	// MaxQueuedMessages and MaxQueuedBytes bound what waits for one peer, in each
	// of the two classes; what finds no room is dropped.
	MaxQueuedMessages = 4096
	MaxQueuedBytes    = 32 << 20 // more than raft lets be in flight to one peer

	// pingInterval is the time between pings on a stream; pongPatience is how long
	// they may stay unanswered before the connection is given up. Pings wait behind
	// what a busy receiver has not taken yet, so it is not much shorter than what a
	// starved machine needs; with it a healed partition is over within five seconds.
	pingInterval = 500 * time.Millisecond
	pongPatience = 4 * time.Second

	// dialPatience bounds connecting and the handshake.
	dialPatience = 2 * time.Second

	// minBackoff and maxBackoff bound the wait between attempts to connect; it
	// doubles, and each wait is drawn between half of it and all.
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second

	// streamWindowBytes is the flow-control window of a stream and a connection: a few frames.
	streamWindowBytes = 4 << 20
)
