package client

import "time"

// Limits that the servers enforce, checked here before anything is sent, so that
// an import is refused as a whole.
const (
	// MaxKeyBytes bounds one key.
	MaxKeyBytes = 1 << 10
	// MaxKeyDepth bounds the segments of a key.
	MaxKeyDepth = 32
	// MaxValueBytes bounds one value. A server may be configured to take less.
	MaxValueBytes = 1 << 20
	// MaxJSONDepth bounds the nesting of a JSON value.
	MaxJSONDepth = 1_000
	// MaxTxnOps bounds the compares of a transaction, and the operations of each branch;
	// MaxTxnBytes its JSON document.
	MaxTxnOps   = 512
	MaxTxnBytes = 4 << 20
	// MaxTokenBytes bounds a token.
	MaxTokenBytes = 16 << 10
	// MaxIdempotencyKeyBytes bounds the name of a write.
	MaxIdempotencyKeyBytes = 255
)

// Limits of this package.
const (
	// MaxAnswerBytes bounds an answer that is not a stream: the largest page of a
	// listing is 8 MiB and one value more, of up to six bytes for each of its own.
	MaxAnswerBytes = 16 << 20
	// MaxProblemBytes bounds an error's document; what is longer is cut, not read.
	MaxProblemBytes = 64 << 10
	// MaxLineBytes bounds one record of a stream, as the servers do.
	MaxLineBytes = 6*MaxValueBytes + 64<<10

	// MaxChangeBytes bounds one change of a watch: the largest rollback, of 32 MiB and 10,000
	// keys, six bytes for each of its own.
	MaxChangeBytes = 256 << 20
	// DefaultHeartbeat is WatchOptions.Heartbeat unless set, MissedHeartbeats is after how
	// many without a word a node is given up.
	DefaultHeartbeat = 10 * time.Second
	MissedHeartbeats = 3

	// MaxNamespaceEdits bounds how often EditNamespace reads and writes because others did
	// meanwhile.
	MaxNamespaceEdits = 8

	// MaxChunkRecords and MaxChunkBytes bound one request of an import: enough for
	// several transactions to be under way at once, little enough to repeat. Its
	// last record may exceed the bytes.
	MaxChunkRecords = 4_096
	MaxChunkBytes   = 1 << 20
	// DefaultInFlight and MaxInFlight bound the requests of an import under way.
	DefaultInFlight = 4
	MaxInFlight     = 64

	// DefaultMaxAttempts is Options.MaxAttempts unless set: with three endpoints
	// they take about 7 seconds, longer than an election.
	DefaultMaxAttempts = 24
	// DefaultMinBackoff and DefaultMaxBackoff are the pauses after the first round
	// over all endpoints and after later ones, at most.
	DefaultMinBackoff = 100 * time.Millisecond
	DefaultMaxBackoff = 2 * time.Second

	// MaxRetryAfter bounds the pause that a node may ask for (429, Retry-After) where no deadline
	// does: with more, the request fails.
	MaxRetryAfter = time.Minute
	// maxTold bounds what is taken of that header.
	maxTold = 24 * time.Hour

	// MaxRetryAge is how long after its first attempt a write whose outcome is unknown is
	// still sent again: half of how long the servers remember its idempotency key, so that
	// an attempt that is slow to arrive is known too.
	MaxRetryAge = 5 * time.Minute

	// DefaultAttemptTimeout is Options.AttemptTimeout unless set; a server answers
	// within 10 s if it can answer at all.
	DefaultAttemptTimeout = 15 * time.Second
	// ImportAttemptTimeout bounds one attempt of one chunk: its transactions are
	// under way together, but share the disks with those of other chunks.
	ImportAttemptTimeout = 30 * time.Second
	// BackupAttemptTimeout bounds the time until a backup begins, for which the node writes all that
	// it holds in memory, and the silence within it.
	BackupAttemptTimeout = time.Minute
	// ChunkedTimeout bounds one attempt of a removal or a rollback in several transactions,
	// VerifyTimeout that of a verification, which reads the whole history.
	ChunkedTimeout = 10 * time.Minute
	VerifyTimeout  = 10 * time.Minute
	// DialTimeout bounds the way to a node: one that was switched off does not refuse.
	DialTimeout = 2 * time.Second
	// AvoidFor is how long an endpoint that failed is asked last, MaxAvoidFor how long one
	// that goes on failing is: a node that was switched off costs one request DialTimeout
	// each time, and one that is back is found within that.
	AvoidFor    = 5 * time.Second
	MaxAvoidFor = 40 * time.Second
)
