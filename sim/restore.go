package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// In some worlds a backup is made while clients and faults are at work; and when the world has come to its
// end, and was judged, all of its nodes are destroyed and the backup is restored. What follows is a world of
// its own, with the same setup, for a while: other disks, another cluster id, a model that knows what was before
// the backup and nothing of what came after, clients that go on with keys that nobody had, and repeat what they
// wrote before. The old cluster keeps talking.

const (
	// restoredTime is how long clients and faults are at work in a cluster that was restored.
	restoredTime = 20 * time.Second
	// leastToRestore is the shortest world that has a restore: it needs a past.
	leastToRestore = 20 * time.Second
	// mendedBy bounds how long a node may be there that was restored otherwise than the others.
	mendedBy = 5 * time.Second
	// maxOverheard bounds what is kept of what the old cluster said.
	maxOverheard = 200
	// oldTalks is about how often one of its messages comes to the new one.
	oldTalks = 300 * time.Millisecond
	// maxRepeated bounds the writes of before that are asked for again.
	maxRepeated = 30
)

// backup is a backup of a world, and what the world needs beside it to know what it holds.
type backup struct {
	file  []byte
	state fsm.State
}

// archive is what a world keeps to be restored of.
type archive struct {
	g       generator
	backup  *backup
	reading *replica            // whose image is open
	want    uint64              // the index that it must be of, at least
	entries []fsm.Entry         // all that were applied
	heard   []transport.Message // the newest that were sent, but for those of the formation
}

// renewal is what a restored world begins with.
type renewal struct {
	former  *World
	cluster fsm.ClusterID
	to      fsm.Restoration
	at      fsm.Revision // the history that is kept ends here
	base    fsm.Index    // of the backup
	since   int          // clients' operations before it are of the former world
	joined  map[uint64]bool
	astray  *replica // was restored otherwise, or not at all; nil: none
	alien   bool     // it holds what it had in the former cluster
}

// restoring draws whether the world is restored of a backup in the end.
func (s *setup) restoring(g generator, o Options) {
	s.restored = g.IntN(6) == 0 && s.mix != Calm && o.Time >= leastToRestore
}

// keepArchive plans the backup.
func (w *World) keepArchive() {
	if !w.setup.restored || w.renewal != nil {
		return
	}
	w.archive = &archive{g: newGenerator(w.opts.Seed, "backup")}
	w.nemesis.later(w.archive.g.between(w.opts.Time*2/5, w.opts.Time*9/10), w.backUp)
}

// applied keeps an entry that nobody has applied before.
func (a *archive) applied(e *fsm.Entry) {
	if a != nil {
		kept := *e
		kept.Data = slices.Clone(e.Data)
		a.entries = append(a.entries, kept)
	}
}

// overhears keeps what is said.
func (a *archive) overhears(m *transport.Message) {
	if a != nil && m.Form == nil {
		a.heard = append(a.heard, cloneMessage(m))
		a.heard = a.heard[max(0, len(a.heard)-maxOverheard):]
	}
}

// backUp has a node written what it has applied, in half the worlds, and opens an image of it.
func (w *World) backUp() {
	a := w.archive
	r := w.nodes[a.g.IntN(len(w.nodes))]
	if !r.watchable() || r.storage.broken || r.core.Status().Applied == 0 {
		w.backUpAgain(w.backUp)
		return
	}
	a.reading, a.want = r, 1
	if a.g.IntN(2) == 0 {
		a.want = r.core.Status().Applied
		r.take(node.FlushNow{})
	}
	w.backUpAgain(w.openBackup)
}

// backUpAgain goes on with the backup a little later, or not any more.
func (w *World) backUpAgain(with healing) {
	if !w.nemesis.over && w.err == nil {
		w.nemesis.later(w.archive.g.between(10*time.Millisecond, 500*time.Millisecond), with)
	}
}

// openBackup opens the image, once the store has come so far; it is read a little later, with the store
// going on beside it.
func (w *World) openBackup() {
	a := w.archive
	r := a.reading
	if !r.watchable() || r.storage.broken {
		w.backUpAgain(w.backUp)
		return
	}
	image, err := r.db.OpenImage()
	if err != nil {
		w.fail(JudgeStop, "%s: opening an image for a backup: %w", r.name, err)
		return
	}
	if st := image.State(); uint64(st.Applied) < a.want {
		image.Close()
		w.backUpAgain(w.openBackup)
		return
	}
	r.storage.backup = image
	if w.nemesis.over {
		w.writeBackup()
		return
	}
	w.backUpAgain(w.writeBackup)
}

// writeBackup writes the backup, if the node's process has lived so long.
func (w *World) writeBackup() {
	a := w.archive
	r := a.reading
	image := r.storage.backup
	if image == nil || !r.watchable() {
		r.closeBackup()
		w.backUpAgain(w.backUp)
		return
	}
	defer r.closeBackup()
	var file bytes.Buffer
	if err := fsm.WriteBackup(&file, image, image.Backup(r.name, time.Unix(0, w.now)), nil); err != nil {
		w.fail(JudgeState, "%s: writing a backup: %w", r.name, err)
		return
	}
	w.judge.count("backup made")
	a.backup = &backup{file: file.Bytes(), state: image.State()}
}

// closeBackup ends the reading of a backup: its store is about to be closed, or it is done.
func (r *replica) closeBackup() {
	if r.storage.backup != nil {
		r.storage.backup.Close()
		r.storage.backup = nil
	}
}

// restorable tells whether the world came to its end, and has a backup to go on with.
func (w *World) restorable() bool { return w.err == nil && w.archive != nil && w.archive.backup != nil }

// restored is the world that goes on where this one's backup was made; nil: there is none.
func (w *World) restored() (*World, error) {
	if !w.restorable() {
		return nil, nil
	}
	next := &World{opts: w.opts, setup: w.setup, trace: w.trace, ends: int64(restoredTime), dir: filepath.Join(w.dir, "restored")}
	if err := os.Mkdir(next.dir, 0o700); err != nil {
		return nil, fmt.Errorf("sim: directory for the restored stores: %w", err)
	}
	next.opts.Seed = newGenerator(w.opts.Seed, "restored").Uint64()
	next.opts.Time = restoredTime
	next.setup.behind, next.setup.early = 0, false
	next.renewal = &renewal{former: w, since: len(w.clients.ops), base: w.archive.backup.state.Applied, joined: map[uint64]bool{}}
	return next, nil
}

// renew makes of a world that was built one that was restored.
func (w *World) renew() {
	n := w.renewal
	if n == nil {
		return
	}
	w.judge.fired = n.former.judge.fired
	w.judge.count("restored")
	g := newGenerator(w.opts.Seed, "restore")
	for i := range n.cluster {
		n.cluster[i] = byte(g.Uint32())
	}
	n.to = fsm.Restoration{Cluster: n.cluster, Time: n.former.now + int64(g.between(0, time.Hour)), Comment: "restored from a backup"}
	for i, name := range w.nodes[0].names {
		n.to.Members = append(n.to.Members, fsm.Member{RaftID: uint64(i + 1), Name: name})
	}
	w.judge.replay(n)
	n.at = w.judge.model.revision
	if g.IntN(2) == 0 {
		w.judge.count("restored at a revision")
		n.at = w.judge.drawRevision(n.at)
		n.to.At = &n.at
	}
	w.refuseCompacted(n)
	w.judge.rollBack(n)
	if len(w.nodes) > 1 && g.IntN(3) != 0 {
		n.astray = w.nodes[g.IntN(len(w.nodes))]
	}
	for _, r := range w.nodes {
		r.wall += time.Duration(n.former.now)
		if r == n.astray {
			w.goAstray(g, r)
		} else {
			w.furnish(r, n.to)
		}
	}
	w.clients.goOn(n, g)
	w.nemesis.later(g.between(0, oldTalks), func() { w.oldTalk(g) })
	if w.setup.faults[faultLost] > 0 && g.IntN(2) == 0 {
		w.nemesis.later(g.between(restoredTime/3, restoredTime), func() { w.nemesis.bringOne(faultLost) })
	}
}

// replay makes the model and the slots what they were at the backup.
func (j *judge) replay(n *renewal) {
	was := &n.former.judge
	j.model.genesis = was.model.genesis
	j.model.memberships = was.model.memberships[:1:1]
	for i := range n.former.archive.entries[:n.base] {
		e := &n.former.archive.entries[i]
		j.slots = append(j.slots, slot{term: e.Term, digest: digest(e.Data), conf: e.Conf, result: j.model.apply(e.Index, e.Data, e.Conf), state: j.model.state()})
	}
	j.slots[n.base-1].term = n.former.archive.backup.state.Term
}

// refuseCompacted falls back to all of the backup, if the world wants of it what it does not hold. The store
// must refuse it then.
func (w *World) refuseCompacted(n *renewal) {
	m := &w.judge.model
	key, ended := m.lostAmong(m.known(""), n.at, n.base)
	if n.at >= m.floor && ended == 0 {
		return
	}
	err := w.nodes[0].restore(n.former.archive.backup, n.to)
	if compactedAt(err) == 0 {
		w.fail(JudgeState, "a backup of revision %d is restored at %d (%v), where it holds all from %d on, and %q from %d on", m.revision, n.at, err, m.floor, key, ended)
	}
	w.judge.count("restore refused: compacted")
	n.at, n.to.At = m.revision, nil
}

// rollBack makes the model what is restored. The indexes whose changes are lost are as if they had changed
// nothing, and the last one is where the restore is.
func (j *judge) rollBack(n *renewal) {
	asked := n.former.judge.model.answers.asked // what became of the rest must not be remembered
	j.model.answers.asked = asked
	kept := j.indexOf(n.at)
	was := modelState{}
	if kept > 0 {
		was = j.slots[kept-1].state
	}
	for i := int(kept); i < len(j.slots); i++ {
		j.slots[i].state = was
	}
	j.model.restored(n.at, &n.to)
	j.model.formed(n.to.Cluster, n.to.Members, fsm.Version)
	j.slots[n.base-1].state = j.model.state()
}

// restore makes a store of a backup.
func (r *replica) restore(b *backup, to fsm.Restoration) (err error) {
	image := r.store + ".image"
	ctx := context.Background()
	if _, err := fsm.UnpackBackup(ctx, bytes.NewReader(b.file), image, r.storeOptions(), nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(image)) }()
	db, err := fsm.Open(image, r.storeOptions())
	if err != nil {
		return err
	}
	_, err = db.RestoreTo(ctx, r.store, to, r.storeOptions())
	return errors.Join(err, db.Close())
}

// furnish makes a node's directory of the backup, as node.Restore does.
func (w *World) furnish(r *replica, to fsm.Restoration) {
	if err := w.furnished(r, to); err != nil {
		w.fail(JudgeState, "%s is not restored: %w", r.name, err)
	}
}

func (w *World) furnished(r *replica, to fsm.Restoration) error {
	if err := r.restore(w.renewal.former.archive.backup, to); err != nil {
		return err
	}
	db, err := fsm.Open(r.store, r.storeOptions())
	if err != nil {
		return err
	}
	st := db.State()
	if err := db.Close(); err != nil {
		return err
	}
	if st.Cluster == w.renewal.former.judge.cluster {
		w.fail(JudgeSplit, "%s was restored, and its store is still of cluster %x", r.name, st.Cluster[:4])
	}
	if to.Comment == w.renewal.to.Comment && to.At == w.renewal.to.At {
		if err := w.judge.state(r, st); err != nil {
			return err
		}
	}
	made := NewDisk(newGenerator(w.opts.Seed, fmt.Sprintf("restored log %s %d", r.name, w.now)).Rand)
	if err := wal.Create(made, r.walOptions()); err != nil {
		return err
	}
	log, _, err := wal.Open(made, r.walOptions())
	if err != nil {
		return err
	}
	if err := errors.Join(log.Append(node.RestoredLog(&st)), log.Close()); err != nil {
		return err
	}
	r.disk, r.hasDB, r.lastDurable, r.prevDurable = made, true, st.Applied, st.Applied
	id := node.RestoredIdentity(r.names, r.id, w.renewal.cluster)
	var life [16]byte
	for i := range life {
		life[i] = byte(r.rng.Uint32())
	}
	id.Begin(&st, life)
	return node.StoreIdentity(r.home, id)
}

// goAstray makes of a node another beginning than the others have: no cluster may form with it. It is
// restored as they are after a while.
func (w *World) goAstray(g generator, r *replica) {
	switch g.IntN(4) {
	case 0:
		w.judge.count("restored beside an empty node")
	case 1:
		w.judge.count("restored beside a node of the old cluster")
		id, err := node.LoadIdentity(w.renewal.former.nodes[r.id-1].home)
		if err != nil || !id.Formed {
			break // it had lost that, and is empty
		}
		w.renewal.alien = true
		if err := node.StoreIdentity(r.home, id); err != nil {
			w.fail(JudgeStop, "%s: %w", r.name, err)
		}
	default:
		w.judge.count("restored otherwise on one node")
		w.furnishOtherwise(g, r)
	}
	w.nemesis.later(g.between(time.Second, mendedBy), func() { w.mend(r) })
}

// furnishOtherwise restores a node of the same backup at the revision before, or of another one: then what is
// said of it differs.
func (w *World) furnishOtherwise(g generator, r *replica) {
	to, before := w.renewal.to, w.renewal.at-1
	if w.renewal.at > 0 && g.IntN(2) == 0 {
		to.At = &before
		err := w.furnished(r, to)
		if err == nil {
			return
		}
		if compactedAt(err) == 0 {
			w.fail(JudgeState, "%s is not restored at revision %d: %w", r.name, before, err)
			return
		}
	}
	to = w.renewal.to
	to.Comment += ", another one"
	w.furnish(r, to)
}

// mend restores a node as the others were.
func (w *World) mend(r *replica) {
	if w.err != nil {
		return
	}
	r.crash(killed)
	w.renewal.astray, w.renewal.alien = nil, false
	r.empty(newGenerator(w.opts.Seed, "mended "+r.name))
	w.furnish(r, w.renewal.to)
}

// empty leaves a node nothing on its disk.
func (r *replica) empty(g generator) {
	r.home, r.disk, r.hasDB = NewDisk(g.Rand), nil, false
	if err := os.Remove(r.store); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.w.fail(JudgeInvariant, "%s: %w", r.name, err)
	}
}

// isAlien tells whether r is a node of the former cluster, which only answers those who form one.
func (n *renewal) isAlien(r *replica) bool { return n != nil && n.alien && n.astray == r }

// forming tells whether some node of a restored cluster has not come to know all others yet: who loses
// its disk then must be restored again with all of them.
func (n *renewal) forming(w *World) bool { return n != nil && len(n.joined) < len(w.nodes) }

// renewed: a restored cluster is another one, and forms only if all of its nodes were restored alike.
func (j *judge) renewed(r *replica, id node.Identity) {
	n := j.w.renewal
	if n == nil {
		return
	}
	if n.joined[r.id] = true; n.astray != nil {
		j.w.fail(JudgeSplit, "%s forms a cluster, and %s has not been restored as it was", r.name, n.astray.name)
	}
	if id.Cluster != n.cluster {
		j.w.fail(JudgeSplit, "%s joins cluster %x, it was restored to %x", r.name, id.Cluster[:4], n.cluster[:4])
	}
}

// restoredAgain: somebody restores the disk that was lost once more. It must never take part.
func (w *World) restoredAgain(r *replica) {
	if w.renewal != nil && newGenerator(w.opts.Seed, "restored again").IntN(2) == 0 {
		w.judge.count("restored again beside a member")
		w.furnish(r, w.renewal.to)
	}
}

// oldTalk lets a message of the former cluster come to the new one.
func (w *World) oldTalk(g generator) {
	if w.nemesis.over || w.err != nil {
		return
	}
	if heard := w.renewal.former.archive.heard; len(heard) > 0 {
		m := heard[g.IntN(len(heard))]
		w.net.buf = encodeMessage(w.net.buf[:0], &m)
		w.after(0, event{kind: evDeliver, mail: w.net.mail(envelope{
			m: m, digest: digest(w.net.buf), resets: w.net.link(m.From, m.To).resets, echo: true, cluster: w.renewal.former.judge.cluster,
		})})
	}
	w.nemesis.later(g.about(oldTalks), func() { w.oldTalk(g) })
}

// goOn has clients go on where those of the former world were: under keys that nobody had, and with
// revisions that are lost.
func (c *clients) goOn(n *renewal, g generator) {
	was := &n.former.clients
	c.ops = slices.Clone(was.ops)
	c.lastKey = was.lastKey
	for i := range c.keys {
		c.keys[i].generation = was.keys[i].generation + 1
	}
	for i, v := range c.watchers {
		v.has = was.watchers[i].has
		c.attach(i)
	}
	var keyed []*operation
	for _, o := range was.ops {
		if o.key != "" && o.started {
			keyed = append(keyed, o)
		}
	}
	g.Shuffle(len(keyed), func(i, j int) { keyed[i], keyed[j] = keyed[j], keyed[i] })
	for _, o := range keyed[:min(len(keyed), maxRepeated)] {
		c.w.nemesis.later(g.between(0, restoredTime), func() { c.askAgain(g, was, o) })
	}
}

// askAgain asks for a write of before once more. It is no operation of the history: what it was is remembered,
// or lost, and the model says which.
func (c *clients) askAgain(g generator, was *clients, of *operation) {
	if c.over || c.w.err != nil {
		return
	}
	c.w.judge.count("write of before the restore asked for again")
	cmd := was.commandOf(of)
	o := c.add(0, governClient-1, c.w.nodes[g.IntN(len(c.w.nodes))])
	o.rng, o.keyed, o.answer = g, of.keyed, nil
	o.edict = &edict{what: "write of before", ops: cmd.Ops, compares: cmd.Compares, gives: true, by: -1}
	c.rules(o)
}

// resumes is where a watcher goes on at a node: what is asked of a revision that a restore skipped is
// refused, as package httpapi does.
func (c *clients) resumes(v *watcher, r *replica) {
	if !r.watchable() {
		return
	}
	st := r.db.State()
	if g, lost := st.GapAt(v.has); lost {
		c.w.judge.count("watch: what it had was lost in a restore")
		v.has = g.To
	}
	if c.w.judge.model.skipped(v.has) {
		c.w.fail(JudgeState, "%s lets a watch go on after revision %d, which a restore skipped", r.name, v.has)
	}
}

// drawRevision draws one up to newest, mostly one that was made.
func (j *judge) drawRevision(newest fsm.Revision) fsm.Revision {
	m := &j.model
	if newest < m.skip.To || m.skip.To == 0 {
		return fsm.Revision(j.views.Uint64N(uint64(newest) + 1))
	}
	if j.views.IntN(8) == 0 {
		return m.skip.From + 1 + fsm.Revision(j.views.Uint64N(uint64(m.skip.To-m.skip.From)))
	}
	n := j.views.IntN(m.place(newest) + 2)
	if n == 0 {
		return 0
	}
	return m.number(n - 1)
}
