package wal

const (
	// DefaultSegmentBytes is the size of a segment: large enough that switching,
	// with its five syncs, is rare; small enough to read in a fraction of a second at start, and that the next
	// one can be prepared while a half of it is filled.
	DefaultSegmentBytes = 64 << 20

	// DefaultReserveBytes is the size of the reserve: all that a node may have in flight, and a quarter more.
	DefaultReserveBytes = 80 << 20

	// prepareBytes is how much of the next segment one Prepare writes and syncs: what is appended meanwhile waits
	// behind that much.
	prepareBytes = 256 << 10

	// MaxBatchBytes bounds one batch as it lies on disk; Append refuses a larger one.
	// It is above anything the node keeps in flight, and bounds what Open must hold in memory.
	MaxBatchBytes = 256 << 20

	// maxIndex bounds the index of a marker, so that what is counted up from it does not overflow.
	maxIndex = 1 << 62

	// minSegmentBytes is room for the header and a few small batches.
	minSegmentBytes = 1 << 10

	// minReserveBytes is the least reserve by default, however small the segments.
	minReserveBytes = 8 << 20

	// fileUnit is what sizes of files are rounded up to.
	fileUnit = 512

	// markBytes is the distance of the marks in the index of a segment: a read begins
	// at most this far before what it was asked for. 24 bytes of memory each.
	markBytes = 32 << 10

	// keepBufferBytes bounds the write buffer that is kept for the next batch.
	keepBufferBytes = 4 << 20

	// scanChunkBytes is how much Open reads at a time, readChunkBytes how much Entries does.
	scanChunkBytes = 1 << 20
	readChunkBytes = 64 << 10
)
