package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/fsm"
)

// The files of images, in the data directory. incomingFile is what came in so far,
// and worth nothing after a crash. An image gets its own name when it is verified and
// durable, and the store's when it is installed (protocol.md §4).
const (
	incomingFile = "snap.new"
	imagePrefix  = "snap-"
)

func imageFile(index uint64) string { return fmt.Sprintf("%s%016x", imagePrefix, index) }

// imageWork is the image worker's own.
type imageWork struct {
	open     *fsm.Image // of transfer; nil: none
	transfer uint64
	incoming *os.File
	behind   int64 // up to where the kernel was told to write what came in
}

// imageLoop does what the core asks about images, one thing at a time. The queue is
// bounded by the window of what is on its way.
func (r *Runner) imageLoop(m *member) {
	var w imageWork
	defer w.close()
	report := func(in Input) {
		r.meter.image(in)
		r.inbox.report(in)
	}
	drain(r, m.workers.images, func(effects []Effect) bool {
		for _, e := range effects {
			if r.stopping() {
				return false
			}
			switch e := e.(type) {
			case OpenImage:
				report(w.openImage(m, e))
			case ReadImage:
				report(w.read(e))
			case CloseImage:
				w.closeImage()
			case WriteImage:
				err := w.write(r.dir, e)
				r.meter.imageWrittenBytes.Add(uint64(len(e.Data)))
				report(ImageWritten{Offset: e.Offset + uint64(len(e.Data)), Err: err})
			case VerifyImage:
				state, err := w.verify(r, m, e.Index)
				if err != nil {
					r.log.Warn("an image that came in is of no use", slogIndex(e.Index), slogError(err))
				}
				report(ImageVerified{State: state, Err: err})
			case DropImage:
				if err := w.drop(r.dir); err != nil {
					r.fail(fmt.Errorf("node: removing an image: %w", err))
					return false
				}
			default:
				r.fail(fmt.Errorf("node: %T is nothing to do with an image: this is a bug", e))
				return false
			}
		}
		return true
	})
}

func (w *imageWork) close() {
	w.closeImage()
	if w.incoming != nil {
		_ = w.incoming.Close() // it is thrown away at the next start
	}
}

func (w *imageWork) openImage(m *member, e OpenImage) Input {
	w.closeImage()
	store := m.store.Load()
	if store == nil {
		return ImageOpened{Transfer: e.Transfer, Err: ErrRebuilding}
	}
	image, err := store.OpenImage()
	if err == nil {
		err = faultpoint.Hit("node/open-image")
	}
	if err != nil {
		return ImageOpened{Transfer: e.Transfer, Err: err}
	}
	w.open, w.transfer = image, e.Transfer
	return ImageOpened{Transfer: e.Transfer, State: image.State(), Size: uint64(image.Size())}
}

func (w *imageWork) read(e ReadImage) Input {
	if w.open == nil || w.transfer != e.Transfer {
		return ImageRead{Transfer: e.Transfer, Offset: e.Offset, Err: fs.ErrClosed}
	}
	if err := faultpoint.Hit("node/read-image"); err != nil {
		return ImageRead{Transfer: e.Transfer, Offset: e.Offset, Err: err}
	}
	b := make([]byte, e.Bytes)
	if _, err := w.open.ReadAt(b, int64(e.Offset)); err != nil {
		return ImageRead{Transfer: e.Transfer, Offset: e.Offset, Err: err}
	}
	return ImageRead{Transfer: e.Transfer, Offset: e.Offset, Data: b}
}

func (w *imageWork) closeImage() {
	if w.open != nil {
		w.open.Close()
		w.open = nil
	}
}

func (w *imageWork) write(d *dataDir, e WriteImage) (err error) {
	if e.Offset == 0 {
		if w.incoming != nil {
			err = w.incoming.Close()
			w.incoming = nil
		}
		if err == nil {
			w.incoming, err = os.OpenFile(d.join(incomingFile), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		}
		if err != nil {
			return err
		}
		w.behind = 0
	}
	if w.incoming == nil {
		return fs.ErrClosed
	}
	if err := faultpoint.Hit("node/write-image"); err != nil {
		return err
	}
	if _, err = w.incoming.WriteAt(e.Data, int64(e.Offset)); err != nil {
		return err
	}
	if end := int64(e.Offset) + int64(len(e.Data)); end-w.behind >= writeBehindBytes {
		err = writeBehind(w.incoming, w.behind, end)
		w.behind = end
	}
	return err
}

// verify makes what came in durable, checks all of it, and names it, durably. An
// error leaves nothing that could be installed.
func (w *imageWork) verify(r *Runner, m *member, index uint64) (fsm.State, error) {
	if w.incoming == nil {
		return fsm.State{}, fs.ErrClosed
	}
	err := faultpoint.Hit("node/before-image-sync")
	if err == nil {
		err = w.incoming.Sync()
	}
	err = errors.Join(err, w.incoming.Close())
	w.incoming = nil
	if err != nil {
		return fsm.State{}, err
	}
	opts := r.storeOptions()
	opts.Pause = r.takeTurns()
	state, err := fsm.VerifyImage(r.dir.join(incomingFile), opts)
	switch {
	case err != nil:
		return fsm.State{}, err
	case state.Cluster != m.identity.Cluster:
		return fsm.State{}, fmt.Errorf("it holds the state of cluster %x, this node is of %x", state.Cluster, m.identity.Cluster)
	case uint64(state.Applied) != index:
		return fsm.State{}, fmt.Errorf("it holds index %d, its sender said %d", state.Applied, index)
	}
	if err := faultpoint.Hit("node/before-image-rename"); err != nil {
		return fsm.State{}, err
	}
	if err := r.dir.rename(incomingFile, imageFile(index)); err != nil {
		return fsm.State{}, err
	}
	return state, faultpoint.Hit("node/after-image-rename")
}

// takeTurns makes a function that is called between parts of long work, and waits for as long as
// the part took: the other half of a processor is for those who wait for an answer.
func (r *Runner) takeTurns() func() {
	began := time.Now()
	return func() {
		select {
		case <-r.stop:
		case <-time.After(time.Since(began)):
		}
		began = time.Now()
	}
}

// drop removes what there is of an image that is not to be installed.
func (w *imageWork) drop(d *dataDir) error {
	if w.incoming != nil {
		_ = w.incoming.Close() // it is thrown away
		w.incoming = nil
	}
	return d.removeImages()
}

// removeImages removes all images, and what came in of one.
func (d *dataDir) removeImages() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == incomingFile || strings.HasPrefix(name, imagePrefix) {
			if err := os.Remove(d.join(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// install makes the image the store, durably. The one before stays open for those who
// read from it, and is closed after them; its file has no name any more.
func (r *Runner) install(m *member, index uint64) error {
	m.workers.flushing.Wait()
	if err := faultpoint.Hit("node/before-install"); err != nil {
		return err
	}
	if err := r.dir.rename(imageFile(index), storeFile); err != nil {
		return err
	}
	if err := faultpoint.Hit("node/inside-install"); err != nil {
		return err
	}
	store, err := fsm.Open(r.dir.join(storeFile), r.storeOptions())
	if err != nil {
		return err
	}
	r.watching.Lock()
	if st := r.status.Load(); st != nil && st.Damage != nil {
		r.watches.End() // what the store showed of the past need not have been true
	}
	old := m.store.Swap(store)
	r.watching.Unlock()
	if old != nil {
		m.retired.Go(func() {
			if err := old.Close(); err != nil {
				r.log.Warn("closing the store that an image replaced", slogError(err))
			}
		})
	}
	r.meter.imagesInstalled.Add(1)
	state := store.State()
	if err := r.keepMembership(m, &state); err != nil {
		return err
	}
	if err := faultpoint.Hit("node/after-install"); err != nil {
		return err
	}
	r.log.Info("an image took the store's place", slogIndex(index), slogRevision(state))
	r.applied.notify()
	r.flushed.notify()
	r.inbox.report(Installed{State: state})
	// Only now: the core lets pass what it hears of damage before Installed, and nobody
	// would take the mark from the new store again.
	m.broken.Store(false)
	return nil
}

// damaged tells the core, once for each store, that the store is damaged: nothing
// more is done with it. Any goroutine.
func (r *Runner) damaged(m *member, err error) {
	if m.broken.CompareAndSwap(false, true) {
		r.meter.damages.Add(1)
		r.log.Error("the store is damaged; nothing is served until a peer's has taken its place", slogError(err))
		r.inbox.report(Damaged{Err: err})
	}
}

// StoreDamaged tells the node that reading from v, which is open, met err, which is or
// wraps fsm.ErrDamaged: the store is then rebuilt from a peer. A view can outlive its
// store: what it meets then says nothing about the one that has taken the place.
func (r *Runner) StoreDamaged(v *fsm.View, err error) {
	if m := r.member.Load(); m != nil && v.Of(m.store.Load()) {
		r.damaged(m, err)
	}
}
