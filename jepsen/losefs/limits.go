package losefs

import "time"

const (
	// PieceBytes is what is kept or lost of a file as a whole: a sector of a disk.
	PieceBytes = 512

	// tornEvery is of how many pieces that are lost one is lost in part, if that may be.
	tornEvery = 4

	// blockBytes is the unit in which statfs counts.
	blockBytes = 4096

	// maxWriteBytes bounds one request of the kernel to write or read.
	maxWriteBytes = 256 << 10

	// maxBackground bounds the requests that nobody waits for.
	maxBackground = 16

	// cacheTime is how long the kernel may believe what it was told of names and lengths. All changes go through it, so it could be for ever.
	cacheTime = time.Minute

	// unmountTime bounds the wait for the kernel to give up a mount.
	unmountTime = 10 * time.Second
)
