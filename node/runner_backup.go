package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/fsm"
)

// Backup is an image of this node's database that is to be written somewhere. It must be closed.
type Backup struct {
	*fsm.Image
	// Info describes the file that it becomes.
	Info fsm.BackupInfo
	// Until is when it ends by itself: reading it then is fsm.ErrClosed. It pins pages of the
	// database, and whoever reads too slowly does not do so for ever.
	Until time.Time

	end func() // of a Runner's, once
}

// Close ends the backup. A second call does nothing. Any goroutine.
func (b *Backup) Close() {
	b.Image.Close()
	if b.end != nil {
		b.end()
	}
}

// Backup opens an image that holds every write acknowledged anywhere before the call. ctx bounds
// the wait for it, and so does MaxBackupWait.
//
// Errors: ErrBackupUnderWay; ErrOverloaded, if the database was not written in time; ErrNoQuorum,
// ErrForming, ErrRebuilding, ErrStopped; ctx's.
func (r *Runner) Backup(ctx context.Context) (*Backup, error) {
	if !r.backing.CompareAndSwap(false, true) {
		return nil, ErrBackupUnderWay
	}
	image, err := r.openBackup(ctx)
	if err != nil {
		r.backing.Store(false)
		return nil, err
	}
	wait := backupSlack + time.Duration(image.Size()/MinBackupBytesPerSecond)*time.Second
	now := r.cfg.Now()
	b := &Backup{Image: image, Info: image.Backup(r.cfg.Name, now), Until: now.Add(wait)}
	timer := time.AfterFunc(wait, image.Close)
	b.end = sync.OnceFunc(func() {
		timer.Stop()
		r.backing.Store(false)
	})
	return b, nil
}

func (r *Runner) openBackup(ctx context.Context) (*fsm.Image, error) {
	wait, cancel := context.WithTimeout(ctx, MaxBackupWait)
	defer cancel()
	if err := r.Linearize(wait); err != nil {
		return nil, err
	}
	want := fsm.Index(r.status.Load().Applied) // and all that was acknowledged before the call is in it
	r.inbox.report(FlushNow{})
	for {
		flushed := r.flushed.next() // before the look, so that nothing comes between
		image, err := r.openImage()
		if err != nil {
			return nil, err
		}
		if image.State().Applied >= want {
			if err := faultpoint.Hit("node/open-backup"); err != nil {
				image.Close()
				return nil, err
			}
			return image, nil
		}
		image.Close()
		select {
		case <-flushed:
		case <-r.stop:
			return nil, ErrStopped
		case <-wait.Done():
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("%w: the database was not written within %v", ErrOverloaded, MaxBackupWait)
		}
	}
}

func (r *Runner) openImage() (*fsm.Image, error) {
	m := r.member.Load()
	for {
		store := m.store.Load()
		if store == nil || r.status.Load().Damage != nil {
			return nil, ErrRebuilding
		}
		image, err := store.OpenImage()
		if m.store.Load() != store {
			// Another one took its place, and this one may be damaged, or old.
			if err == nil {
				image.Close()
			}
			continue
		}
		if errors.Is(err, fsm.ErrClosed) && r.stopping() {
			err = ErrStopped
		}
		if errors.Is(err, fsm.ErrDamaged) {
			r.damaged(m, err)
		}
		return image, err
	}
}
