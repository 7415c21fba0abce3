package tcpproxy

import "time"

const (
	// MaxConns bounds the connections; the next one is refused.
	MaxConns = 4096

	// Up to chunkBytes are read at once, and MaxChunks of each way of a connection wait; then it is not read any more, and TCP has
	// the sender wait.
	chunkBytes = 16 << 10
	MaxChunks  = 256

	// packetBytes is what a packet would have: as many as data needs may be lost or changed.
	packetBytes = 1448

	// resendTime is TCP's shortest wait before it sends again.
	resendTime = 200 * time.Millisecond

	// dialTime bounds the wait for a program on this machine.
	dialTime = 5 * time.Second
)
