package node

import (
	"time"

	"github.com/confman/confman/fsm"
)

const (
	// maxProposals is the most proposals in flight at any node: the store's window, so
	// that no sequence number in flight can fall out of it.
	maxProposals = fsm.WindowSize

	// MaxProposalBytes bounds the encoded commands in flight at one node, and the
	// uncommitted bytes of a leader's log; past it proposals are refused with ErrOverloaded.
	MaxProposalBytes = 64 << 20

	// MaxAttempts bounds the copies of one proposal: with the default resend
	// interval they last longer than any deadline a client is given.
	MaxAttempts = 32

	// MaxReads bounds the reads waiting for an index at one node; the next one is
	// refused with ErrOverloaded. At 64 bytes each they take 4 MiB.
	MaxReads = 1 << 16

	// maxProofs bounds the confirmed rounds that wait until their index is applied, to prove freshness; more are merged.
	maxProofs = 64

	// leaderlessElections is how many election timeouts without a leader make a node
	// refuse requests at once instead of holding them to their deadline: with the
	// defaults, two seconds. A healthy cluster elects in one or two.
	leaderlessElections = 4

	// maxProposeBatchBytes bounds the entries handed to raft at a time; each batch becomes one append message for each peer.
	maxProposeBatchBytes = 1 << 20

	// LingerTime is how long a leader lets writes gather behind others that are not committed. It is as long as a busy
	// machine takes to commit some, and short beside the way to followers that are far away.
	LingerTime = 2 * time.Millisecond

	// maxInflightMessages and maxInflightBytes bound the appends on their way to one follower.
	maxInflightMessages = 256
	maxInflightBytes    = 16 << 20

	// maxLogReadBytes bounds one synchronous read of older entries.
	maxLogReadBytes = 4 << 20

	// MaxImageBytes bounds the database image that a node takes: beyond it somebody lies, or the store is out of all proportion.
	MaxImageBytes = 1 << 40

	// imageWindow bounds the pieces of an image on their way: with the default piece 2 MiB.
	imageWindow = 8

	// imageRepeats is how often a sender may repeat pieces before the receiver, which has none of those before them,
	// says that it has forgotten them. The very first piece may have been lost so often.
	imageRepeats = 2

	// imagePatienceElections is how many election timeouts the transfer of an image may
	// stand still before each side gives it up: with the defaults, ten seconds.
	imagePatienceElections = 20

	// An image may take imageSlack and imageSlowness times what its rate allows: its
	// read transaction makes the database grow by all that is flushed meanwhile.
	imageSlack    = 30 * time.Second
	imageSlowness = 4

	// laggardPatience is how long the log is kept for a follower that took an image.
	laggardPatience = 30 * time.Second

	// askElections is how many election timeouts a node that lost its store waits before it asks another peer for an image.
	askElections = 4

	// standTicks is how long the first voter waits before it stands for election after it heard that the leader's process
	// ended: so long that the others have heard it, too. turnTicks is how much later each other one does.
	standTicks, turnTicks = 2, 3

	// flushEntries is how many entries may be applied and not in the database, however little
	// they changed: a restart applies them again, and until then the log keeps them.
	flushEntries = 50_000

	// flushRests is how many times as long as a flush took nothing is flushed afterwards, unless much
	// waits to be: what is written once for many puts costs each of them less, so a busy node
	// spends a small part of its time on flushes. It waits at most maxFlushInterval.
	flushRests       = 20
	maxFlushInterval = 4 * time.Second

	// tightShare is what Settings.FlushBytes and MaxOverlayBytes are divided by while the disk has little room, or an
	// image is sent.
	tightShare = 3

	// idleMaintenance is how many intervals a Maintenance waits if there is nothing to do.
	idleMaintenance = 10

	// hurriedMaintenance is how many Maintenances an interval has while one cannot do all that is
	// due: with the defaults they compact ten thousand changes a second.
	hurriedMaintenance = 10

	// MaxWatchers bounds the watchers of one node; the next one is refused with
	// ErrTooManyWatchers.
	MaxWatchers = 10_000

	// promoteLag is how many entries a learner may lack when it becomes a voter: a quorum that needs it waits
	// for no more than these.
	promoteLag = 1_000

	// claimInterval is how often a node says what it is, until the state says so.
	claimInterval = 500 * time.Millisecond

	// leaveElections is how many election timeouts a leader that is to be removed waits for another one to lead.
	leaveElections = 8

	// repackReserve is what a copy of the database must leave free on the disk, at least.
	repackReserve = 256 << 20

	// maxDrainElections is how many election timeouts a node that drains leads at most before it tries again to hand over, if
	// it was given leadership back each time.
	maxDrainElections = 64

	// scrubStepBytes is how much of the database one Scrub effect checks.
	scrubStepBytes = 1 << 20
)

// withDefaults fills in what is zero.
func (s Settings) withDefaults() Settings {
	def(&s.TickInterval, 50*time.Millisecond)
	def(&s.ElectionTicks, 10)
	def(&s.HeartbeatTicks, 1)
	def(&s.MaxMessageBytes, 1<<20)
	def(&s.MaxApplyBytes, 8<<20)
	def(&s.FlushBytes, 48<<20)
	def(&s.FlushInterval, 250*time.Millisecond)
	def(&s.MaxOverlayBytes, 96<<20)
	def(&s.TailBytes, 8<<20)
	def(&s.ProbeInterval, 100*time.Millisecond)
	def(&s.ResendInterval, 500*time.Millisecond)
	def(&s.ScrubInterval, time.Second)
	def(&s.CatchUpEntries, 10_000)
	def(&s.CatchUpBytes, 256<<20)
	def(&s.ImageBytesPerSecond, 32<<20)
	def(&s.ImageChunkBytes, 256<<10)
	def(&s.DigestInterval, 10*time.Second)
	def(&s.MaintenanceInterval, time.Second)
	def(&s.RepackBytes, 32<<20)
	def(&s.RepackShare, 0.5)
	def(&s.RepackStepBytes, 1<<20)
	def(&s.RepackPause, time.Minute)
	def(&s.MaxProposals, maxProposals)
	def(&s.MaxReadRounds, 64)
	return s
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
