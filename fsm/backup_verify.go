package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Backup is a backup that was verified, with the image that it holds as a file.
type Backup struct {
	BackupInfo
	// Sum is the SHA-256 that ends the file.
	Sum   [32]byte
	State State
}

// UnpackBackup writes the image that src holds to a new file at path, durably, and verifies all
// that can be recomputed: the container's checksums, every page and record of the database
// (VerifyImage), and the hash chain with what each change stored (VerifyChain). The file stays
// only if all is well. progress is told how many bytes of the image were read.
//
// Errors: ErrNoBackup; ErrBackupDamaged, which may wrap ErrDamaged; ErrUnknownVersion, if a newer program
// made it; fs.ErrExist; ctx's; of the file system.
func UnpackBackup(ctx context.Context, src io.Reader, path string, opts Options, progress func(done int64)) (_ *Backup, err error) {
	r, err := OpenBackup(src)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the caller's
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path) // the first error is the one that matters
		}
	}()
	err = unpack(ctx, f, r, progress)
	if err == nil && !opts.NoSync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	b := &Backup{BackupInfo: r.Info(), Sum: r.Sum()}
	// Before all else: what this program does not know would look damaged.
	if err = checkVersion(path, opts); err != nil {
		return nil, err
	}
	if b.State, err = VerifyImage(path, opts); err == nil {
		err = b.agrees()
	}
	if err == nil {
		err = verifyFile(ctx, path, opts)
	}
	if errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("%w: %w", ErrBackupDamaged, err)
	}
	return b, err
}

func unpack(ctx context.Context, w io.Writer, r *BackupReader, progress func(done int64)) error {
	buf := make([]byte, backupChunkBytes)
	for done := int64(0); ; {
		n, err := r.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			_, err = w.Write(buf[:n])
		}
		if err != nil {
			return err
		}
		if done += int64(n); progress != nil {
			progress(done)
		}
	}
}

// agrees tells whether the image holds what the header says.
func (b *Backup) agrees() error {
	want := b.BackupInfo
	got := BackupInfo{
		Cluster: b.State.Cluster, Revision: b.State.Revision, Index: b.State.Applied, Term: b.State.Term,
		StateHash: b.State.Hash, Chain: b.State.Chain, Size: want.Size, Node: want.Node, At: want.At,
	}
	if got != want {
		return fmt.Errorf("%w: its header does not describe the image in it", ErrBackupDamaged)
	}
	return nil
}

// checkVersion tells whether a newer program wrote the database at path; not whether anything else is wrong with it.
func checkVersion(path string, opts Options) error {
	s, err := Open(path, opts)
	if errors.Is(err, ErrUnknownVersion) {
		return fmt.Errorf("%w: it takes a newer release of confman", err)
	}
	if err != nil {
		return nil //nolint:nilerr // VerifyImage tells what, and where
	}
	if v := s.State().Version; v > Version {
		err = fmt.Errorf("%w: its cluster uses version %d of commands, this program knows %d: it takes a newer release of confman", ErrUnknownVersion, v, Version)
	}
	return errors.Join(err, s.Close())
}

// verifyFile verifies the chain of the database at path with what its changes stored.
func verifyFile(ctx context.Context, path string, opts Options) error {
	s, err := Open(path, opts)
	if err != nil {
		return err
	}
	v, err := s.View()
	if err == nil {
		err = VerifyChain(ctx, v)
		v.Close()
	}
	return errors.Join(err, s.Close())
}
