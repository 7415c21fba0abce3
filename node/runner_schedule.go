package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/fsm"
)

// Schedule says where a node puts its own backups, and when; without a Dir it makes none.
type Schedule struct {
	Dir string
	// Every is the time between two.
	Every time.Duration
	// Keep is how many of this cluster stay in Dir; the oldest go.
	Keep int
}

// backupFile is how a schedule names a backup: after cluster, revision and time.
var backupFile = regexp.MustCompile(`^confman-([0-9a-f]{8})-([0-9]+)-([0-9]{8}T[0-9]{6}Z)\.backup$`)

const backupTime = "20060102T150405Z"

func scheduledName(b *fsm.BackupInfo) string {
	return fmt.Sprintf("confman-%x-%d-%s.backup", b.Cluster[:4], b.Revision, b.At.UTC().Format(backupTime))
}

// scheduleLoop makes backups until the node stops. The first is due when the newest one in the
// directory is old enough: restarts make no more of them.
func (r *Runner) scheduleLoop() {
	s := r.cfg.Backups
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C:
		}
		if r.member.Load() == nil {
			timer.Reset(formInterval) // there is nothing yet
			continue
		}
		r.rememberBackup()
		if wait := r.nextBackup(); wait > 0 {
			timer.Reset(wait)
			continue
		}
		switch err := r.scheduledBackup(); {
		case err == nil:
			timer.Reset(r.nextBackup())
		case r.stopping():
			return
		default:
			r.log.Error("a scheduled backup failed", slog.String("dir", s.Dir), slogError(err))
			timer.Reset(min(s.Every, scheduleRetry))
		}
	}
}

// nextBackup is how long it is until a backup is due.
func (r *Runner) nextBackup() time.Duration {
	last := r.lastBackup.Load()
	if last == nil {
		return 0
	}
	// A clock that was set back does not put backups off for longer than one takes.
	return min(last.Add(r.cfg.Backups.Every).Sub(r.cfg.Now()), r.cfg.Backups.Every)
}

// rememberBackup looks for the newest backup that there is, if none is known.
func (r *Runner) rememberBackup() {
	m := r.member.Load()
	if m == nil || r.lastBackup.Load() != nil {
		return
	}
	names, err := backupsIn(r.cfg.Backups.Dir, m.identity.Cluster)
	if err != nil || len(names) == 0 {
		return // making one tells what is wrong with the directory
	}
	at, err := time.Parse(backupTime, backupFile.FindStringSubmatch(names[len(names)-1])[3])
	if err == nil {
		r.lastBackup.Store(&at)
	}
}

// backupsIn are the names of a cluster's backups, the newest last: by revision, which never goes back as
// a clock may. What else is in the directory is somebody else's.
func backupsIn(dir string, cluster fsm.ClusterID) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	of := fmt.Sprintf("%x", cluster[:4])
	for _, e := range entries {
		if m := backupFile.FindStringSubmatch(e.Name()); m != nil && m[1] == of && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := backupFile.FindStringSubmatch(a), backupFile.FindStringSubmatch(b)
		return cmp.Or(cmp.Compare(len(x[2]), len(y[2])), cmp.Compare(x[2], y[2]), cmp.Compare(x[3], y[3]))
	})
	return names, nil
}

// scheduledBackup makes one, and removes those that are too many.
func (r *Runner) scheduledBackup() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // it ends with the backup
		select {
		case <-r.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	b, err := r.Backup(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	dir := r.cfg.Backups.Dir
	// It may be on the disk of the data, whose floor must hold.
	if free, err := diskFree(dir); err == nil && free < b.Info.Size+r.cfg.MinFreeBytes {
		return fmt.Errorf("%s has %d bytes free, a backup may take %d, and %d are to stay free (Data.MinFreeBytes): %w", dir, free, b.Info.Size, r.cfg.MinFreeBytes, syscall.ENOSPC)
	}
	name := scheduledName(&b.Info)
	partial := filepath.Join(dir, partialName(&b.Info))
	if err := writeBackup(ctx, partial, b); err != nil {
		_ = os.Remove(partial) // the first error is the one that matters
		return err
	}
	if err := faultpoint.Hit("node/before-backup-rename"); err != nil {
		return err
	}
	if err := faultpoint.Rename(partial, filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	r.lastBackup.Store(&b.Info.At)
	r.log.Info("a scheduled backup was made", slog.String("file", filepath.Join(dir, name)), slog.Uint64("revision", uint64(b.Info.Revision)))
	if err := r.retire(b.Info.Cluster); err != nil {
		r.log.Warn("scheduled backups that are to go stay", slogError(err))
	}
	return nil
}

// partialName is what a backup is called while it is written: one name for each node of each cluster, so that
// what a crash left is written over, and what another one writes is not.
func partialName(b *fsm.BackupInfo) string {
	return fmt.Sprintf(".confman-%x-%s.partial", b.Cluster, b.Node)
}

func writeBackup(ctx context.Context, path string, b *Backup) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	err = fsm.WriteBackup(f, b.Image, b.Info, func(int64) error { return ctx.Err() })
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// retire removes the oldest backups of this cluster beyond those to keep.
func (r *Runner) retire(cluster fsm.ClusterID) error {
	dir := r.cfg.Backups.Dir
	names, err := backupsIn(dir, cluster)
	if err != nil {
		return err
	}
	for _, name := range names[:max(len(names)-r.cfg.Backups.Keep, 0)] {
		// Another node with the same directory may have been faster.
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lastBackupAt is when the newest scheduled backup in this node's directory was made, zero if none is known.
func (r *Runner) lastBackupAt() time.Time {
	if at := r.lastBackup.Load(); at != nil {
		return *at
	}
	return time.Time{}
}
