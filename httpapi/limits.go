package httpapi

import (
	"time"

	"github.com/confman/confman/fsm"
)

// Limits of the API. What exceeds one is refused with a problem that names it.
const (
	// MaxRequests bounds the requests being worked on, health checks apart; the
	// next one gets 503 overloaded.
	MaxRequests = 4096

	// MaxCallerRequests bounds those of one caller who is known: a request may wait for seconds
	// before it is found out whether its sender may make it. MaxPublicRequests bounds, beside
	// them, those that anybody may make.
	MaxCallerRequests = MaxRequests / 2
	MaxPublicRequests = 256

	// minRate and MaxRate bound Rates, in requests a second, and MaxRate a burst: more is no limit.
	minRate = 0.001
	MaxRate = 1_000_000

	// MaxRatedCallers bounds the callers whose requests are counted for Rates: those that came
	// last. At some 500 bytes each they take 16 MiB.
	MaxRatedCallers = 1 << 15

	// MaxScrapes bounds those of /metrics, which anybody may ask for, and which take more than others.
	MaxScrapes = 4

	// MaxHeaderBytes bounds a request's line and headers. The longest key takes 3
	// KiB when every byte is escaped, its cursor half of that.
	MaxHeaderBytes = 32 << 10

	// MaxBodyMemoryBytes bounds the request bodies held in memory together; past
	// it a request with a body gets 503 overloaded. It takes 256 of the largest
	// values, or 4 of the largest trees.
	MaxBodyMemoryBytes = 256 << 20

	// MaxCallerBodyBytes bounds those of one caller who is known, unless it is a single request: so
	// nobody keeps others from writing by bodies that do not come.
	MaxCallerBodyBytes = MaxBodyMemoryBytes / 2

	// MaxTreeBytes bounds the body of a tree's import, which is read and checked
	// whole before anything is written. Records have no such bound.
	MaxTreeBytes = 64 << 20

	// MaxYAMLNodes bounds the scalars and collections of a tree in YAML, names included, as far as
	// they can be counted before it is parsed: each takes yamlNodeBytes of the memory for bodies.
	MaxYAMLNodes  = 256 << 10
	yamlNodeBytes = 256

	// MaxRecordsBytes bounds the body of an import of records, which is streamed.
	MaxRecordsBytes = 64 << 30

	// MaxLineBytes bounds one record of such an import: the largest value may take
	// six bytes for each of its own in JSON ("\u0001").
	MaxLineBytes = 6*fsm.MaxValueBytes + 64<<10

	// MaxTxnOps bounds the operations of each branch of a transaction, gets included, and its
	// compares; MaxTxnBytes bounds its body.
	MaxTxnOps   = fsm.MaxTxnOps
	MaxTxnBytes = fsm.MaxTxnBytes

	// MaxRollbackBytes bounds the body of a rollback, which is one number.
	MaxRollbackBytes = 1 << 10

	// MaxNamespaceBodyBytes bounds the body that is to become a namespace, which is stored in a
	// quarter of that (fsm.MaxNamespaceBytes).
	MaxNamespaceBodyBytes = 1 << 20

	// MaxMemberBodyBytes bounds the body of an operation on members.
	MaxMemberBodyBytes = 16 << 10

	// HandOverWait bounds the wait for another node to lead: some elections.
	HandOverWait = 5 * time.Second

	// MaxImportOps and MaxImportBytes bound one transaction of an import. Larger
	// ones would save little and delay the writes of others.
	MaxImportOps   = fsm.MaxTxnOps
	MaxImportBytes = 1 << 20

	// MaxImportInFlight bounds an import's transactions being replicated at the
	// same time: enough to keep the log's group commit busy.
	MaxImportInFlight = 8

	// MaxPage bounds a listing's limit, DefaultPage is the limit if none is given.
	MaxPage     = 10_000
	DefaultPage = 1_000

	// MaxPatchAttempts bounds how often a patch is evaluated because the value changed
	// meanwhile, MaxPatchOps the operations of a JSON Patch.
	MaxPatchAttempts = 8
	MaxPatchOps      = 1_000

	// MaxHistoryScan bounds the changes that one page of a subtree's history looks at: the
	// page ends there, however few of them touched the subtree.
	MaxHistoryScan = 10_000

	// MaxAuditScan bounds the changes and refusals that one page of the audit looks at, as above.
	MaxAuditScan = 10_000

	// deletePage is how many keys of a removal in several transactions are read at a time.
	deletePage = 10_000

	// MaxPageBytes ends a page early, so that a page of large values stays
	// bounded. Its last value may exceed it.
	MaxPageBytes = 8 << 20

	// MaxJSONDepth bounds the nesting of a JSON value.
	MaxJSONDepth = 1_000

	// MaxFileNameBytes bounds a file's name that a problem echoes.
	MaxFileNameBytes = 1 << 10

	// MaxEscapeBytes bounds what stands for a slash in imported member names.
	MaxEscapeBytes = 16

	// DefaultMaxStaleness is the bound of a bounded read that names none, the most
	// one may ask for is MaxMaxStaleness.
	DefaultMaxStaleness = 5 * time.Second
	MaxMaxStaleness     = time.Hour

	// ReadWait bounds the wait for a quorum of a read, WriteWait that of a write,
	// or of each transaction of an import. Both leave room for an election.
	ReadWait  = 5 * time.Second
	WriteWait = 10 * time.Second

	// DefaultMaxPolicyStaleness is how old what says who may do what may be where a read is
	// decided: so long a revoked permission may still serve at a node that is cut off.
	DefaultMaxPolicyStaleness = 5 * time.Second

	// DenialInterval is how often at most a node reports what it refused to the audit.
	DenialInterval = 10 * time.Second

	// maxStrangerRows bounds the rows of such a report that are of callers who were not let in.
	maxStrangerRows = fsm.MaxDenials / 2

	// MaxConnections bounds the connections of a Server: 10,000 watches, each with its own, and
	// as many others. Idle ones make room for new ones. Each takes about 20 KiB while it is idle.
	MaxConnections = 20_000

	// MinBodyRate, in bytes a second, is how fast a body must arrive after its first
	// TransferTimeout: one that drips is refused with 408 body-timeout. Time in which the node
	// does not read does not count.
	MinBodyRate = 4 << 10

	// HeaderTimeout bounds the arrival of a request's headers, IdleTimeout the
	// silence between two requests of a connection.
	HeaderTimeout = 10 * time.Second
	IdleTimeout   = 2 * time.Minute

	// MaxStreams bounds the requests of one HTTP/2 connection under way at the same time. The
	// next ones wait at the client; watches are among them.
	MaxStreams = 250

	// MaxConnectionBufferBytes and MaxStreamBufferBytes bound what of the bodies of an HTTP/2
	// connection, and of one of them, is here and not read yet.
	MaxConnectionBufferBytes = 1 << 20
	MaxStreamBufferBytes     = 256 << 10

	// PingInterval is the silence of an HTTP/2 connection after which it is asked for a sign of
	// life, PingTimeout the time for that: a peer that is gone holds no watches.
	PingInterval = 30 * time.Second
	PingTimeout  = 15 * time.Second

	// PreflightAge is how long a browser may remember what a page may do.
	PreflightAge = 10 * time.Minute

	// TransferTimeout bounds a short answer's way out, and the silence within a
	// body that is being streamed in or out.
	TransferTimeout = 30 * time.Second

	// MinEncodedBytes is the least answer that is compressed: a smaller one fits into a packet
	// or two as it is.
	MinEncodedBytes = 1 << 10

	// MaxEncoders bounds the compressions under way, of about 1 MiB each, beside their output;
	// past it answers go out as they are. All exports may be compressed, and as many others.
	MaxEncoders = 2 * MaxExports

	// encoderWindow is how far back zstd looks: less than 8 MiB, which RFC 9659 allows, because
	// records repeat what is near, and the window is most of the memory.
	encoderWindow = 512 << 10

	// maxKeptEncodedBytes is the largest output buffer that an encoder keeps.
	maxKeptEncodedBytes = 1 << 20

	// DefaultHeartbeat is the longest silence of a stream of changes unless its client asks
	// for another: shorter than the patience of what may be in between.
	DefaultHeartbeat = 15 * time.Second
	MinHeartbeat     = time.Second
	MaxHeartbeat     = 5 * time.Minute

	// MaxWatchWait bounds how long a long-poll waits for a change.
	MaxWatchWait = 5 * time.Minute

	// MaxBatches bounds the watches that gather changes at the same time, each in its memory; the
	// others wait for their turn, which takes no client's time. MaxLargeBatches bounds those with
	// more than MaxWaitingBatchBytes on their way to a client, which may be slow: a transaction
	// comes whole, be it of 32 MiB, to each of node.MaxWatchers.
	MaxBatches           = 16
	MaxLargeBatches      = 16
	MaxWaitingBatchBytes = 128 << 10

	// MaxExports bounds what is under way of exports, of the audit too, verifications and rollbacks in chunks: each
	// keeps a view open for long, and 128 KiB or more.
	MaxExports = 64

	// MaxExportTime bounds each of them: its view keeps old pages of the database
	// from being reused.
	MaxExportTime = 10 * time.Minute
)

// A key and a value of full size must fit in one transaction.
const _ = uint(fsm.MaxTxnBytes - MaxImportBytes - fsm.MaxValueBytes - MaxImportOps*(fsm.MaxKeyBytes+fsm.MaxContentTypeBytes+64))
