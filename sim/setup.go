package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// setup is what a seed makes of a world before it begins.
type setup struct {
	mix   Mix
	nodes int

	node          node.Settings
	segmentBytes  int64
	loopTime      time.Duration // how long a node's loop is busy with one step
	groupCommit   bool          // appends that wait are merged
	drift         int64         // clocks run up to this many ppm fast or slow
	reportDelay   time.Duration // between a store operation and the core's hearing of it
	valueBytes    int           // about; added to what makes values unique
	clientTimeout time.Duration

	net    netSetup
	disk   diskSetup
	faults [faultKinds]time.Duration // mean time between two of a kind; 0: never
	tender [tenderPoints]float64     // chance of a crash at each
	behind time.Duration             // before the end, two of five are left behind; 0: they are not
	early  bool                      // faults begin before the cluster is formed

	clients  int
	think    time.Duration
	keys     int
	putShare int // per cent, as the next two; the rest is local reads
	delShare int
	getShare int
	hot      float64 // share of the operations that go to one key

	// Shares, each of what can be so.
	retries   float64 // of unknown puts that are proposed again
	sessions  float64 // of clients that pass on the highest revision they saw
	readBacks float64 // of their acknowledged writes that they read elsewhere at once
	followers float64 // of writes that somebody reads elsewhere as they are acknowledged
	batches   float64 // of operations that are on several keys
	removals  float64 // of writes to several keys that remove all of them
	bursts    float64 // of a client's turns in which it calls many operations at once
	crashes   float64 // of operations that their client does not live to see the end of
	large     float64 // of puts with a large value
	lazy      float64 // of the turns of watchers in which they take nothing
	bounded   float64 // of local reads that say how old the answer may be

	keyed     float64 // of writes that have an idempotency key
	repeats   float64 // of these that are sent again after their outcome is known; after an unknown one, most are
	doubles   float64 // of these that go to two nodes at once
	reuses    float64 // of writes that use the key of another request
	elses     float64 // of writes to registers and batches that have an else branch
	rollbacks float64 // of those that bring back what was there at a revision

	governed bool          // somebody administers the cluster, early on
	race     bool          // two want to be the first
	rules    time.Duration // between two rules of a governor; 0: there are none
	checked  float64       // of writes that the accepting node looks at before it proposes them
	reports  time.Duration // between two reports of a node of what it denied; 0: there are none

	sparse  float64       // of flushes that find most of the database free
	members time.Duration // between two orders of an operator; 0: there is none
	mixed   bool          // the cluster begins with the version of commands before this one

	restored bool // in the end, of a backup

	load  string  // the workload besides registers and batches; empty: none
	loads float64 // its share of the operations
}

type netSetup struct {
	base      time.Duration // least delay
	jitter    time.Duration // mean of what comes on top
	fifo      bool          // messages of a link do not overtake each other
	loss      float64
	repeat    float64
	straggler float64 // share of messages that come up to straggle late
	straggle  time.Duration
	far       float64 // share of links that are slower than the others, by nearest to farthest
	nearest   time.Duration
	farthest  time.Duration
	flip      float64 // share of pieces of images with a bit that is wrong
	queue     int     // messages in flight on a link; what finds no room is lost
}

type diskSetup struct {
	sync   time.Duration // mean of an append with sync
	stall  float64       // share of operations that take up to stalled
	stalls time.Duration
	apply  time.Duration // mean
	flush  time.Duration // mean
}

// plus is d with all means longer by those of by.
func (d diskSetup) plus(by diskSetup) diskSetup {
	d.sync += by.sync
	d.apply += by.apply
	d.flush += by.flush
	return d
}

// minus undoes plus.
func (d diskSetup) minus(by diskSetup) diskSetup {
	return d.plus(diskSetup{sync: -by.sync, apply: -by.apply, flush: -by.flush})
}

// condition is something that holds for a whole run, in some of them, and is
// counted by its name when it shows.
type condition struct {
	name string
	off  func(s *setup)
}

var conditions = []condition{
	{"message lost at random", func(s *setup) { s.net.loss = 0 }},
	{"message repeated", func(s *setup) { s.net.repeat = 0 }},
	{"message straggles", func(s *setup) { s.net.straggler = 0 }},
	{"far link", func(s *setup) { s.net.far = 0 }},
	{leftBehind, func(s *setup) { s.behind = 0 }},
	{imageFlipped, func(s *setup) { s.net.flip = 0 }},
	{"disk stalls", func(s *setup) { s.disk.stall = 0 }},
	{"write retried", func(s *setup) { s.retries = 0 }},
	{"session", func(s *setup) { s.sessions = 0 }},
	{"own write read elsewhere", func(s *setup) { s.readBacks = 0 }},
	{"foreign write read elsewhere", func(s *setup) { s.followers = 0 }},
	{"batch", func(s *setup) { s.batches = 0 }},
	{"batch removed", func(s *setup) { s.removals = 0 }},
	{"burst", func(s *setup) { s.bursts = 0 }},
	{"client crash", func(s *setup) { s.crashes = 0 }},
	{"large value", func(s *setup) { s.large = 0 }},
	{"bounded read", func(s *setup) { s.bounded = 0 }},
	{"keyed write", func(s *setup) { s.keyed, s.repeats, s.doubles, s.reuses = 0, 0, 0, 0 }},
	{"keyed write sent again", func(s *setup) { s.repeats = 0 }},
	{"keyed write sent twice", func(s *setup) { s.doubles = 0 }},
	{"key used again", func(s *setup) { s.reuses = 0 }},
	{"else branch", func(s *setup) { s.elses = 0 }},
	{"rollback", func(s *setup) { s.rollbacks = 0 }},
	{"who may do what changes", func(s *setup) { s.rules, s.governed, s.race = 0, false, false }},
	{"bootstrap at two nodes", func(s *setup) { s.race = false }},
	{"write checked where it is accepted", func(s *setup) { s.checked = 0 }},
	{"denials reported", func(s *setup) { s.reports = 0 }},
	{"copy swapped in", func(s *setup) { s.sparse = 0 }},
	{"maintained", func(s *setup) { s.node.MaintenanceInterval = -1 }},
	{"compaction by age", func(s *setup) { s.node.KeepFor = 0 }},
	{"compaction by count", func(s *setup) { s.node.KeepVersions = 0 }},
	{membersChange, func(s *setup) { s.members = 0 }},
	{versionsMix, func(s *setup) { s.mixed = false }},
	{"bank", func(s *setup) { s.leave(linearizability.Bank) }},
	{"restored", func(s *setup) { s.restored = false }},
	{"set", func(s *setup) { s.leave(linearizability.Set) }},
	{"list append", func(s *setup) { s.leave(linearizability.ListAppend) }},
}

// leave takes a workload out, if the world has it. Its keys stay, unused.
func (s *setup) leave(load string) {
	if s.load == load {
		s.loads = 0
	}
}

// narrow switches off what o leaves out of the world that was drawn.
func (s *setup) narrow(o Options) {
	for k := range s.faults {
		if slices.Contains(o.Without, faultNames[k]) {
			s.faults[k] = 0
		}
	}
	for p := range s.tender {
		if slices.Contains(o.Without, tenderNames[p]) {
			s.tender[p] = 0
		}
	}
	for _, c := range conditions {
		if slices.Contains(o.Without, c.name) {
			c.off(s)
		}
	}
	if o.Clients != 0 {
		s.clients = min(s.clients, o.Clients)
	}
}

// newSetup draws the setup of a seed.
func newSetup(o Options) setup {
	g := newGenerator(o.Seed, "setup")
	mix, nodes := o.Mix, o.Nodes
	if drawn := pick(g, Uniform, Swarm); mix == "" {
		mix = drawn
	}
	if drawn := pick(g, 3, 3, 5); nodes == 0 {
		nodes = drawn
	}
	s := setup{
		mix: mix, nodes: nodes,
		node: node.Settings{
			FlushInterval: 2 * time.Second,
			FlushBytes:    64 << 10,
			ScrubInterval: 30 * time.Second,
			// A node that is down for a few seconds finds the log gone on without it.
			CatchUpEntries:  40,
			ImageChunkBytes: 16 << 10,
			DigestInterval:  5 * time.Second,
			// They cost as much as all else: the tail is looked at after each step.
			Checks: g.IntN(8) == 0,
		},
		segmentBytes:  64 << 10,
		groupCommit:   true,
		drift:         500, // so two clocks may be 1,000 apart
		reportDelay:   20 * time.Microsecond,
		clientTimeout: 2 * time.Second,
		net:           netSetup{base: 200 * time.Microsecond, jitter: 300 * time.Microsecond, queue: defaultQueue},
		disk: diskSetup{
			sync: time.Millisecond, apply: 50 * time.Microsecond, flush: 10 * time.Millisecond,
		},
		clients: 4, think: 400 * time.Millisecond, keys: 5,
		putShare: 40, delShare: 8, getShare: 40, hot: 0.3,
		retries: 0.3, sessions: 0.3, readBacks: 0.3, followers: 0.3,
		batches: 0.1, removals: 0.2, bursts: 0.005, large: 0.002, bounded: 0.3,
		keyed: 0.3, repeats: 0.1, doubles: 0.05, reuses: 0.02, elses: 0.1, rollbacks: 0.05,
		loads: 0.15,
	}
	s.load = pick(newGenerator(o.Seed, "workload"), "", linearizability.Bank, linearizability.Set, linearizability.ListAppend)
	switch mix {
	case Uniform:
		s.uniform()
	case Swarm:
		s.swarm(g, o)
	case Calm:
	}
	s.watching(newGenerator(o.Seed, "watching"))
	s.maintenance(newGenerator(o.Seed, "maintenance"))
	s.governing(newGenerator(o.Seed, "governing"))
	s.repacking(newGenerator(o.Seed, "repacking"))
	if g := newGenerator(o.Seed, "behind"); s.nodes == 5 && mix != Calm && g.IntN(3) == 0 {
		s.behind = g.between(4*time.Second, 20*time.Second)
		// The log must leave them behind in that time.
		s.node.CatchUpEntries, s.node.CatchUpBytes, s.segmentBytes = -1, 0, 1<<10
		s.node.FlushBytes, s.node.FlushInterval = 1, 500*time.Millisecond
	}
	s.restoring(newGenerator(o.Seed, "restoring"), o)
	if mix != Calm {
		s.operating(newGenerator(o.Seed, "members"), newGenerator(o.Seed, "versions"))
	}
	s.narrow(o)
	return s
}

// watching draws the limits of watchers: small, so that they are left behind and caught up.
func (s *setup) watching(g generator) {
	w := &s.node.Watch
	w.Pending, w.Gap = pick(g, 0, 1, 2, 4), pick(g, 0, 1, 3, 10)
	w.Changes, w.Bytes, w.Scan = pick(g, 0, 1, 3), pick(g, 0, 1, 500), pick(g, 0, 1, 5, 50)
	s.lazy = pick(g, 0, 0.3, 0.8)
}

// governing draws how often it changes who may do what. In one of five worlds nobody administers
// the cluster.
func (s *setup) governing(g generator) {
	s.governed = g.IntN(5) != 0
	s.race = s.governed && g.IntN(3) == 0
	s.rules = g.some(500*time.Millisecond, 6*time.Second)
	s.checked = pick(g, 0, 0.5, 1)
	s.reports = g.some(time.Second, 10*time.Second)
}

// maintenance draws how often the store is maintained, and what of the past is kept: all of it
// in half the worlds.
func (s *setup) maintenance(g generator) {
	n := &s.node
	n.MaintenanceInterval = g.between(100*time.Millisecond, 2*time.Second)
	if g.IntN(2) == 0 {
		n.KeepFor = pick(g, 0, g.some(2*time.Second, 30*time.Second))
		n.KeepVersions = pick(g, 0, 1, 1+g.IntN(5))
	}
}

// uniform is every fault, none of them often.
func (s *setup) uniform() {
	s.segmentBytes = 16 << 10 // a run fills a few
	s.net.jitter = time.Millisecond
	s.net.loss, s.net.repeat = 0.005, 0.005
	s.net.straggler, s.net.straggle = 0.005, time.Second
	s.disk.stall, s.disk.stalls = 0.002, 500*time.Millisecond
	s.net.far, s.net.nearest, s.net.farthest = 0.1, time.Millisecond, 20*time.Millisecond
	s.net.flip = 0.01
	for k := range s.faults {
		s.faults[k] = uniformGap
	}
	s.faults[faultLogRot] = rotGap
	s.faults[faultRot] = rotGap
	s.faults[faultLost] = 2 * rotGap
	s.faults[faultMisled] = rotGap
	for p := range s.tender {
		s.tender[p] = 0.0005
	}
	// A run has few of these.
	for _, p := range []tenderPoint{tenderVerify, tenderInstall, tenderSwitch, tenderNoRoom, tenderStuck} {
		s.tender[p] = 0.03
	}
	s.tender[tenderAgain], s.tender[tenderSwap], s.tender[tenderSpoil], s.tender[tenderDepose], s.tender[tenderAsk] = 0.5, 0.1, 0.1, 0.1, 0.3
	s.tender[tenderCopy], s.tender[tenderLag] = 0.002, 0.3
	s.crashes = 0.005
}

const (
	// uniformGap is the mean time between two faults of a kind, where all are alike.
	uniformGap = 75 * time.Second
	// rotGap is that of damage to what was synced: a run with a node out, or at work
	// on its repair, shows less of everything else.
	rotGap = 3 * time.Minute
)

// swarm draws which faults there are, how strong, and how the nodes are set up.
func (s *setup) swarm(g generator, o Options) {
	if one := g.chance(0.1); one && o.Nodes == 0 {
		s.nodes = 1
	}
	s.swarmSettings(g, o)
	s.swarmNet(g, o.Seed)
	s.swarmFaults(o.Seed)
	s.disk.sync = g.some(50*time.Microsecond, 50*time.Millisecond)
	s.disk.apply = g.some(10*time.Microsecond, 50*time.Millisecond)
	s.disk.flush = g.some(time.Millisecond, 3*time.Second)
	if g.IntN(2) == 0 {
		s.disk.stall, s.disk.stalls = g.Float64()*0.02, g.some(50*time.Millisecond, 5*time.Second)
	}
	s.early = g.IntN(2) == 0
	s.swarmClients(g)
	s.swarmWrites(newGenerator(o.Seed, "swarm writes"))
}

func (s *setup) swarmNet(g generator, seed uint64) {
	s.net = netSetup{
		base:   g.some(50*time.Microsecond, 20*time.Millisecond),
		jitter: g.some(50*time.Microsecond, 120*time.Millisecond),
		fifo:   g.IntN(2) == 0,
		queue:  defaultQueue,
	}
	if g.IntN(2) == 0 {
		s.net.loss = g.Float64() * 0.2 * g.Float64()
	}
	if g.IntN(2) == 0 {
		s.net.repeat = g.Float64() * 0.3 * g.Float64()
	}
	if g.IntN(2) == 0 {
		s.net.straggler, s.net.straggle = g.Float64()*0.1, g.some(50*time.Millisecond, 20*time.Second)
	}
	if s.node.MaxMessageBytes == 1 && g.IntN(4) != 0 {
		// Where a message has one entry, each that overtakes makes raft send all
		// those in flight again: true, and slow to simulate.
		s.net.fifo = true
	}
	if s.net.fifo {
		s.net.straggle = min(s.net.straggle, 300*time.Millisecond) // one holds up all behind it
	}
	if g.IntN(2) == 0 {
		s.net.flip = g.Float64() * 0.1
	}
	if g.IntN(2) == 0 {
		s.net.far, s.net.nearest, s.net.farthest = g.Float64()*0.6, time.Millisecond, g.some(5*time.Millisecond, 100*time.Millisecond)
	}
	// As far as an election lets a link be: there and back takes up to four fifths of one. If the
	// only two that are left are farther apart, no vote is ever there in time.
	election := min(s.node.TickInterval*time.Duration(s.node.ElectionTicks), 250*time.Millisecond)
	if g := newGenerator(seed, "swarm far"); g.IntN(8) == 0 {
		s.net.far, s.net.nearest, s.net.farthest = 0.5, election/5, election*2/5
	}
	s.net.farthest = min(s.net.farthest, election*2/5)
	s.net.base = min(s.net.base, election/5)
	s.net.jitter = min(s.net.jitter, election/5)
}

// swarmFaults draws each kind from a generator of its own: a new kind leaves the
// others as they were.
func (s *setup) swarmFaults(seed uint64) {
	for k := range s.faults {
		if faultKind(k) == faultProgram {
			continue // see operating
		}
		g := newGenerator(seed, "swarm "+faultNames[k])
		if g.IntN(2) == 0 {
			s.faults[k] = g.some(3*time.Second, time.Minute)
			if slices.Contains([]faultKind{faultLogRot, faultRot, faultLost, faultMisled}, faultKind(k)) {
				s.faults[k] *= 2
			}
		}
	}
	s.spare(minFaultGap)
	for p := range s.tender {
		g := newGenerator(seed, "swarm "+tenderNames[p])
		if g.IntN(3) == 0 {
			s.tender[p] = pick(g, 0.3, 0.05, 0.01, 0.002, 0.0005)
			if p == int(tenderSend) || p == int(tenderApply) || p == int(tenderAppend) || p == int(tenderApplied) || p == int(tenderCopy) {
				s.tender[p] = min(s.tender[p], 0.002)
			}
			if p == int(tenderSend) && s.node.TickInterval > 0 {
				// The more is sent, the rarer, or a cluster of five does nothing but start.
				often := float64(50*time.Millisecond) / float64(s.node.TickInterval) * float64(s.nodes) / 3
				s.tender[p] /= max(1, often)
			}
			if p == int(tenderSwitch) {
				s.tender[p] = min(s.tender[p], 0.1) // a small segment is full every few appends
			}
		}
	}
}

func (s *setup) swarmClients(g generator) {
	s.clients = 1 + g.IntN(8)
	s.think = g.some(100*time.Millisecond, time.Second)
	s.think = min(s.think, time.Duration(s.clients)*250*time.Millisecond) // or a run proves nothing
	s.keys = 1 + g.IntN(8)
	// A put goes to the leader, to a follower, and the same way back.
	s.clientTimeout = max(g.some(200*time.Millisecond, 10*time.Second), 10*s.net.farthest)
	s.hot = g.Float64()
	s.retries = g.Float64()
	for _, share := range []struct {
		of   *float64
		most float64
	}{
		{&s.sessions, 1},
		{&s.readBacks, 1},
		{&s.followers, 1},
		{&s.batches, 0.5},
		{&s.removals, 0.5},
		{&s.bursts, 0.02},
		{&s.crashes, 0.05},
		{&s.large, 0.01},
		{&s.bounded, 1},
		{&s.loads, 0.5},
	} {
		if *share.of = g.Float64() * share.most; g.IntN(2) == 0 {
			*share.of = 0
		}
	}
	s.putShare = 20 + g.IntN(50)
	s.delShare = g.IntN(20)
	s.getShare = g.IntN(100 - s.putShare - s.delShare)
	if s.getShare < 10 {
		s.putShare -= 10
		s.getShare += 10
	}
}

// swarmWrites draws how writes are asked for.
func (s *setup) swarmWrites(g generator) {
	for _, share := range []struct {
		of   *float64
		most float64
	}{
		{&s.keyed, 1},
		{&s.repeats, 0.5},
		{&s.doubles, 0.2},
		{&s.reuses, 0.1},
		{&s.elses, 0.5},
		{&s.rollbacks, 0.3},
	} {
		if *share.of = g.Float64() * share.most; g.IntN(2) == 0 {
			*share.of = 0
		}
	}
}

// minFaultGap is the least mean time between two faults of any kind: a cluster
// that is always down proves nothing.
const minFaultGap = 2500 * time.Millisecond

// spare makes all faults rarer, if together they come more often than every gap.
func (s *setup) spare(gap time.Duration) {
	rate := 0.0
	for _, every := range s.faults {
		if every > 0 {
			rate += float64(gap) / float64(every)
		}
	}
	if rate > 1 {
		for k := range s.faults {
			s.faults[k] = time.Duration(float64(s.faults[k]) * rate)
		}
	}
}

func (s *setup) swarmSettings(g generator, o Options) {
	n := &s.node
	n.TickInterval = pick(g, 50*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond)
	n.ElectionTicks = pick(g, 10, 10, 3, 5, 20)
	n.MaxMessageBytes = pick[uint64](g, 0, 1, 200, 4096)
	n.MaxApplyBytes = pick[uint64](g, 0, 1, 500)
	n.FlushBytes = pick(g, 64<<10, 1, 2<<10)
	n.FlushInterval = g.some(100*time.Millisecond, 10*time.Second)
	n.MaxOverlayBytes = pick(g, 0, 0, 16<<10)
	n.TailBytes = pick(g, 0, 1, 1<<10)
	n.ProbeInterval = g.some(50*time.Millisecond, time.Second)
	n.ResendInterval = g.some(50*time.Millisecond, 2*time.Second)
	n.ScrubInterval = g.some(5*time.Second, 30*time.Second)
	images := newGenerator(o.Seed, "swarm images")
	n.CatchUpEntries = pick(images, 0, -1, 1, 20, 200)
	n.CatchUpBytes = pick(newGenerator(o.Seed, "swarm catch up"), 0, 0, 1<<10, 16<<10)
	n.ImageChunkBytes = pick(images, 0, 4<<10, 16<<10, 64<<10)
	n.ImageBytesPerSecond = pick(images, 0, 0, 100<<10, 1<<20)
	n.DigestInterval = images.some(time.Second, 10*time.Second)
	limits := newGenerator(o.Seed, "swarm limits")
	n.MaxProposals = pick(limits, 0, 0, 0, 8) // fewer, and a world of few answers proves nothing
	n.MaxReadRounds = pick(limits, 0, 0, 0, 4)
	s.segmentBytes = pick[int64](g, 1<<10, 4<<10, 64<<10)
	s.loopTime = pick(g, 0, 0, 100*time.Microsecond, 5*time.Millisecond)
	s.groupCommit = g.IntN(4) != 0
	s.drift = pick[int64](g, 0, 500, 10_000, 100_000)
	s.reportDelay = g.some(time.Microsecond, 20*time.Millisecond)
	s.valueBytes = pick(g, 0, 0, 50, 1000)
}

// String is the setup on one line.
func (s *setup) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d nodes, %d clients, %d keys, think %v, tick %v, election %d, net %v+%v loss %.3f repeat %.3f late %.3f/%v far %.2f/%v flip %.3f, sync %v apply %v flush %v",
		s.mix, s.nodes, s.clients, s.keys, s.think, s.node.TickInterval, s.node.ElectionTicks,
		s.net.base, s.net.jitter, s.net.loss, s.net.repeat, s.net.straggler, s.net.straggle, s.net.far, s.net.farthest, s.net.flip,
		s.disk.sync, s.disk.apply, s.disk.flush)
	fmt.Fprintf(&b, ", segments %d B, drift %d ppm, loop %v, shares: hot %.2f sessions %.2f read back %.2f followers %.2f batches %.2f removals %.2f bursts %.3f crashes %.3f large %.3f bounded %.2f",
		s.segmentBytes, s.drift, s.loopTime, s.hot, s.sessions, s.readBacks, s.followers, s.batches, s.removals, s.bursts, s.crashes, s.large, s.bounded)
	fmt.Fprintf(&b, " keyed %.2f again %.2f twice %.2f reused %.2f else %.2f rollbacks %.2f",
		s.keyed, s.repeats, s.doubles, s.reuses, s.elses, s.rollbacks)
	fmt.Fprintf(&b, ", governed %v by two %v every %v, checked %.1f, reports every %v", s.governed, s.race, s.rules, s.checked, s.reports)
	if s.members > 0 {
		fmt.Fprintf(&b, ", members change every %v", s.members)
	}
	if s.mixed {
		fmt.Fprint(&b, ", mixed versions")
	}
	if s.load != "" {
		fmt.Fprintf(&b, " %s %.2f", s.load, s.loads)
	}
	fmt.Fprintf(&b, ", watch %+v lazy %.1f", s.node.Watch, s.lazy)
	fmt.Fprintf(&b, ", at most %d writes and %d read rounds", s.node.MaxProposals, s.node.MaxReadRounds)
	fmt.Fprintf(&b, ", maintained every %v, keeps %v and %d versions", s.node.MaintenanceInterval, s.node.KeepFor, s.node.KeepVersions)
	fmt.Fprintf(&b, ", %.2f of flushes sparse, copied by %d B every %v", s.sparse, s.node.RepackStepBytes, s.node.RepackPause)
	fmt.Fprintf(&b, ", catch up %d, chunks %d B at %d B/s, flush %d B/%v", s.node.CatchUpEntries, s.node.ImageChunkBytes, s.node.ImageBytesPerSecond, s.node.FlushBytes, s.node.FlushInterval)
	if s.restored {
		b.WriteString(", restored in the end")
	}
	for k, every := range s.faults {
		if every > 0 {
			fmt.Fprintf(&b, ", %s every %v", faultKind(k), every.Round(time.Second))
		}
	}
	for p, chance := range s.tender {
		if chance > 0 {
			fmt.Fprintf(&b, ", %s %.4f", tenderPoint(p), chance)
		}
	}
	return b.String()
}
