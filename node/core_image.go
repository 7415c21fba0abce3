package node

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// imaging is the core's side of database images. One may be on its way out and one
// on its way in; the pieces of each are told from those of any other transfer by
// the sender's incarnation and the number it gave. A transfer that stops for any
// reason is forgotten by both sides, and begins again under another number.
type imaging struct {
	transfer uint64 // the last number given to one
	outgoing *outgoing
	behind   []laggard

	incoming *incoming
	// writes are the WriteImage effects without an answer; the first stale of them
	// are of an image that was dropped.
	writes, stale int
	answered      imageAnswer
}

// outgoing is an image that this node sends.
type outgoing struct {
	transfer, to uint64
	// term is that of this leader, which raft asked to send it; zero: the receiver asked.
	term uint64

	opened bool
	index  uint64 // that the image holds, at least, while it is not opened
	size   uint64

	// next is the offset of the next piece. What is before acked is on the
	// receiver's disk; at most imageWindow pieces are between the two.
	next, acked uint64
	allowance   int // bytes that may be read now

	startedAt  time.Duration
	progressAt time.Duration // when acked last rose
	backAt     time.Duration // when next last went back
}

// laggard is a follower that took an image and needs the log from index on.
type laggard struct {
	id, index uint64
	until     time.Duration
}

// incoming is an image that this node receives.
type incoming struct {
	from, incarnation, transfer uint64
	term                        uint64 // zero: this node asked for it
	index, size                 uint64

	given, written uint64             // bytes handed to the disk, and on it
	early          []*transport.Image // pieces that overtook others, by offset; at most imageWindow
	phase          imagePhase
	state          fsm.State // of the image, once it is verified
	beganAt        time.Duration
	heardAt        time.Duration
	repliedAt      time.Duration
}

// imagePhase is how far an image is that comes in.
type imagePhase uint8

const (
	imageArriving imagePhase = iota
	imageVerifying
	imageVerified
	imageTaken  // by raft: its marker is on its way into the log
	imageChosen // to take the place of a damaged store, at an index that the log holds
)

// imageAnswer is the last word on an image, for the sender who did not hear it.
type imageAnswer struct {
	from, incarnation, transfer uint64
	verdict                     transport.ImageVerdict
}

// imageSum is the CRC-32C of everything in m but Sum.
func imageSum(m *transport.Image) uint32 {
	b := make([]byte, 0, 8*6)
	for _, w := range [...]uint64{m.Incarnation, m.Transfer, m.Term, m.Index, m.Size, m.Offset} {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(b, table), table, m.Data)
}

// offerImage tells raft whether an image could be sent, and which.
func (c *Core) offerImage() {
	c.log.image = nil
	if c.outgoing == nil && !c.lost && !c.replacing() && !c.disputed() && c.durable > 0 {
		c.log.image = &raftpb.SnapshotMetadata{Index: new(c.durable), Term: new(c.durableTerm), ConfState: c.log.conf}
	}
}

// sendSnapshot takes raft's wish to send a snapshot.
func (c *Core) sendSnapshot(m *raftpb.Message) {
	if c.log.image == nil || c.durable < c.confIndex {
		// Raft was offered one earlier in this step. It found two followers that need one, or what came since
		// forbids to send any. Or the image does not know of a member that has just come in, which would refuse it.
		c.raft.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
		return
	}
	c.sendImage(outgoing{to: m.GetTo(), term: m.GetTerm()})
}

// imageRequested takes a peer's wish for an image. Without an answer it asks another.
func (c *Core) imageRequested(from uint64, r *transport.ImageRequest) {
	delete(c.digests, from) // of a state that it has given up
	if c.outgoing != nil || c.lost || c.replacing() || c.disputed() || c.durable == 0 || c.durable < r.First {
		return
	}
	if !c.conf.Has(from) || c.durable < c.confIndex {
		return // it would not know of a member that has just come in
	}
	c.sendImage(outgoing{to: from})
}

func (c *Core) sendImage(o outgoing) {
	c.transfer++
	o.transfer, o.index = c.transfer, c.durable
	o.startedAt, o.progressAt, o.backAt = c.now, c.now, c.now
	o.allowance = c.cfg.ImageChunkBytes
	c.outgoing = &o
	c.offerImage()
	c.emit(OpenImage{Transfer: o.transfer})
}

func (c *Core) imageOpened(in ImageOpened) {
	o := c.outgoing
	if o == nil || o.transfer != in.Transfer {
		return
	}
	if in.Err != nil || in.Size == 0 || in.Size > MaxImageBytes {
		c.endImage(false)
		return
	}
	must(uint64(in.State.Applied) >= o.index, "the image is of index %d, the store held %d", in.State.Applied, o.index)
	o.opened, o.index, o.size = true, uint64(in.State.Applied), in.Size
	o.progressAt = c.now
	c.readImage()
}

// readImage asks for the pieces that may be on their way.
func (c *Core) readImage() {
	o := c.outgoing
	for o.opened && o.next < o.size {
		n := min(uint64(c.cfg.ImageChunkBytes), o.size-o.next)
		if o.next+n-o.acked > uint64(imageWindow*c.cfg.ImageChunkBytes) || int(n) > o.allowance {
			return
		}
		c.emit(ReadImage{Transfer: o.transfer, Offset: o.next, Bytes: int(n)})
		o.next += n
		o.allowance -= int(n)
	}
}

func (c *Core) imageRead(in ImageRead) {
	o := c.outgoing
	if o == nil || o.transfer != in.Transfer {
		return
	}
	if in.Err != nil {
		c.endImage(false)
		return
	}
	m := &transport.Image{
		Incarnation: c.cfg.Incarnation, Transfer: o.transfer, Term: o.term,
		Index: o.index, Size: o.size, Offset: in.Offset, Data: in.Data,
	}
	m.Sum = imageSum(m)
	c.send(transport.Message{To: o.to, Image: m})
}

func (c *Core) imageReply(from uint64, r *transport.ImageReply) {
	o := c.outgoing
	if o == nil || !o.opened || o.to != from || r.Incarnation != c.cfg.Incarnation || r.Transfer != o.transfer {
		return
	}
	switch r.Verdict {
	case transport.ImageTaken:
		c.endImage(true)
	case transport.ImageRefused, transport.ImageDamaged:
		c.endImage(false)
	case transport.ImageWanted:
		if r.Offset > o.acked && r.Offset <= o.size {
			o.acked, o.next = r.Offset, max(o.next, r.Offset)
			o.progressAt = c.now
		}
		c.readImage()
	}
}

// endImage closes the image that goes out. Raft resumes with the follower either way.
func (c *Core) endImage(taken bool) {
	o := c.outgoing
	c.outgoing = nil
	c.emit(CloseImage{Transfer: o.transfer})
	if taken {
		c.behind = append(c.behind, laggard{id: o.to, index: o.index, until: c.now + laggardPatience})
	}
	if o.term == c.term && c.role == Leader {
		status := raft.SnapshotFailure
		if taken {
			status = raft.SnapshotFinish
		}
		c.raft.ReportSnapshot(o.to, status)
	}
	c.offerImage()
}

// imageFloor is the greatest index up to which the log may go: followers that take
// an image need what comes after it.
func (c *Core) imageFloor() uint64 {
	floor := uint64(math.MaxUint64)
	if c.outgoing != nil {
		floor = c.outgoing.index
	}
	for _, l := range c.behind {
		floor = min(floor, l.index)
	}
	return floor
}

func (c *Core) tickImages() {
	c.tickLaggards()
	if o := c.outgoing; o != nil {
		deadline := imageSlack + imageSlowness*time.Duration(float64(o.size)/float64(c.cfg.ImageBytesPerSecond)*float64(time.Second))
		switch {
		case o.term != 0 && (c.role != Leader || c.term != o.term),
			c.now-o.progressAt > c.imagePatience(), c.now-o.startedAt > deadline:
			c.endImage(false)
		default:
			perTick := int(float64(c.cfg.ImageBytesPerSecond) * c.cfg.TickInterval.Seconds())
			o.allowance = min(o.allowance+perTick, max(perTick, c.cfg.ImageChunkBytes))
			if c.now-max(o.progressAt, o.backAt) >= c.imageRepeat() {
				o.next, o.backAt = o.acked, c.now
			}
			c.readImage()
		}
	}
	if in := c.incoming; in != nil && (in.phase == imageArriving || in.phase == imageVerified) && c.now-in.heardAt > c.imagePatience() {
		c.dropImage()
	}
}

// tickLaggards forgets the followers that have what they needed, or took too long.
func (c *Core) tickLaggards() {
	if len(c.behind) == 0 {
		return
	}
	progress := c.raft.Status().Progress
	kept := c.behind[:0]
	for _, l := range c.behind {
		if c.now < l.until && (c.role != Leader || progress[l.id].Match < l.index) {
			kept = append(kept, l)
		}
	}
	c.behind = kept
}

// imagePatience is how long a transfer may stand still.
func (c *Core) imagePatience() time.Duration {
	return imagePatienceElections * time.Duration(c.cfg.ElectionTicks) * c.cfg.TickInterval
}

// imageRepeat is how long nothing must be heard of pieces until they are sent again.
func (c *Core) imageRepeat() time.Duration {
	return time.Duration(c.cfg.ElectionTicks) * c.cfg.TickInterval / 2
}

// imagePiece takes a piece of an image.
func (c *Core) imagePiece(from uint64, m *transport.Image) {
	if m.Sum != imageSum(m) || len(m.Data) == 0 || m.Size > MaxImageBytes || m.Offset > m.Size || uint64(len(m.Data)) > m.Size-m.Offset {
		return // damaged on its way: it comes again
	}
	in := c.incoming
	if in == nil || !in.is(from, m) {
		if in = c.beginImage(from, m); in == nil {
			return
		}
	}
	if in.phase != imageArriving || m.Index != in.index || m.Size != in.size {
		return
	}
	in.heardAt = c.now
	switch {
	case m.Offset > in.given && in.given == 0 && c.now-in.beganAt > imageRepeats*c.imageRepeat():
		// The sender goes back to what it knows to be on this node's disk, and that is nothing: it was another
		// process that said so.
		c.answerImage(transport.ImageRefused)
		c.dropImage()
	case m.Offset > in.given:
		in.keep(m)
	case m.Offset < in.given:
		// A repeat: answers were lost.
		if c.now > in.repliedAt {
			in.repliedAt = c.now
			c.replyImage(in, transport.ImageWanted)
		}
	default:
		for m != nil {
			in.given += uint64(len(m.Data))
			c.writes++
			c.emit(WriteImage{Offset: m.Offset, Data: m.Data})
			m = in.follow()
		}
	}
}

// keep holds a piece that overtook others.
func (in *incoming) keep(m *transport.Image) {
	i, ok := slices.BinarySearchFunc(in.early, m.Offset, func(e *transport.Image, at uint64) int { return cmp.Compare(e.Offset, at) })
	if !ok && len(in.early) < imageWindow {
		in.early = slices.Insert(in.early, i, m)
	}
}

// follow takes the piece that continues what was given from those held, if it is there.
func (in *incoming) follow() *transport.Image {
	for len(in.early) > 0 && in.early[0].Offset <= in.given {
		m := in.early[0]
		in.early = slices.Delete(in.early, 0, 1)
		if m.Offset == in.given {
			return m
		}
	}
	return nil
}

// is tells whether m is a piece of this transfer.
func (in *incoming) is(from uint64, m *transport.Image) bool {
	return in.from == from && in.incarnation == m.Incarnation && in.transfer == m.Transfer
}

// beginImage starts to receive the image that m is a piece of, if it is wanted.
func (c *Core) beginImage(from uint64, m *transport.Image) *incoming {
	in := &incoming{
		from: from, incarnation: m.Incarnation, transfer: m.Transfer, term: m.Term,
		index: m.Index, size: m.Size, beganAt: c.now, heardAt: c.now, repliedAt: c.now,
	}
	switch a := c.answered; {
	case in.is(a.from, &transport.Image{Incarnation: a.incarnation, Transfer: a.transfer}):
		c.replyImage(in, a.verdict)
		return nil
	case !c.wantsImage(m):
		if m.Term >= c.term && m.Index <= c.commit {
			// The leader does not know how much this node has: raft tells it.
			c.stepSnapshot(in)
		}
		c.replyImage(in, transport.ImageRefused)
		return nil
	case c.incoming != nil && !c.incoming.yieldsTo(in):
		if in.term == 0 {
			c.replyImage(in, transport.ImageRefused)
		}
		return nil // a leader sends on until this node is done with the other
	case m.Offset >= uint64(imageWindow*len(m.Data)):
		// The sender is past what its window allows: this node has forgotten the
		// transfer, or never heard of it.
		c.replyImage(in, transport.ImageRefused)
		return nil
	}
	c.dropImage()
	c.incoming = in
	return in
}

// wantsImage tells whether m's image is of use: the log cannot bring this node to
// where the leader is, or the store is lost and the log goes on from the image.
func (c *Core) wantsImage(m *transport.Image) bool {
	switch {
	case m.Index == 0:
		return false
	case m.Term != 0:
		return m.Term >= c.term && (m.Index > c.commit || (c.lost && m.Index+1 >= c.log.first))
	default:
		return c.lost && m.Index+1 >= c.log.first
	}
}

// yieldsTo tells whether another image may take the place of this one: a newer one
// of the same sender, or a leader's that of one which waits for the log to reach it.
func (in *incoming) yieldsTo(other *incoming) bool {
	switch in.phase {
	case imageArriving:
		return in.from == other.from && (other.incarnation > in.incarnation || (other.incarnation == in.incarnation && other.transfer > in.transfer))
	case imageVerified:
		return other.term != 0
	default:
		return false
	}
}

func (c *Core) replyImage(in *incoming, v transport.ImageVerdict) {
	c.send(transport.Message{To: in.from, ImageReply: &transport.ImageReply{
		Incarnation: in.incarnation, Transfer: in.transfer, Verdict: v, Offset: in.written,
	}})
}

// answerImage says the last word on the image that comes in.
func (c *Core) answerImage(v transport.ImageVerdict) {
	c.answered = imageAnswer{from: c.incoming.from, incarnation: c.incoming.incarnation, transfer: c.incoming.transfer, verdict: v}
	c.replyImage(c.incoming, v)
}

// dropImage forgets the image that comes in, if there is one.
func (c *Core) dropImage() {
	if c.incoming == nil {
		return
	}
	c.incoming = nil
	c.stale = c.writes
	c.emit(DropImage{})
}

func (c *Core) imageWritten(r ImageWritten) {
	c.writes--
	must(c.writes >= 0, "a piece of an image was written that nobody asked for")
	if c.stale > 0 {
		c.stale--
		return
	}
	in := c.incoming
	if r.Err != nil {
		c.answerImage(transport.ImageRefused)
		c.dropImage()
		return
	}
	must(r.Offset > in.written && r.Offset <= in.given, "the image is written up to %d, %d was given", r.Offset, in.given)
	in.written = r.Offset
	if in.written < in.size {
		c.replyImage(in, transport.ImageWanted)
		return
	}
	in.phase = imageVerifying
	c.emit(VerifyImage{Index: in.index})
}

func (c *Core) imageVerified(r ImageVerified) {
	in := c.incoming
	must(in != nil && in.phase == imageVerifying, "an image was verified that nobody asked for")
	// Not damage: its sender must not take its own store for that.
	switch {
	case errors.Is(r.Err, fsm.ErrUnknownVersion):
		c.stop(fmt.Errorf("node: the image of index %d: %w: %w", in.index, r.Err, ErrNewerCluster))
		return
	case r.Err == nil && r.State.Version > c.cfg.Version:
		c.stop(c.newer(&r.State))
		return
	case r.Err == nil && c.predates(&r.State):
		c.cfg.mark("image refused: from before this node's seat")
		c.answerImage(transport.ImageRefused)
		c.dropImage()
		return
	}
	if r.Err != nil || uint64(r.State.Applied) != in.index {
		c.answerImage(transport.ImageDamaged)
		c.dropImage()
		return
	}
	in.phase, in.state, in.heardAt = imageVerified, r.State, c.now
	c.answerImage(transport.ImageTaken)
	if in.term == 0 || in.term < c.term {
		return
	}
	c.stepSnapshot(in)
}

// predates tells whether a state is from before this node was added: by it, it is none of the members, and was
// none that left.
func (c *Core) predates(s *fsm.State) bool { return c.cfg.ID > s.LastRaftID }

// stepSnapshot gives raft what it would have got from the leader: it takes the
// snapshot, or answers how much it has already. What raft took must be seen before anything else
// happens: a piece of another image, taken in the same Step, would push this one out.
func (c *Core) stepSnapshot(in *incoming) {
	_ = c.raft.Step(&raftpb.Message{
		Type: raftpb.MsgSnap.Enum(), From: &in.from, To: &c.cfg.ID, Term: &in.term,
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: &in.index, Term: &in.state.Term, ConfState: confStateOf(in.state.Conf),
		}},
	})
	c.settle()
}

// raftTookImage sees raft restore from the image that was offered to it.
func (c *Core) raftTookImage(s *wal.Marker) {
	must(c.incoming != nil && c.incoming.phase == imageVerified && c.incoming.index == s.Index && c.incoming.state.Term == s.Term, "raft restores from a snapshot at %d that is not here", s.Index)
	c.incoming.phase = imageTaken
	c.offerImage()
}

// decideImage decides what becomes of a verified image that raft did not take.
func (c *Core) decideImage() {
	in := c.incoming
	if in == nil || in.phase != imageVerified {
		return
	}
	switch {
	case !c.lost || in.index+1 < c.log.first:
		c.dropImage()
	case in.index <= c.commit:
		in.phase = imageChosen
		c.changeLeader(0, Follower)
		c.refuseBatch()
	case in.term != 0:
		c.dropImage()
	}
}

// replacing tells whether an image is about to take the store's place.
func (c *Core) replacing() bool {
	return c.incoming != nil && (c.incoming.phase == imageTaken || c.incoming.phase == imageChosen)
}

// frozen tells whether raft stands still until it is made anew over the image.
func (c *Core) frozen() bool { return c.incoming != nil && c.incoming.phase == imageChosen }

// startInstall has the image take the store's place once nothing else is under way:
// of the store, and of the log up to the marker; if raft is made anew, of all the log.
func (c *Core) startInstall() {
	if !c.replacing() || c.installing || c.applying > 0 || c.flushing || c.scrubbing {
		return
	}
	if c.frozen() && len(c.appends) > 0 {
		return
	}
	if !c.frozen() && (!c.appends[0].done || c.appends[0].snapshot == nil) {
		return
	}
	if c.outgoing != nil {
		c.endImage(false)
	}
	c.installing = true
	c.emit(Install{Index: c.incoming.index})
}

// installed goes on with the image as the store.
func (c *Core) installed(r Installed) {
	must(c.installing, "installed without an Install")
	in := c.incoming
	must(r.State.Applied == in.state.Applied && r.State.Term == in.state.Term, "installed (%d, %d), want (%d, %d)", r.State.Applied, r.State.Term, in.state.Applied, in.state.Term)
	must(c.lost || in.index > c.applied, "the image of index %d is older than what is applied, %d", in.index, c.applied)
	c.installing, c.lost, c.incoming = false, false, nil
	c.abandonRepack()
	c.overtaken()
	c.leaderMaintains() // what was proposed may be in the image
	c.restored(r.State)
	c.confIndex = 0
	c.membershipApplied(&r.State)
	if c.err != nil {
		return
	}
	if in.phase == imageChosen {
		c.remake(r.State)
	} else {
		c.goOnAfter(r.State)
	}
	c.flushAt = c.now
	c.serveAgain()
	c.releaseReads()
	c.offerImage()
}

// goOnAfter tells raft that the snapshot it took is in place. What raft had handed
// out to apply before is in the image.
func (c *Core) goOnAfter(state fsm.State) {
	c.answerApplies(len(c.waiting))
	a := c.appends[0]
	c.appends[0] = appending{}
	c.appends = c.appends[1:]
	c.log.restart(a.snapshot.Index, a.snapshot.Term, confStateOf(state.Conf))
	c.log.append(a.entries)
	c.respond(a.responses)
	c.settleAppends()
	// The files of which the snapshot took the place go.
	must(!c.truncating, "a truncation outlives the snapshot that came after it")
	c.truncating = true
	c.emit(Truncate{Index: a.snapshot.Index})
}
