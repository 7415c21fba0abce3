package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// What a world's judges see beside the answers of nodes: requests that get none, views
// that stay open, and what is on the disks.

// overdueTime bounds how long after its deadline a request may be without an answer,
// while its node is up and not paused: many ticks, and the longest step of its loop.
const overdueTime = 3 * time.Second

// owe schedules the look whether a request was answered; 0: whether damage is admitted.
func (r *replica) owe(request uint64) {
	timeout := r.w.setup.clientTimeout
	// Its deadline is on its own clock, which may be slow.
	r.w.after(timeout+timeout/5+overdueTime, event{kind: evOverdue, node: r, life: r.life, n: request})
}

// overdue: each request is answered, and damage that a reader met is admitted, unless the
// node did not live to do it.
func (r *replica) overdue(request uint64) {
	_, open := slices.BinarySearch(r.pending, request)
	if request == 0 {
		open = r.storage.broken && r.core.Status().Damage == nil
	}
	if !open {
		return
	}
	if left := r.resumed + int64(overdueTime) - r.w.now; r.paused || left > 0 {
		r.w.after(max(overdueTime, time.Duration(left)), event{kind: evOverdue, node: r, life: r.life, n: request})
		return
	}
	if request == 0 {
		r.w.fail(JudgeState, "%s was told %v ago that its store is damaged, and serves: %w", r.name, overdueTime, r.storage.damage)
		return
	}
	o := r.w.clients.ops[request-1]
	r.w.fail(JudgeAnswer, "%s never answers %v, though the deadline passed %v ago", r.name, &o.op, overdueTime)
}

const (
	// viewShare is the share of reads whose view stays open.
	viewShare = 0.05
	// someEntries is how many entries of the audit are looked at in passing.
	someEntries = 30
	// maxHeld bounds the views that are open at one node.
	maxHeld = 4
)

// heldView is a view that stays open while its store goes on, and what it showed first.
type heldView struct {
	view  *fsm.View
	state fsm.State
	key   string
}

// hold opens a view at r now and then, for a while.
func (r *replica) hold(key string) {
	g := r.w.judge.views
	if !g.chance(viewShare) || len(r.held) >= maxHeld || r.tainted {
		return
	}
	view, err := r.db.View()
	if err != nil {
		r.w.fail(JudgeStop, "%s: %w", r.name, err)
		return
	}
	r.held = append(r.held, heldView{view: view, state: view.State(), key: key})
	r.w.after(g.some(time.Millisecond, 5*time.Second), event{kind: evView, node: r, life: r.life})
}

// look ends the oldest view, if an install has not: it must show what it showed.
func (r *replica) look() {
	if len(r.held) == 0 {
		return
	}
	h := r.held[0]
	r.held = r.held[1:]
	defer h.view.Close()
	now := h.view.State()
	if now.Applied != h.state.Applied || now.Revision != h.state.Revision || now.Hash != h.state.Hash || now.Chain != h.state.Chain {
		r.w.fail(JudgeState, "%s: a view of index %d and revision %d says later that it is of index %d and revision %d",
			r.name, h.state.Applied, h.state.Revision, now.Applied, now.Revision)
		return
	}
	if r.tainted {
		return // what it reads now may be damaged
	}
	rec, found, err := h.view.Get(h.key)
	if err != nil {
		r.w.fail(JudgeState, "%s: reading %s in a view that was held: %w", r.name, h.key, err)
		return
	}
	r.w.judge.count("view held")
	r.checked = heldPolicy{}
	r.w.judge.ruledBy(r, h.view)
	if err := r.w.judge.audited(h.view, someEntries); err != nil && !r.diverged {
		r.w.fail(JudgeState, "%s: %w", r.name, err)
	}
	r.w.judge.read(r, now, h.key, rec, found)
	r.w.judge.past(r, h.view, h.key)
}

// indexOf is the last index at which the store was at a revision. That of a restore begins with what was kept last,
// which the entry of the same index may have made.
func (j *judge) indexOf(rev fsm.Revision) fsm.Index {
	index := fsm.Index(sort.Search(len(j.slots), func(i int) bool { return j.slots[i].state.revision > rev }))
	if j.model.skip.To != 0 && rev == j.model.skip.From {
		index++
	}
	return index
}

// listShare is how often what is listed beside a key that is read is looked at.
const listShare = 0.05

// listed: listings show of a key what a read of it does, and now and then of all beside it.
func (j *judge) listed(r *replica, view *fsm.View, key string) error {
	state := view.State()
	found := false
	err := view.Scan(key, key+"\x00", func(rec fsm.Record) bool {
		found = true
		j.read(r, state, key, rec, true)
		return true
	})
	if err != nil {
		return err
	}
	if want := j.model.at(key, state.Applied); found != (want.rev != 0) {
		j.w.fail(JudgeState, "%s lists %s at revision %d: %v, want %v", r.name, key, state.Revision, found, !found)
	}
	if !j.views.chance(listShare) {
		return nil
	}
	prefix := key[:strings.LastIndexByte(key, '/')+1]
	after := ""
	if name := key[len(prefix):]; j.views.IntN(2) == 0 {
		after = name[:len(name)-1]
	}
	have, err := view.Children(prefix, after, 3)
	if err != nil {
		return err
	}
	j.count("children listed")
	want := j.model.children(prefix, after, 3, state.Applied)
	var names []string
	for _, c := range have {
		names = append(names, c.Name)
		if c.Record != nil {
			j.read(r, state, prefix+c.Name, *c.Record, true)
		}
	}
	if !slices.Equal(names, want) {
		j.w.fail(JudgeState, "%s lists %v below %q after %q at revision %d, want %v", r.name, names, prefix, after, state.Revision, want)
	}
	return nil
}

// overtaken: what an image has brought this node will never see applied; who waits for it
// has been told, or might be told later that it was not.
func (j *judge) overtaken(r *replica, index fsm.Index) {
	for _, id := range r.pending {
		if o := j.w.clients.ops[id-1]; o.writes() && j.where[id] != 0 && j.where[id] <= index {
			j.w.fail(JudgeAnswer, "%s has installed an image of index %d, and op %d, which was applied at %d, still waits there", r.name, index, id, j.where[id])
		}
	}
}

// closeViews ends all views: their store is about to be closed.
func (r *replica) closeViews() {
	for _, h := range r.held {
		h.view.Close()
	}
	r.held = nil
}

// proofBytes is the length of the batch that a log writes at its end when it is opened.
const proofBytes = 48

// cleanTail: behind the end of a log that was opened are zeros, or what is left of a torn
// batch might count as one later.
func (r *replica) cleanTail(cut *wal.Cut) error {
	if cut == nil {
		return nil
	}
	f := r.disk.files[cut.Segment]
	if f == nil || f.data == nil {
		return nil
	}
	from := min(cut.Offset+proofBytes, int64(len(f.data)))
	if left := bytes.TrimLeft(f.data[from:], "\x00"); len(left) > 0 {
		return fmt.Errorf("%s: %d bytes behind the end of the log, at %d of %s, are still those of a torn batch", r.name, len(left), cut.Offset, cut.Segment)
	}
	return nil
}

// rests: the entry that an append or the wish for a vote rests on is that of the sender's
// log. While appends wait, the log is ahead of what the judge has seen of it.
func (j *judge) rests(r *replica, m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgVote, raftpb.MsgPreVote:
	default:
		return
	}
	s := &r.shadow
	i := m.GetIndex()
	if len(r.storage.appends)+len(r.storage.appending) > 0 || i == 0 || i > uint64(len(s.terms)) {
		return
	}
	if term := s.terms[i-1]; term != m.GetLogTerm() {
		j.w.fail(JudgeSplit, "%s sends a %v that says that its entry %d is of term %d; it is of term %d", r.name, m.GetType(), i, m.GetLogTerm(), term)
	}
}

// sending is an image on its way out, as its core knows it, and the last one that was
// taken: the log must go on from both.
type sending struct {
	incarnation     uint64 // of the core: transfers are numbered anew in each
	open            uint64 // the transfer that was asked for last and not ended; zero: none
	transfer, index uint64 // the one that is read; zero: none
	to              uint64
	took            bool // the receiver says so

	taken   uint64 // index of the image that was taken last; zero: none
	takenBy uint64
	takenAt int64
}

// keepsLog is how long the log is kept for one that took an image, at least.
const keepsLog = 10 * time.Second

// replied sees what is said of the image that goes out: a repeat from another life says
// nothing, and what comes behind a tick may come after the transfer was given up.
func (s *sending) replied(ins []node.Input) {
	for _, in := range ins {
		switch in := in.(type) {
		case node.Tick:
			return
		case node.Receive:
			if m := in.Message.ImageReply; m != nil && s.transfer != 0 && m.Transfer == s.transfer && m.Incarnation == s.incarnation && m.Verdict == transport.ImageTaken {
				s.to, s.took = in.Message.From, true
			}
		default:
		}
	}
}

// asked holds what a core asks for against what it may.
func (j *judge) asked(r *replica, e node.Effect) {
	s := &r.storage.sending
	switch e := e.(type) {
	case node.ReadImage:
		if s.transfer != e.Transfer {
			s.transfer, s.index, s.took = e.Transfer, r.storage.images.index, false
		}
	case node.CloseImage:
		if s.took && s.transfer == e.Transfer {
			s.taken, s.takenBy, s.takenAt = s.index, s.to, j.w.now
		}
		s.transfer, s.took = 0, false
	case node.Truncate:
		j.keeps(r, e.Index)
	case node.Install:
		s.taken = 0 // the log goes on from the image that it installs
		status := r.core.Status()
		if status.Damage == nil && (r.storage.flush != nil || len(r.storage.applies) > 0) {
			j.w.fail(JudgeInvariant, "%s installs an image while its store is being written", r.name)
		}
		if e.Index > status.Commit {
			j.w.fail(JudgeInvariant, "%s installs an image of index %d, and knows %d to be committed", r.name, e.Index, status.Commit)
		}
	default:
	}
}

// digested: a node knows that its state is disputed once it has heard of another one at
// the index for which it told the others its own; then no image of it goes out, which
// might make a wrong state the majority's.
func (j *judge) digested(r *replica, ins []node.Input, effects []node.Effect) {
	open := &r.storage.sending.open
	for _, e := range effects {
		switch e := e.(type) {
		case node.Send:
			if d := e.Message.Digest; d != nil && !d.Asked {
				r.storage.digest = *d
			}
		case node.OpenImage:
			*open = e.Transfer
		case node.CloseImage:
			if *open == e.Transfer {
				*open = 0
			}
		case node.Stop:
			return // it may not have come to the rest
		default:
		}
	}
	status := r.core.Status()
	if *open != 0 && status.Disputed {
		j.w.fail(JudgeState, "%s sends an image of its state, and another member has another", r.name)
	}
	if status.Damage != nil {
		r.storage.digest = transport.Digest{} // that of a state it gives up
	}
	own := r.storage.digest
	if own.Index == 0 || status.Disputed {
		return
	}
	var heard transport.Digest
	for _, in := range ins {
		switch in := in.(type) {
		case node.Tick:
			heard = transport.Digest{} // it may have aged
		case node.Receive:
			if in.Message.ImageRequest != nil {
				heard = transport.Digest{} // of a state that was given up
			} else if d := in.Message.Digest; d != nil && !d.Asked && r.holdsForMember(in.Message.From) {
				heard = *d
			}
		default:
		}
	}
	if heard.Index == own.Index && heard.Hash != own.Hash {
		j.w.fail(JudgeState, "%s heard that another member has the state %x at index %d, where its own is %x, and does not hold it for disputed", r.name, heard.Hash[:6], own.Index, own.Hash[:6])
	}
}

// holdsForMember tells whether a node's core counts another one among the members: it hears those that it does not know
// yet, too.
func (r *replica) holdsForMember(id uint64) bool {
	is := func(m fsm.Member) bool { return m.RaftID == id && m.Life != (fsm.Life{}) }
	return r.db != nil && r.known.has(id) && id <= r.known.last && slices.ContainsFunc(r.db.State().Members, is)
}

// idleTime bounds how long a node knows of committed entries and does not apply them
// while its store has nothing to do.
const idleTime = 5 * time.Second

// applies: what is committed is applied, whatever the network does meanwhile. A node that
// forgets to would look like one that is cut off, until it is restarted.
func (j *judge) applies(r *replica) {
	if !r.formed() {
		return
	}
	s := &r.storage
	status := r.core.Status()
	if status.Damage != nil || status.Applied >= status.Commit || status.Applied != s.idleAt || !s.resting() {
		s.idle, s.idleAt = 0, status.Applied
		return
	}
	s.idle++
	if time.Duration(s.idle)*r.tickInterval() > idleTime {
		j.w.fail(JudgeLive, "%s knows up to %d to be committed, has applied up to %d, and its store has had nothing to do for %v", r.name, status.Commit, status.Applied, idleTime)
	}
}

// keeps: the log is not truncated above what a follower needs that is being sent an image,
// or has just taken one.
func (j *judge) keeps(r *replica, index uint64) {
	s := &r.storage.sending
	if s.transfer != 0 && !s.took && index > s.index {
		j.w.fail(JudgeDurable, "%s truncates its log up to %d while its image of index %d goes out", r.name, index, s.index)
	}
	if s.taken == 0 || index <= s.taken || j.w.now-s.takenAt > int64(keepsLog) {
		return
	}
	// What the follower has not made durable it cannot have confirmed.
	if to := j.w.machine(s.takenBy); uint64(to.shadow.durable) < s.taken {
		j.w.fail(JudgeDurable, "%s truncates its log up to %d, and %s, which has just taken the image of index %d, is not there yet", r.name, index, to.name, s.taken)
	}
}

// Where a segment has its batches, and a batch what it says of them.
const (
	segmentHeaderBytes = 96
	batchProvenAt      = 32
	batchSizeAt        = 40
)

// proven is how much of a segment its newest batch says was durable before it, if that
// batch is durable itself; 0 if not, or if there is none.
func (f *inode) proven() int64 {
	if len(f.dirty) > 0 || len(f.ghosts) > 0 {
		return 0
	}
	proven := int64(0)
	for at := int64(segmentHeaderBytes); at+proofBytes <= int64(len(f.data)); {
		size := int64(binary.LittleEndian.Uint64(f.data[at+batchSizeAt:]))
		if size < proofBytes {
			break // zeros: it ends here
		}
		proven = int64(binary.LittleEndian.Uint64(f.data[at+batchProvenAt:]))
		at += size
	}
	return proven
}

// A crash may come when all of a bbolt transaction is on the disk but for its meta page,
// which is written last: then the commit before is what counts. The pages of that are
// there still, since only the transaction after next uses them again.

// metas are the two meta pages of a store's file.
func (r *replica) metas() ([]byte, error) {
	f, err := os.Open(r.store)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 2*pageBytes)
	_, err = f.ReadAt(b, 0)
	return b, errors.Join(err, f.Close())
}

// metaTxid is where a meta page has the number of its transaction.
const metaTxid = 64

// loseMeta undoes the newest meta page since before was read.
func (r *replica) loseMeta(before []byte) error {
	after, err := r.metas()
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	newer := 0
	if binary.LittleEndian.Uint64(after[pageBytes+metaTxid:]) > binary.LittleEndian.Uint64(after[metaTxid:]) {
		newer = pageBytes
	}
	f, err := os.OpenFile(r.store, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(before[newer:newer+pageBytes], int64(newer))
	return errors.Join(err, f.Close())
}

// breakOffFlush does a part of a flush: all of it, or all but the last meta page.
func (r *replica) breakOffFlush() error {
	durable, previous := r.lastDurable, r.prevDurable
	before, err := r.metas()
	if err != nil {
		return err
	}
	if err := r.commit(); err != nil || r.tainted || r.timing.IntN(2) == 0 {
		return err
	}
	r.w.judge.count("crash: flush lacks its last meta page")
	r.lastDurable, r.prevDurable = durable, previous
	return r.loseMeta(before)
}
