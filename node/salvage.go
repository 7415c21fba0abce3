package node

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/confman/confman/fsm"
)

// ErrNoNode means that a directory is not that of a node, or not of a whole one.
var ErrNoNode = errors.New("it holds no node's database")

// Salvage opens an image of what the database of a node that does not run holds: for when a majority is lost
// for good, and no backup is as new. All in it was committed. What was acknowledged last may be missing: what
// the node had not heard of, and what it had not written there when it was killed.
//
// Errors: ErrNoNode; ErrLocked, if it runs; fsm.ErrDamaged; of the file system.
func Salvage(dir string, now time.Time) (*Backup, error) {
	d := &dataDir{path: dir}
	for name, want := range map[string]bool{identityFile: true, storeFile: true, restoringFile: false} {
		if ok, err := d.has(name); err != nil {
			return nil, fmt.Errorf("node: %w", err)
		} else if ok != want {
			return nil, fmt.Errorf("node: %s: %w: whether it has a file %q: %t", dir, ErrNoNode, name, ok)
		}
	}
	d, err := openDataDir(dir, dirFS, d.logOptions)
	if err != nil {
		return nil, err
	}
	b, err := d.salvage(now)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return b, nil
}

func (d *dataDir) salvage(now time.Time) (*Backup, error) {
	id, err := LoadIdentity(d.openFS(d.path))
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(d.join(storeFile))
	if err != nil {
		return nil, err
	}
	store, err := fsm.Open(d.join(storeFile), fsm.Options{MmapBytes: max(minMapBytes, 2*int(info.Size()))})
	if err != nil {
		return nil, err
	}
	image, err := store.OpenImage()
	if err == nil && image.State().Cluster != id.Cluster {
		image.Close()
		err = fmt.Errorf("node: %s: the database is of cluster %x, the directory of %x", d.path, image.State().Cluster, id.Cluster)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &Backup{Image: image, Info: image.Backup(id.Name, now), end: func() {
		// It was only read.
		_ = store.Close()
		_ = d.close()
	}}, nil
}
