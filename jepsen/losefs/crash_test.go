package losefs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt" //nolint:depguard // its own code is what the file system is tried with
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/jepsen/losefs"
	"github.com/confman/confman/wal"
)

func init() {
	children["bbolt"] = func(dir string) error { return boltChild(dir, false) }
	children["bbolt-nosync"] = func(dir string) error { return boltChild(dir, true) }
	children["wal"] = func(dir string) error { return walChild(dir, true) }
	children["wal-nosync"] = func(dir string) error { return walChild(dir, false) }
}

// A child prints what it finds, and then the number of each step when that is durable. It goes on until it cannot.

// boltChild counts up in a database of which each page is checked.
func boltChild(dir string, noSync bool) error {
	fresh := filepath.Join(dir, "new")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	name := filepath.Join(dir, "db")
	if _, err := os.Stat(name); err != nil {
		// It gets its name when it is whole: bbolt does not sync the directory.
		db, err := bbolt.Open(fresh, 0o600, nil)
		if err == nil {
			err = errors.Join(db.Close(), os.Rename(fresh, name), syncDir(dir))
		}
		if err != nil {
			return err
		}
	}
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{NoSync: noSync})
	if err != nil {
		return fmt.Errorf("broken: %w", err)
	}
	bucket := []byte("bucket")
	found := 0
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		if b := tx.Bucket(bucket); b != nil {
			found = b.Stats().KeyN
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("broken: %w", err)
	}
	fmt.Println(found)
	for i := found + 1; ; i++ {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			return b.Put(fmt.Appendf(nil, "%06d", i), []byte(strings.Repeat("x", i*37%3000)))
		})
		if err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// walChild appends to a log with small segments.
func walChild(dir string, synced bool) error {
	opts := wal.Options{SegmentBytes: 4 << 10, ReserveBytes: 8 << 10, Nonce: 1}
	var fsys wal.FS = wal.DirFS(dir)
	if !synced {
		fsys = neverSynced{fsys}
	}
	if _, err := os.Stat(filepath.Join(dir, "made")); err != nil {
		names, err := fsys.List()
		for _, name := range names {
			err = errors.Join(err, fsys.Remove(name))
		}
		err = errors.Join(err, wal.Create(fsys, opts), os.WriteFile(filepath.Join(dir, "made"), nil, 0o600), syncDir(dir))
		if err != nil {
			return err
		}
	}
	log, _, err := wal.Open(fsys, opts)
	if err != nil {
		return fmt.Errorf("broken: %w", err)
	}
	fmt.Println(log.LastIndex())
	for i := log.LastIndex() + 1; ; i++ {
		e := &raftpb.Entry{Index: new(i), Term: new(uint64(1)), Data: []byte(strings.Repeat("x", int(i*37%1000)))}
		if err := log.Append(wal.Batch{Entries: []*raftpb.Entry{e}, Sync: true}); err != nil {
			return err
		}
		fmt.Println(i)
		for len(log.Wanted()) > 0 && i%2 == 0 { // some segments are made ahead
			if more, err := log.Prepare(); err != nil {
				return err
			} else if !more {
				<-log.Wanted()
			}
		}
		if i%50 == 0 {
			if err := log.Truncate(i - 20); err != nil {
				return err
			}
		}
	}
}

// neverSynced is a file system whose syncs do nothing.
type neverSynced struct{ wal.FS }

type neverSyncedFile struct{ wal.File }

func (neverSyncedFile) Sync() error { return nil }

func (neverSynced) SyncDir() error { return nil }

func (n neverSynced) Create(name string) (wal.File, error) {
	f, err := n.FS.Create(name)
	return neverSyncedFile{f}, err
}

func (n neverSynced) Open(name string) (wal.File, error) {
	f, err := n.FS.Open(name)
	return neverSyncedFile{f}, err
}

// lose has a child work until the power is lost, again and again, and returns what is wrong with what the child finds then.
func lose(t *testing.T, child string, times int) error {
	t.Helper()
	r := newRig(t, losefs.Options{Seed: 7, Torn: true})
	rng := rand.New(rand.NewPCG(7, 7))
	steps, doing := 0, 0 // what is certain, and what may be
	var total losefs.Loss
	for n := range times {
		r.mount()
		r.disk.CutAfter(1 + rng.IntN(60))
		var out strings.Builder
		require.Error(t, r.start(child, &out).Wait(), "it works for ever")
		r.disk.CutAfter(0)
		l := r.losePower()
		total.Pieces, total.PiecesLost, total.Names, total.NamesLost = total.Pieces+l.Pieces, total.PiecesLost+l.PiecesLost, total.Names+l.Names, total.NamesLost+l.NamesLost
		total.PiecesTorn += l.PiecesTorn
		lines := strings.Split(out.String(), "\n")
		for i, line := range lines {
			var at int
			if k, err := fmt.Sscanf(line, "%d", &at); err != nil || k != 1 || line != fmt.Sprint(at) {
				if strings.HasPrefix(line, "broken") && !strings.Contains(line, "input/output") {
					return fmt.Errorf("loss %d: %s", n, line)
				}
				break
			}
			if i == 0 && (at < steps || at > doing) {
				return fmt.Errorf("loss %d: %d steps are there, %d were done and %d begun", n, at, steps, doing)
			}
			steps, doing = at, at+1
		}
	}
	t.Logf("%d steps; %v", steps, total)
	require.Greater(t, steps, times, "it does not get on")
	require.Positive(t, total.Lost())
	if times >= manyTimes { // of a few losses, none need have been in the middle of a piece
		require.Positive(t, total.PiecesLost)
		require.Positive(t, total.PiecesTorn)
	}
	return nil
}

// manyTimes is how often power is lost, but in short tests.
const manyTimes = 200

func times() int {
	if testing.Short() {
		return 25
	}
	return manyTimes
}

func TestSyncedCommitsSurvive(t *testing.T) {
	require.NoError(t, lose(t, "bbolt", times()))
}

func TestSyncedLogSurvives(t *testing.T) {
	require.NoError(t, lose(t, "wal", times()))
}

// TestUnsyncedCommitsDoNot shows that the file system forgets.
func TestUnsyncedCommitsDoNot(t *testing.T) {
	err := lose(t, "bbolt-nosync", 100)
	require.Error(t, err)
	t.Log(err)
}

func TestUnsyncedLogDoesNot(t *testing.T) {
	err := lose(t, "wal-nosync", 100)
	require.Error(t, err)
	t.Log(err)
}
