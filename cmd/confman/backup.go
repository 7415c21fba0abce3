package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/fsm"
)

// backupTimeout bounds a backup: at the slowest that a node sends one, 14 GiB of database.
const backupTimeout = time.Hour

// backupSummary is what a command tells of a backup.
type backupSummary struct {
	File      string    `json:"file"`
	Cluster   string    `json:"cluster"`
	Revision  uint64    `json:"revision"`
	Index     uint64    `json:"index"`
	StateHash string    `json:"state_hash"`
	Node      string    `json:"node"`
	At        time.Time `json:"at"`
	Database  int64     `json:"database_bytes"`
	Bytes     int64     `json:"bytes"`
	SHA256    string    `json:"sha256"`
	Verified  bool      `json:"verified"` // all that can be recomputed was
}

func newBackup(s *session) *cobra.Command {
	var (
		out   string
		force bool
	)
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Write the whole cluster to a file",
		Long: `Write the whole cluster, as of one revision, to a file: all keys with their
history, who may do what, the audit. Any node makes it, online, and it holds every
write that was acknowledged before. The file appears only once it is whole.

It takes cluster, read and audit on the whole tree, and what it writes is readable by
its owner only: who has it has everything. confman backup verify checks a backup,
confman restore makes a new cluster of one.`,
		Example: `  confman backup --out confman-2026-01-23.backup
  confman backup verify confman-2026-01-23.backup`,
		Args: usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "file to write to")
	f.BoolVar(&force, "force", false, "replace the file if there is one")
	f.DurationVar(&s.timeout, "timeout", backupTimeout, "how long to try, in all")
	s.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkOut(out, force); err != nil {
			return err
		}
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		sum, err := s.backup(ctx, out)
		if ctx.Err() != nil && err != nil {
			return fmt.Errorf("%w: %s was not written", context.Cause(ctx), out)
		}
		if err != nil {
			return err
		}
		return s.print(sum, sum.print)
	}
	cmd.AddCommand(newBackupVerify(s.env), newBackupSalvage(s.env))
	return cmd
}

// checkOut says what is wrong with where a backup is to go.
func checkOut(out string, force bool) error {
	switch info, err := os.Stat(out); {
	case out == "":
		return usagef("--out is missing: name the file to write to")
	case err == nil && !info.Mode().IsRegular():
		return usagef("%s is not a file", out) // and would be replaced
	case err == nil && !force:
		return usagef("%s exists: choose another name, or replace it with --force", out)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// backup writes a backup to a file.
func (s *session) backup(ctx context.Context, out string) (*backupSummary, error) {
	c, ctx, cancel, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	body, _, err := c.Backup(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close() // it was only read
	sum := &backupSummary{File: out}
	err = writeWhole(out, func(w io.Writer) error {
		src := &counting{Reader: io.TeeReader(body, w)}
		r, err := fsm.OpenBackup(src)
		if err != nil {
			return err
		}
		defer r.Close()
		bar := newMiBProgress(s.env, "backup", r.Info().Size)
		defer bar.end()
		buf := make([]byte, 1<<20)
		for err == nil {
			var n int
			n, err = r.Read(buf)
			bar.addBytes(int64(n))
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		*sum = summaryOf(out, r.Info(), r.Sum(), src.n)
		return nil
	})
	return sum, err
}

// interruptible ends with a signal to end, so that what was begun is removed; a second one ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// counting counts what is read.
type counting struct {
	io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func summaryOf(file string, b fsm.BackupInfo, sum [32]byte, size int64) backupSummary {
	return backupSummary{
		File: file, Cluster: hex.EncodeToString(b.Cluster[:]), Revision: uint64(b.Revision), Index: uint64(b.Index),
		StateHash: hex.EncodeToString(b.StateHash[:]), Node: b.Node, At: b.At, Database: b.Size, Bytes: size, SHA256: hex.EncodeToString(sum[:]),
	}
}

func (b *backupSummary) print(w io.Writer) error {
	verified := ""
	if b.Verified {
		verified = ", verified"
	}
	_, err := fmt.Fprintf(w, "%s: cluster %s at revision %d, made by %s at %s, %.1f MiB of database in %.1f MiB%s\nsha256 %s\n",
		b.File, b.Cluster, b.Revision, harmless(b.Node), b.At.Format(time.RFC3339), float64(b.Database)/(1<<20), float64(b.Bytes)/(1<<20), verified, b.SHA256)
	return err
}

// miBProgress is progress in bytes, told in MiB.
type miBProgress struct {
	*progress
	done int64
}

func newMiBProgress(e env, what string, all int64) *miBProgress {
	return &miBProgress{progress: newProgress(e, what, "MiB", int((all+1<<20-1)>>20))}
}

func (p *miBProgress) addBytes(n int64) { p.reach(p.done + n) }

// reach notes that so many bytes are done.
func (p *miBProgress) reach(done int64) {
	if n := done>>20 - p.done>>20; n > 0 {
		p.add(int(n))
	}
	p.done = done
}

func newBackupVerify(e env) *cobra.Command {
	s := &session{env: e}
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Recompute everything that a backup says of itself",
		Long: `Recompute the checksums and the hash of a backup, and of the database in it each
page's place, each record's checksum, what all of them add up to, the hash chain of
the history, and that each change stored what the chain says. What is not what was
written is named, and the exit code is 1.

It takes room for the database in the directory for temporary files ($TMPDIR).`,
		Example: `  confman backup verify confman-2026-01-23.backup`,
		Args:    usage(cobra.ExactArgs(1)),
	}
	s.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		sum, err := verifyBackup(ctx, s.env, args[0])
		if ctx.Err() != nil && err != nil {
			return fmt.Errorf("%w: %s was not verified", context.Cause(ctx), args[0])
		}
		if err != nil {
			return err
		}
		return s.print(sum, sum.print)
	}
	return cmd
}

// verifyBackup verifies a backup, with its image in the directory for temporary files.
func verifyBackup(ctx context.Context, e env, file string) (_ *backupSummary, err error) {
	dir, err := os.MkdirTemp("", "confman-verify-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.Open(file) //nolint:gosec // what the user names
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	src := &counting{Reader: f}
	bar := newMiBProgress(e, "verify", info.Size()) // of the file: how large the database is, it says itself
	b, err := fsm.UnpackBackup(ctx, src, filepath.Join(dir, "image"), fsm.Options{}, func(int64) { bar.reach(src.n) })
	bar.end()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	sum := summaryOf(file, b.BackupInfo, b.Sum, src.n)
	sum.Verified = true
	return &sum, nil
}
