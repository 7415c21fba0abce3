package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/wal"
)

// bbolt does not write the same bytes for the same data (it goes through its buckets,
// and through the pages that deletions left small, in the order of a map). What the
// world's links carry is therefore not the image itself but a stand-in, whose bytes
// and size follow from the state alone: a number that says which image it is, and a
// pattern. The image's own bytes are read as the stand-in is, a share for each share,
// and come to light again when the receiver verifies what it got; a byte that is
// wrong in the one is then wrong in the other.

// photo is what was read so far of an image that some node opened.
type photo struct {
	id    uint64
	size  uint64 // of the stand-in
	bytes []byte
	read  []bool // which of bytes were
}

// standInBytes is the size of the stand-in for an image of a state.
func standInBytes(s *fsm.State) uint64 { return 32<<10 + 64*s.Between(0, s.Revision) }

// keptPhotos is how many photos a world remembers; older ones are of transfers long given up.
const keptPhotos = 64

// photoHeader is how much of the stand-in names the photo.
const photoHeader = 8

// at is the stand-in's byte at a position.
func (p *photo) at(pos uint64) byte {
	if pos < photoHeader {
		return byte(p.id >> (8 * pos))
	}
	return byte(p.id + pos + pos>>8)
}

// real is the position in the image that a position in the stand-in stands for.
func (p *photo) real(pos uint64) uint64 { return pos * uint64(len(p.bytes)) / p.size }

// take reads the share of the image that n bytes at off stand for. Whatever was read
// before must be the same again, unless the world has changed it.
func (p *photo) take(image *fsm.Image, off, n uint64, changed bool) error {
	lo, hi := p.real(off), p.real(off+n)
	b := make([]byte, hi-lo)
	if _, err := image.ReadAt(b, int64(lo)); err != nil {
		return err
	}
	was, read := p.bytes[lo:hi], p.read[lo:hi]
	if !changed && !bytes.Equal(was, b) {
		for i := range b {
			if read[i] && was[i] != b[i] {
				return fmt.Errorf("the image's byte at %d is another than it was when it was first read", lo+uint64(i))
			}
		}
	}
	copy(was, b)
	for i := range read {
		read[i] = true
	}
	return nil
}

// developed is the image that a node got which was sent got as the stand-in.
func (w *World) developed(got []byte) []byte {
	if len(got) < photoHeader {
		return nil
	}
	id := binary.LittleEndian.Uint64(got)
	if id == 0 || id > uint64(len(w.photos)) || w.photos[id-1].size != uint64(len(got)) {
		return nil
	}
	p := w.photos[id-1]
	out := bytes.Clone(p.bytes)
	for pos := range got {
		if wrong := got[pos] ^ p.at(uint64(pos)); wrong != 0 {
			w.fail(JudgeWire, "a piece of an image was taken with a bit that is wrong, at %d of %d", pos, len(got))
			out[p.real(uint64(pos))] ^= wrong
		}
	}
	return out
}

// images is what a node's process does with database images: one at a time, in order.
type images struct {
	queue []node.Effect // the first is under way
	open  *fsm.Image    // of transfer named; nil: none
	photo *photo
	named uint64
	index uint64 // of the image that was opened last
	// deposed: what is found of the next image waits for word of another leader, to be taken
	// together with it, as a loop does that is slow; verified waits for it now.
	deposed  bool
	verified node.Input
	// incoming is the stand-in that comes in. It need not survive a crash.
	incoming []byte
	noRoom   bool // for a piece of it
}

var errWithheld = errors.New("the world withholds a wrong state")

func (r *replica) incomingPath() string { return r.store + ".new" }

func (r *replica) imagePath(index uint64) string { return fmt.Sprintf("%s.snap-%016x", r.store, index) }

// imageTime is about how long one operation on an image takes.
func (r *replica) imageTime(e node.Effect) int64 {
	disk := &r.w.nemesis.disk
	switch e.(type) {
	case node.CloseImage, node.DropImage:
		return 0
	case node.VerifyImage:
		return int64(r.latency(disk.flush))
	default:
		return int64(r.latency(disk.apply))
	}
}

func (r *replica) startImage() {
	e := r.storage.images.queue[0]
	r.w.queue.push(event{at: r.w.now + r.imageTime(e), kind: evImage, node: r, life: r.life})
}

// image is the end of the first of what waits to be done with images.
func (r *replica) image() {
	s := &r.storage.images
	e := s.queue[0]
	if _, ok := e.(node.VerifyImage); ok && r.w.nemesis.tender(r, tenderVerify) {
		r.crash(r.w.nemesis.how(r, tenderVerify)) // which does it, or does not
		return
	}
	in, err := r.doImage(e)
	if err != nil {
		r.w.fail(JudgeStop, "%s: %T: %w", r.name, e, err)
		return
	}
	s.queue[0] = nil
	s.queue = s.queue[1:]
	if len(s.queue) > 0 {
		r.startImage()
	}
	if _, ok := in.(node.ImageVerified); ok && s.deposed {
		s.deposed, s.verified = false, in
		r.w.after(maxVerified, event{kind: evVerified, node: r, life: r.life})
		return
	}
	if in != nil {
		r.take(in)
	}
}

// maxVerified bounds how long a verified image waits for word of another leader.
const maxVerified = 3 * time.Second

// verified ends the wait for another leader: none came.
func (r *replica) verified() {
	if in := r.storage.images.verified; in != nil {
		r.storage.images.verified = nil
		r.take(in)
	}
}

// doImage does e to the end and says what the core is to be told.
func (r *replica) doImage(e node.Effect) (node.Input, error) {
	s := &r.storage.images
	switch e := e.(type) {
	case node.OpenImage:
		if r.db == nil {
			return node.ImageOpened{Transfer: e.Transfer, Err: fs.ErrNotExist}, nil
		}
		if r.diverged {
			// A state that went wrong unseen, and a follower that just then has lost its
			// own: together more than the contract survives.
			return node.ImageOpened{Transfer: e.Transfer, Err: errWithheld}, nil
		}
		image, err := r.db.OpenImage()
		if err != nil {
			if r.tainted && errors.Is(err, fsm.ErrDamaged) {
				return node.ImageOpened{Transfer: e.Transfer, Err: err}, nil
			}
			return nil, err
		}
		r.w.judge.count("image opened")
		state := image.State()
		s.open, s.named, s.index = image, e.Transfer, uint64(state.Applied)
		s.photo = &photo{
			id: uint64(len(r.w.photos)) + 1, size: standInBytes(&state),
			bytes: make([]byte, image.Size()), read: make([]bool, image.Size()),
		}
		r.w.photos = append(r.w.photos, s.photo)
		if n := len(r.w.photos) - keptPhotos; n > 0 {
			r.w.photos[n-1] = &photo{}
		}
		return node.ImageOpened{Transfer: e.Transfer, State: state, Size: s.photo.size}, nil
	case node.ReadImage:
		if s.open == nil || s.named != e.Transfer {
			return nil, errors.New("it is not open")
		}
		if err := s.photo.take(s.open, e.Offset, uint64(e.Bytes), r.tainted); err != nil {
			return nil, err
		}
		b := make([]byte, e.Bytes)
		for i := range b {
			b[i] = s.photo.at(e.Offset + uint64(i))
		}
		return node.ImageRead{Transfer: e.Transfer, Offset: e.Offset, Data: b}, nil
	case node.CloseImage:
		r.closeImage()
		return nil, nil
	case node.WriteImage:
		if r.disk.Capacity > 0 && r.timing.IntN(2) == 0 || e.Offset == 0 && r.w.nemesis.tender(r, tenderNoRoom) {
			r.w.judge.count("image finds no room")
			s.noRoom = true
			return node.ImageWritten{Offset: e.Offset, Err: wal.ErrFull}, nil
		}
		if e.Offset == 0 {
			s.incoming, s.noRoom = nil, false
		}
		if s.noRoom {
			// It was asked for before the core heard of it.
			return node.ImageWritten{Offset: e.Offset, Err: wal.ErrFull}, nil
		}
		if uint64(len(s.incoming)) != e.Offset {
			return nil, fmt.Errorf("there are %d bytes, and the next come at %d", len(s.incoming), e.Offset)
		}
		s.incoming = append(s.incoming, e.Data...)
		return node.ImageWritten{Offset: uint64(len(s.incoming))}, nil
	case node.VerifyImage:
		return r.verifyImage(e.Index)
	case node.DropImage:
		r.w.judge.count("image dropped")
		return nil, r.dropImage()
	default:
		return nil, errors.New("it is nothing to do with an image")
	}
}

func (r *replica) closeImage() {
	r.closeBackup()
	if s := &r.storage.images; s.open != nil {
		s.open.Close()
		s.open = nil
	}
}

// verifyImage is step 1 of an install. An image that the judge knows to be good and
// that is refused is not wrong: a bit of it may have flipped where nobody saw it.
func (r *replica) verifyImage(index uint64) (node.Input, error) {
	if err := os.WriteFile(r.incomingPath(), r.w.developed(r.storage.images.incoming), 0o600); err != nil {
		return nil, err
	}
	if r.w.nemesis.tender(r, tenderSpoil) {
		if err := r.w.nemesis.flip(r.w.nemesis.tenders[tenderSpoil][r.id-1], r.incomingPath()); err != nil {
			return nil, err
		}
	}
	state, err := fsm.VerifyImage(r.incomingPath(), r.storeOptions())
	if err != nil {
		if !errors.Is(err, fsm.ErrDamaged) {
			return nil, err
		}
		r.w.judge.count("image damaged")
		return node.ImageVerified{Err: err}, nil
	}
	if err := os.Rename(r.incomingPath(), r.imagePath(index)); err != nil {
		return nil, err
	}
	r.imageIndex = index
	r.w.judge.count("image verified")
	return node.ImageVerified{State: state}, nil
}

// dropImage removes what is there of an image that is not to be installed.
func (r *replica) dropImage() error {
	r.storage.images.incoming = nil
	paths := []string{r.incomingPath()}
	if r.imageIndex != 0 {
		paths = append(paths, r.imagePath(r.imageIndex))
		r.imageIndex = 0
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// swapImage is step 3 of an install: the file takes the store's name, durably.
func (r *replica) swapImage() error {
	if err := os.Rename(r.imagePath(r.imageIndex), r.store); err != nil {
		return err
	}
	r.lastDurable = fsm.Index(r.imageIndex)
	r.prevDurable = r.lastDurable
	r.imageIndex = 0
	r.hasDB = true
	r.mended()
	return nil
}

// install is the end of an Install effect.
func (r *replica) install(index uint64) (node.Input, error) {
	if index != r.imageIndex {
		return nil, fmt.Errorf("the image is of index %d, the core wants %d", r.imageIndex, index)
	}
	tainted := r.tainted
	if r.core.Status().Damage != nil || tainted || r.diverged {
		// As the runner does; and the world knows what no node does: an image that a laggard
		// takes may also replace a state that is not what the others' is.
		r.watches.End()
	}
	r.closeViews()
	r.closeImage()
	if r.db != nil {
		if err := r.db.Close(); err != nil {
			return nil, err
		}
		r.db = nil
	}
	r.storage.flush, r.storage.swapping = nil, false // of the store that was given up
	if err := r.swapImage(); err != nil {
		return nil, err
	}
	db, err := fsm.Open(r.store, r.storeOptions())
	if err != nil {
		return nil, err
	}
	r.db, r.storage.broken = db, false
	if err := r.w.judge.opened(r, db.State()); err != nil {
		return nil, err
	}
	r.w.judge.count("image installed")
	if len(r.w.judge.model.policies.at(db.State().Applied)) > 0 {
		r.w.judge.count("policy read from an image")
	}
	r.tellWatches()
	if tainted && !r.tainted {
		r.w.judge.count("store rebuilt")
	}
	state := db.State()
	if err := r.keepMembers(&state); err != nil {
		return nil, err
	}
	r.told = max(r.told, state.Applied)
	return node.Installed{State: state}, nil
}

// recoverImage completes an install that a crash broke off, or forgets the image:
// with the marker in the log it is the store, without it was never taken.
func (r *replica) recoverImage(found wal.Recovered) error {
	m := found.Snapshot
	if m == nil || m.Index != r.imageIndex || uint64(r.lastDurable) >= m.Index {
		return r.dropImage()
	}
	r.w.judge.count("install completed at a start")
	return r.swapImage()
}

// mended: the store is another file now, and sound.
func (r *replica) mended() {
	if r.tainted {
		r.tainted, r.rotted, r.diverged, r.strayed = false, false, false, 0
		r.w.nemesis.atlas.regained(r)
	}
}

// damage has the core told that the store is damaged, which the world must have
// done. Nothing more is answered for that store.
func (r *replica) damage(err error) {
	if !r.tainted {
		r.w.fail(JudgeState, "%s finds its store damaged, and nobody damaged it: %w", r.name, err)
		return
	}
	if r.storage.broken {
		return
	}
	r.w.judge.count("damage found")
	r.storage.broken, r.storage.damage = true, err
	r.w.after(0, event{kind: evDamaged, node: r, life: r.life})
}
