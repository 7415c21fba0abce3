package node

import (
	"time"

	"github.com/confman/confman/fsm"
)

const (
	// MaxWriteWait bounds a Propose whose context has no deadline.
	MaxWriteWait = 5 * time.Second

	// prepareRest is between two pieces of the log's next segment (wal.Log.Prepare): a quarter of a MiB each, which
	// is more than is appended meanwhile.
	prepareRest = 10 * time.Millisecond

	// tightRoom is what must be free on the disk for the log's next segment to be made ahead of its time, and for flushes of
	// full size.
	tightRoom = 1 << 30

	// MaxReadWait bounds a Linearize whose context has no deadline.
	MaxReadWait = 5 * time.Second

	// ReadyAge is how old the last confirmed read may be for a node that calls
	// itself ready (protocol.md §2).
	ReadyAge = 5 * time.Second

	// LeaderlessReadyAge is the same while no leader is known: longer than an election takes, so that
	// one has no load balancer turn away from all nodes, which can serve bounded reads meanwhile; and
	// shorter than ReadyAge, so that a node which is cut off gets no writes for long.
	LeaderlessReadyAge = 3 * time.Second

	// DefaultClockDriftPPM is RunnerConfig.MaxClockDriftPPM unless set: quartz stays within
	// 100, and NTP slews by at most 500.
	DefaultClockDriftPPM = 500

	// MaxQueuedRequests bounds the requests on their way to the loop; the next one
	// is refused with ErrOverloaded. The loop takes all of them at once, so this
	// bounds one step, not what is in flight (Settings.MaxProposals, MaxReads).
	MaxQueuedRequests = 4096

	// MaxQueuedRequestBytes bounds the encoded commands on their way to the loop;
	// past it requests are refused with ErrOverloaded.
	MaxQueuedRequestBytes = MaxProposalBytes

	// MaxQueuedMessages bounds the messages from peers that wait for the loop; past
	// it the transport's receivers wait for room.
	MaxQueuedMessages = 4096

	// MaxQueuedMessageBytes bounds the same in bytes: a full flow of appends from
	// each of two leaders of different terms.
	MaxQueuedMessageBytes = 2 * maxInflightBytes

	// DefaultStoreQuotaBytes is RunnerConfig.StoreQuotaBytes unless set: half of what fsm maps by
	// default, so that nothing is mapped anew while serving.
	DefaultStoreQuotaBytes = fsm.DefaultMmapBytes / 2

	// minMapBytes is the least of a database that is mapped, and so how large it may become. A store
	// at its quota grows on by what is in flight at all nodes (MaxProposalBytes at each, and what
	// a follower has not applied yet), and by deletions until what they free is swept.
	minMapBytes = 1 << 30

	// rollbackReserve is the part of its quota that a store has beside it for rollbacks: an eighth.
	rollbackReserve = 8

	// floorSlack is by which part of the floor the free space must exceed it to end what it began:
	// a quarter. Else writes would be taken and refused by turns.
	floorSlack = 4

	// diskInterval is how often a node looks at the free space of its disk.
	diskInterval = time.Second

	// quotaSlack is by which part of its quota a store must be below it not to count as full any
	// more: a 64th.
	quotaSlack = 64

	// maxMergeBytes bounds the entries merged into one write of the log. What is
	// left over shares its sync.
	maxMergeBytes = 4 << 20

	// MaxBackupWait bounds the time until a backup begins: for a quorum, and for a flush of all of
	// the overlay by a slow disk.
	MaxBackupWait = 30 * time.Second

	// A backup may take backupSlack, and as long as its image takes at MinBackupBytesPerSecond: its
	// read transaction makes the database grow by all that is flushed meanwhile. One is made at a
	// time, so that this is so once.
	backupSlack             = 30 * time.Second
	MinBackupBytesPerSecond = 4 << 20

	// scheduleRetry is how long after a scheduled backup that failed the next is tried.
	scheduleRetry = time.Minute

	// MaxRestorerBytes bounds who is said to have restored a cluster.
	MaxRestorerBytes = 200

	// writeBehindBytes is how much of an image that comes in is left to the kernel's memory before
	// it must begin to write: a sync of all of it at the end would hold up those of the log.
	writeBehindBytes = 1 << 20

	// sayWaitingInterval is how often a node that waits to form its cluster says so.
	sayWaitingInterval = 10 * time.Second

	// answerTicks is how many ticks before a caller's deadline the core's lies, so
	// that the caller hears what became of its write and not only that time is up.
	answerTicks = 2

	// handOverAgain is how long a leader that is to hand over is given before it is asked again.
	handOverAgain = time.Second

	// bootstrapWait bounds one attempt to have the first administrator bound; minBootstrapPause and
	// maxBootstrapPause the pause before the next, which doubles: a person waits for it.
	bootstrapWait     = MaxReadWait + MaxWriteWait
	minBootstrapPause = 100 * time.Millisecond
	maxBootstrapPause = 5 * time.Second

	// maxBootstrapSaid bounds the administrators that a line of the log names.
	maxBootstrapSaid = 10
)
