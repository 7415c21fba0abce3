package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// restoringFile is there while a directory is being restored: what else is in it is worth nothing then.
// The identity comes last of all, and a directory that has one is whole.
const (
	restoringFile = "restoring"
	restoreImage  = "restore.image"
)

// Restoration says how the directory of one node of a new cluster is made of a backup. But for Dir and
// Name it must be the same for all of its nodes, who do not form the cluster otherwise.
type Restoration struct {
	Dir, Name string
	// Names are all members.
	Names []string
	// Cluster is the new cluster's id, of NewCluster.
	Cluster fsm.ClusterID
	// At, unless nil, is the revision whose state the cluster begins with; nil: that of the backup.
	At *fsm.Revision
	// By is who wants that, at most MaxRestorerBytes, and Time when: for the audit.
	By   string
	Time time.Time
	// Progress, unless nil, is told how many bytes of the image were read.
	Progress func(done int64)

	openFS     func(path string) wal.FS
	logOptions wal.Options
	noSync     bool
}

// NewCluster draws the id of a cluster.
func NewCluster() fsm.ClusterID { return drawCluster() }

// Restore makes a data directory of a backup, which it verifies before. It takes twice the room of the
// database. Started, the node waits for all others of Names to have been restored likewise.
//
// Errors: ErrLocked; ErrNotEmpty; fsm.ErrNoBackup, fsm.ErrBackupDamaged, fsm.ErrFuture and
// *fsm.CompactedError, of the backup; ctx's; of the file system. A directory in which it was broken off can be restored again.
func Restore(ctx context.Context, src io.Reader, to Restoration) (_ *fsm.Backup, _ fsm.State, err error) {
	names := slices.Sorted(slices.Values(to.Names))
	n, ok := slices.BinarySearch(names, to.Name)
	if !ok {
		return nil, fsm.State{}, fmt.Errorf("node: %s is not among the configured members %v", to.Name, names)
	}
	if len(to.By) > MaxRestorerBytes {
		return nil, fsm.State{}, fmt.Errorf("node: who restores is told in %d bytes, at most %d", len(to.By), MaxRestorerBytes)
	}
	if to.openFS == nil {
		to.openFS = dirFS
	}
	d, err := openDataDir(to.Dir, to.openFS, to.logOptions)
	if err != nil {
		return nil, fsm.State{}, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.beginRestore(); err != nil {
		return nil, fsm.State{}, err
	}
	b, st, err := d.restore(ctx, src, &to, RestoredIdentity(names, uint64(n+1), to.Cluster))
	if err != nil {
		// What is left says that it is nothing. The first error is the one that matters.
		_ = d.clearRestore()
		return nil, fsm.State{}, err
	}
	return b, st, d.remove(restoringFile)
}

// ErrNotEmpty means that a directory to restore to holds a node already.
var ErrNotEmpty = errors.New("the data directory is not empty")

// beginRestore claims an empty directory, or one where a restore was broken off.
func (d *dataDir) beginRestore() error {
	again, err := d.has(restoringFile)
	if err != nil {
		return err
	}
	for _, name := range []string{identityFile, logDir, storeFile} {
		ok, err := d.has(name)
		if err != nil {
			return err
		}
		if ok && (!again || name == identityFile) {
			return fmt.Errorf("node: %s holds %s: %w: a backup is restored to a new one; move this one away if nothing in it is needed", d.path, name, ErrNotEmpty)
		}
	}
	if err := d.clearRestore(); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	f, err := os.OpenFile(d.join(restoringFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = syncDir(d.path)
	}
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

// clearRestore removes what a restore made, but that it was begun: first what makes a node of the rest.
func (d *dataDir) clearRestore() error {
	for _, name := range []string{identityFile, restoreImage, storeFile, storeFile + ".new", logDir, logTemp} {
		if err := os.RemoveAll(d.join(name)); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataDir) remove(name string) error {
	if err := os.Remove(d.join(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(d.path)
}

// restore makes store and log, and then the identity, which makes a node of them.
func (d *dataDir) restore(ctx context.Context, src io.Reader, to *Restoration, id Identity) (*fsm.Backup, fsm.State, error) {
	opts := fsm.Options{NoSync: to.noSync}
	image := d.join(restoreImage)
	b, err := fsm.UnpackBackup(ctx, src, image, opts, to.progress)
	if err != nil {
		return nil, fsm.State{}, err
	}
	if b.Index == 0 {
		return nil, fsm.State{}, fmt.Errorf("%w: of index 0, where there is nothing", fsm.ErrNoBackup)
	}
	st, err := restoreStore(ctx, image, d.join(storeFile), fsm.Restoration{
		Cluster: id.Cluster, Members: id.Members, At: to.At, Time: to.Time.UnixNano(), Comment: to.comment(b),
	}, opts)
	if err != nil {
		return nil, fsm.State{}, err
	}
	if err := os.Remove(image); err != nil {
		return nil, fsm.State{}, err
	}
	if err := d.createLog(drawNonce()); err != nil {
		return nil, fsm.State{}, err
	}
	if err := d.beginLog(st); err != nil {
		return nil, fsm.State{}, err
	}
	id.Begin(&st, drawLife())
	return b, st, d.storeIdentity(id)
}

// RestoredIdentity is that of one of the nodes, given by their names in sorted order, of a cluster that is
// restored, but for what Begin adds.
func RestoredIdentity(names []string, raftID uint64, cluster fsm.ClusterID) Identity {
	id := Identity{Cluster: cluster, Name: names[raftID-1], RaftID: raftID}
	for i, name := range names {
		id.Members = append(id.Members, fsm.Member{RaftID: uint64(i + 1), Name: name})
	}
	return id
}

// Begin has the node begin with st, which was restored; life was drawn for its directory.
func (id *Identity) Begin(st *fsm.State, life [16]byte) {
	id.Version = st.Version
	id.Restored = &Restored{State: digestOf(st), Life: life}
}

func (to *Restoration) progress(done int64) {
	if to.Progress != nil {
		to.Progress(done)
	}
}

// comment tells the audit what was restored.
func (to *Restoration) comment(b *fsm.Backup) string {
	text := fmt.Sprintf("restored from a backup of cluster %x at revision %d, made by %s at %s, sha256 %x",
		b.Cluster, b.Revision, clipped(b.Node), b.At.Format(time.RFC3339), b.Sum)
	if to.At != nil {
		text += fmt.Sprintf(", as of revision %d", *to.At)
	}
	if to.By != "" {
		text += ", by " + to.By
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// clipped is as much of a name as there is room for: who made the backup may have written anything there.
func clipped(name string) string { return name[:min(len(name), MaxRestorerBytes)] }

func restoreStore(ctx context.Context, image, path string, to fsm.Restoration, opts fsm.Options) (fsm.State, error) {
	s, err := fsm.Open(image, opts)
	if err != nil {
		return fsm.State{}, err
	}
	st, err := s.RestoreTo(ctx, path, to, opts)
	return st, errors.Join(err, s.Close())
}

func (d *dataDir) beginLog(st fsm.State) error {
	log, _, err := d.openLog()
	if err != nil {
		return err
	}
	return errors.Join(log.Append(RestoredLog(&st)), log.Close())
}

// RestoredLog is what a new log begins with, so that it goes on behind what the store holds, as after an
// image: nobody has voted in the new cluster, and what raft knows of terms goes on where the old one was.
func RestoredLog(st *fsm.State) wal.Batch {
	return wal.Batch{
		Snapshot:  &wal.Marker{Index: uint64(st.Applied), Term: st.Term, Conf: confStateOf(st.Conf)},
		HardState: &raftpb.HardState{Term: new(st.Term), Vote: new(uint64), Commit: new(uint64(st.Applied))},
		Sync:      true,
	}
}

// digestOf tells whether two nodes were restored to the same.
func digestOf(st *fsm.State) [32]byte {
	b := append([]byte("confman restored 1\n"), st.Hash[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(st.Applied))
	b = binary.LittleEndian.AppendUint64(b, st.Term)
	return sha256.Sum256(b)
}
