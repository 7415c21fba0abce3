package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/wal"
)

// errShort is that of a write of which the disk took a part only.
var errShort = fmt.Errorf("the disk: %w", io.ErrShortWrite)

// atlas knows which durable data the world has damaged, so that a majority's is
// always whole: then everything that was acknowledged can be had again, and a
// cluster that does not recover is wrong. Every fault that destroys what was
// synced asks it first.
type atlas struct {
	logs   []bool // damaged, by raft id - 1
	stores []bool
	aside  []bool // not damaged, and not there
	// sets are of which a majority must be whole, each of raft ids; calm: nobody is at work to make others of
	// them.
	sets func() [][]uint64
	calm func() bool
}

func newAtlas(nodes int) atlas {
	all := make([]uint64, nodes)
	for i := range all {
		all[i] = uint64(i + 1)
	}
	return atlas{
		logs: make([]bool, nodes), stores: make([]bool, nodes), aside: make([]bool, nodes),
		sets: func() [][]uint64 { return [][]uint64{all} }, calm: func() bool { return true },
	}
}

// loseLog gives r's log up, if all others are whole and still a majority: a node
// without its log has forgotten its votes and never comes back.
func (a *atlas) loseLog(r *replica) bool {
	if !a.calm() || !a.spares(r) {
		return false
	}
	for _, set := range a.sets() {
		if slices.ContainsFunc(set, func(id uint64) bool { return a.logs[id-1] }) {
			return false
		}
	}
	a.logs[r.id-1] = true
	return true
}

// loseStore gives r's store up, if a majority of the others is whole. It can be
// had again: see regained.
func (a *atlas) loseStore(r *replica) bool {
	if !a.spares(r) {
		return false
	}
	a.stores[r.id-1] = true
	return true
}

// regained: r's store is whole again.
func (a *atlas) regained(r *replica) { a.stores[r.id-1] = false }

// whole tells whether nothing of r's was damaged.
func (a *atlas) whole(r *replica) bool { return !a.logs[r.id-1] && !a.stores[r.id-1] }

// spares tells whether the nodes that are whole are a majority without r.
func (a *atlas) spares(r *replica) bool {
	return a.bear(a.sets(), func(id uint64) bool { return id != r.id })
}

// bear tells whether those nodes that are whole, and for which has holds, are a majority of each set.
func (a *atlas) bear(sets [][]uint64, has func(id uint64) bool) bool {
	for _, set := range sets {
		if !majorityOf(set, func(id uint64) bool { return !a.logs[id-1] && !a.stores[id-1] && !a.aside[id-1] && has(id) }) {
			return false
		}
	}
	return true
}

func (n *nemesis) slowDisks(g generator) bool {
	by := diskSetup{
		sync:  g.some(10*time.Millisecond, 3*time.Second),
		apply: g.some(time.Millisecond, 200*time.Millisecond),
		flush: g.some(100*time.Millisecond, 5*time.Second),
	}
	n.disk = n.disk.plus(by)
	n.undo(g, func() { n.disk = n.disk.minus(by) })
	return true
}

// spoil makes one of the next operations on a node's log fail. It is counted when it does.
func (n *nemesis) spoil(k faultKind, r *replica, err error, ops ...Op) bool {
	if !r.formed() {
		return false
	}
	left := n.rng[k].IntN(10)
	r.disk.Fault = func(op Op, _ string) error {
		if !slices.Contains(ops, op) {
			return nil
		}
		if left--; left != -1 {
			return nil
		}
		n.w.judge.count(k.String())
		return err
	}
	return false
}

// fillDisk leaves a node's log little or no room for a while.
func (n *nemesis) fillDisk(g generator, r *replica) bool {
	if !r.formed() {
		return false
	}
	r.disk.Capacity = r.disk.Used() + g.Int64N(2*n.w.setup.segmentBytes)
	n.noted(linearizability.Event{Nodes: namesOf([]*replica{r})})
	n.undo(g, func() {
		if r.disk != nil { // the world may have taken it since
			r.disk.Capacity = 0
		}
	})
	return true
}

// reachFloor has the free space of a node's disk come below its floor for a while, though the
// log has all the room it needs.
func (n *nemesis) reachFloor(g generator, r *replica) bool {
	if r.low {
		return false
	}
	r.low = true
	n.noted(linearizability.Event{Nodes: namesOf([]*replica{r})})
	n.undo(g, func() { r.low = false })
	return true
}

// rotLog flips a bit of what the log has proven durable, so that it is damage and no
// torn tail: of a segment that it has closed, or before the newest proof in the one that
// it writes. It is found when the node reads it or starts.
func (n *nemesis) rotLog(g generator, r *replica) bool {
	if r.disk == nil {
		return false
	}
	var segments []string
	for _, name := range r.disk.names() {
		if strings.HasPrefix(name, "wal-") && strings.HasSuffix(name, ".log") {
			segments = append(segments, name)
		}
	}
	if len(segments) == 0 {
		return false
	}
	name := segments[len(segments)-1]
	proven := r.disk.files[name].proven()
	if closed := len(segments) - 1; closed > 0 && (proven == 0 || g.IntN(2) == 0) {
		name = segments[g.IntN(closed)]
		proven = r.disk.written(name)
	}
	if proven == 0 || n.w.renewal.forming(n.w) || !n.atlas.loseLog(r) {
		return false
	}
	r.rotten = true
	n.hit(r)
	if err := r.disk.FlipBit(name, g.Int64N(proven)); err != nil {
		n.w.fail(JudgeInvariant, "a bit of %s cannot be flipped: %w", name, err)
	}
	return true
}

// ruined tells whether err is what becomes of a log that the world has damaged.
func (r *replica) ruined(err error) bool { return r.rotten && errors.Is(err, wal.ErrDamaged) }

// retire takes a node out until the end: it does not know any more how it voted.
func (r *replica) retire() {
	r.w.judge.count("log damaged: the node is out")
	r.out = true
	r.crash(killed)
}

// damageStore damages a node's database, or takes the file away while nobody has it open.
func (n *nemesis) damageStore(g generator, r *replica) bool {
	if !r.hasDB || !n.atlas.loseStore(r) {
		return false
	}
	r.tainted, r.rotted = true, true
	n.hit(r)
	if !r.up && g.IntN(2) == 0 {
		r.loseStoreFile()
		n.w.judge.count("store file lost")
		return true
	}
	if err := n.flip(g, r.store); err != nil {
		n.w.fail(JudgeInvariant, "the database of %s cannot be damaged: %w", r.name, err)
	}
	return true
}

// rotAgain damages the store that an image has just brought, before the node serves it.
func (n *nemesis) rotAgain(r *replica) {
	if !r.formed() || r.core.Status().Damage == nil || !n.lurks(r, tenderAgain) || !n.atlas.loseStore(r) {
		return
	}
	n.w.judge.count(tenderAgain.String())
	r.tainted, r.rotted = true, true
	if err := n.flip(n.tenders[tenderAgain][r.id-1], r.store); err != nil {
		n.w.fail(JudgeInvariant, "the database of %s cannot be damaged: %w", r.name, err)
	}
	r.damage(fmt.Errorf("%w: by the world", fsm.ErrDamaged))
}

// metaBytes is how much of a page bbolt's meta record takes, with the page's header.
const (
	metaBytes = 80
	pageBytes = 4096
	// minText is the least that is looked for in a file: less stands there by chance.
	minText = 4
)

// flip flips one bit of a meta page, or one of a record, wherever that stands in the
// file: where that is, is not the same in two runs of a seed, but what it holds is. The
// file may be open and mapped. (That any other bit is found as well, fsm's own tests show.)
func (n *nemesis) flip(g generator, path string) error {
	file, err := os.ReadFile(path) //nolint:gosec // a store of the world's own
	if err != nil {
		return err
	}
	var at []int
	if text := n.recorded(g); len(text) >= minText && g.IntN(4) != 0 {
		for i := 0; ; i += len(text) {
			next := bytes.Index(file[i:], text)
			if next < 0 {
				break
			}
			i += next
			at = append(at, i)
		}
	} else {
		at = append(at, g.IntN(2)*pageBytes+g.IntN(metaBytes))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a store of the world's own
	if err != nil {
		return err
	}
	bit := byte(1) << g.IntN(8)
	for _, i := range at {
		if _, err := f.WriteAt([]byte{file[i] ^ bit}, int64(i)); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// recorded draws something that a record may hold: the name of a request, as the
// change log has it, or a value.
func (n *nemesis) recorded(g generator) []byte {
	changes := n.w.judge.model.changes
	if len(changes) == 0 {
		return nil
	}
	request := changes[g.IntN(len(changes))].request
	if id := opOf(request); id != 0 && g.IntN(2) == 0 {
		return []byte(n.w.clients.ops[id-1].op.Value)
	}
	return []byte(request)
}

func (r *replica) loseStoreFile() {
	if err := os.Remove(r.store); err != nil {
		r.w.fail(JudgeInvariant, "the database of %s cannot be removed: %w", r.name, err)
	}
	r.hasDB, r.diverged, r.strayed = false, false, 0
}

// mislead makes a node apply another value than the next command has, as a bit of its
// memory might: its checksums are right, and its state is not what the others' is.
// It is counted when it happens.
func (n *nemesis) mislead(r *replica) bool {
	r.misled = len(n.w.nodes) > 1 && r.formed()
	return false
}

// astray is what the store is given in place of ents, and whether the first of them is wrong: it
// is the one that is not left for later if there is no room.
func (r *replica) astray(ents []fsm.Entry) ([]fsm.Entry, bool) {
	if !r.misled || r.tainted || r.w.nemesis.over {
		return ents, false
	}
	data := slices.Clone(ents[0].Data)
	cmd, err := fsm.Decode(data)
	if len(data) == 0 || err != nil || len(cmd.Ops) == 0 || len(cmd.Else) > 0 || cmd.Ops[0].Kind != fsm.Put || len(cmd.Ops[0].Value) == 0 {
		return ents, false
	}
	if !r.w.nemesis.atlas.loseStore(r) {
		return ents, false
	}
	cmd.Ops[0].Value[0] ^= 1
	if data, err = cmd.EncodeAs(data[0]); err != nil {
		r.w.fail(JudgeInvariant, "%s: a command that was decoded cannot be encoded: %w", r.name, err)
		return ents, false
	}
	ents = slices.Clone(ents)
	ents[0].Data = data
	r.misled, r.tainted = false, true
	return ents, true
}

// strays notes that the state is wrong from an index on, or from before.
func (r *replica) strays(index fsm.Index) {
	if r.strayed == 0 || index < r.strayed {
		r.strayed = index
	}
}

// wentAstray sees what became of an entry that was applied wrongly, after the judge
// saw it: one that changed nothing, here as elsewhere, did no harm.
func (r *replica) wentAstray(res fsm.Result) {
	if !r.diverged {
		r.tainted = false
		r.w.nemesis.atlas.regained(r)
		return
	}
	r.strays(res.Index)
	r.w.judge.count(faultMisled.String())
	r.w.ended(r.w.begins(linearizability.Event{Name: faultMisled.String(), Nodes: namesOf([]*replica{r})}))
}

// loseDisk takes all that a node had on its disk: its identity, log and store. Its
// process starts on an empty directory, and must never take part again: it may have voted.
func (n *nemesis) loseDisk(r *replica) bool {
	if !n.forgets(r) {
		return false
	}
	n.hit(r)
	n.forget(r)
	return true
}

// forgets tells whether r may lose its disk. While nobody is a member, none that comes
// back with an empty disk did anything before. One that formed its cluster alone, and whose configuration lists nobody
// else, cannot find out that it was a member: it forms another cluster, as docs/membership.md warns.
func (n *nemesis) forgets(r *replica) bool {
	return (r.seat != nil || len(r.names) > 1) && n.w.judge.cluster != (fsm.ClusterID{}) && !n.w.renewal.forming(n.w) && !r.forgot && !r.out && n.atlas.loseLog(r)
}

func (n *nemesis) forget(r *replica) {
	if r.up {
		r.crash(powerLost)
	}
	r.forgetDisk(newGenerator(n.w.opts.Seed, "new disk "+r.name).Rand)
	n.w.restoredAgain(r)
}

// loseForming takes the disk of a node that has just told the others that it stored the
// cluster's id: what they said before is still on its way to it.
func (n *nemesis) loseForming(r *replica) bool {
	if r.form.Identity().Cluster == (fsm.ClusterID{}) || !n.tender(r, tenderForget) || !n.forgets(r) {
		return false
	}
	n.w.note(linearizability.Event{Kind: linearizability.Crashed, Node: r.name, Text: "disk lost in forming"})
	if r.prepare != nil && n.tenders[tenderForget][r.id-1].IntN(2) == 0 {
		r.late = r.prepare
	}
	n.forget(r)
	return true
}

func (r *replica) forgetDisk(g *rand.Rand) {
	r.forgot, r.told = true, 0
	r.home, r.disk = NewDisk(g), nil
	r.tainted, r.rotted, r.diverged, r.strayed = false, false, false, 0
	r.lastDurable, r.prevDurable, r.hasDB = 0, 0, false
	for _, path := range []string{r.store, r.incomingPath(), r.imagePath(r.imageIndex)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.w.fail(JudgeInvariant, "%s: %w", r.name, err)
		}
	}
	r.imageIndex = 0
}
