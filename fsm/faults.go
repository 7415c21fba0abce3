//go:build failpoints

package fsm

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"

	"go.etcd.io/bbolt"

	"github.com/confman/confman/faultpoint"
)

// commit is tx.Commit, in which power can be lost. bbolt writes pages that nothing in use refers to, each once, and syncs them;
// then a meta page that does, and syncs that. So what a disk may hold when power is lost in between is told by what the file
// was before and what it is in the end. Until commit has returned, nothing that is read, sent or said is of the new transaction.
//
// What the file was is remembered only with the failpoint fsm/remember: it takes a copy of all of it.
func (f *Flush) commit(tx *bbolt.Tx) error {
	file := f.s.file
	var before []byte
	if faultpoint.Int("fsm/remember", 0) != 0 {
		before = make([]byte, f.s.base.pages.meta.pages*pageBytes)
		if _, err := file.ReadAt(before, 0); err != nil {
			return err
		}
	}
	return faultpoint.Unsynced("fsm/inside-commit", tx.Commit, func() {
		if before == nil {
			return
		}
		if err := forget(file, before, rand.New(rand.NewPCG(rand.Uint64(), 0))); err != nil { //nolint:forbidigo // whoever sees it run looks at what is left
			faultpoint.End("fsm/inside-commit", err.Error())
		}
	})
}

// forget makes of a file, which was before and has had a commit since, what a disk may hold that lost power meanwhile:
// all of the commit, all but its meta page, any part of the other pages, or nothing.
func forget(file *os.File, before []byte, rng *rand.Rand) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	how := rng.IntN(4)
	page := make([]byte, pageBytes)
	for at := int64(0); at < info.Size(); at += pageBytes {
		if n, err := file.ReadAt(page, at); err != nil && err != io.EOF || n < pageBytes {
			return err
		}
		old := make([]byte, pageBytes) // behind what was in use there was nothing
		if at < int64(len(before)) {
			old = before[at:][:pageBytes]
		}
		if bytes.Equal(page, old) {
			continue
		}
		lost := 0 // from here on
		switch {
		case how == 0, how == 1 && at >= firstDataPage*pageBytes:
			continue
		case how == 2 && at >= firstDataPage*pageBytes:
			lost = rng.IntN(3) * pageBytes / 2 // all of the page, its second half, or nothing
		}
		if _, err := file.WriteAt(old[lost:], at+int64(lost)); err != nil {
			return err
		}
	}
	return nil
}
