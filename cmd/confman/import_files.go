package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/confman/confman/client"
)

const (
	// maxTreeBytes bounds one JSON file, which is held in memory while it is worked
	// on. The servers' bound for a tree is the same.
	maxTreeBytes = 64 << 20
	// maxFaults bounds the wrong files that are told.
	maxFaults = 100
)

// inputFile is one file of an import.
type inputFile struct {
	name    string // for people
	prefix  string // where its tree goes; the import's for records
	records bool
	escape  string
	open    func() (io.ReadCloser, error)
	// held is the text of what cannot be read twice.
	held string

	// Known once it was checked:
	sum                  uint64 // of its bytes
	leaves, emptyObjects int
}

// errChanged: a file is not what was checked; what was sent of others stays.
var errChanged = errors.New("the file was changed during the import: run it again")

// sumSeed makes the sums of one run comparable.
var sumSeed = maphash.MakeSeed()

// findFiles returns the files of an import in order of name.
func (s *session) findFiles(path, prefix string, o importFlags) ([]*inputFile, error) {
	if path == "-" {
		f, err := s.standardInput(prefix, o)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return []*inputFile{f}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, usageError{err}
	}
	if !info.IsDir() {
		f := newInput(path, prefix, o)
		if o.format != "" {
			f.records = o.format == formatRecords
		}
		return []*inputFile{f}, nil
	}
	var (
		files  []*inputFile
		faults faults
	)
	// With the separator, a link to a directory is the directory.
	err = filepath.WalkDir(path+string(filepath.Separator), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() && d.Type()&fs.ModeSymlink == 0 || !isTree(name) && !isRecords(name) {
			return nil
		}
		f := newInput(name, prefix, o)
		if !f.records {
			rel, err := filepath.Rel(path, name)
			if err != nil {
				return err
			}
			if f.prefix = filepath.ToSlash(rel); prefix != "" {
				f.prefix = prefix + "/" + f.prefix
			}
			if err := client.CheckKey(f.prefix); err != nil {
				faults.add(name, err)
			}
		}
		files = append(files, f)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case faults.err() != nil:
		return nil, faults.err()
	case len(files) == 0:
		return nil, usagef("%s holds no *.json and no *.ndjson file", path)
	}
	return files, nil
}

func isTree(name string) bool    { return strings.HasSuffix(name, ".json") }
func isRecords(name string) bool { return strings.HasSuffix(name, ".ndjson") }

func newInput(name, prefix string, o importFlags) *inputFile {
	return &inputFile{
		name: name, prefix: prefix, escape: o.escape, records: isRecords(name),
		open: func() (io.ReadCloser, error) { return os.Open(name) }, //nolint:gosec // the user names it
	}
}

// standardInput makes what arrives there a file that can be read twice: a tree is
// held in memory, records go to a temporary file that has no name any more.
func (s *session) standardInput(prefix string, o importFlags) (*inputFile, error) {
	f := &inputFile{name: "standard input", prefix: prefix, escape: o.escape, records: o.format == formatRecords}
	if !f.records {
		text, err := readTree(s.in)
		f.held = text
		return f, err
	}
	spool, err := os.CreateTemp("", "confman-import-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	size, err := io.Copy(spool, s.in)
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	// The process ends with the import, and the file with the process.
	f.open = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(spool, 0, size)), nil }
	return f, nil
}

// text is a tree's, whole.
func (f *inputFile) text() (string, error) {
	if f.open == nil {
		return f.held, nil
	}
	src, err := f.open()
	if err != nil {
		return "", err
	}
	defer src.Close() // it was only read
	return readTree(src)
}

func readTree(src io.Reader) (string, error) {
	var b strings.Builder
	if f, ok := src.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Size() < maxTreeBytes {
			b.Grow(int(info.Size()) + 512)
		}
	}
	n, err := io.Copy(&b, io.LimitReader(src, maxTreeBytes+1))
	if err != nil {
		return "", err
	}
	if n > maxTreeBytes {
		return "", fmt.Errorf("has more than %d bytes: split it, or import it as records (*.ndjson)", maxTreeBytes)
	}
	return b.String(), nil
}

// checkFiles reads all files and returns all that is wrong with them.
func checkFiles(ctx context.Context, files []*inputFile) error {
	var (
		g      errgroup.Group
		faults faults
	)
	g.SetLimit(workers())
	for _, f := range files {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := f.check(); err != nil {
				faults.add(f.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return faults.err()
}

// check reads the file and notes what is in it.
func (f *inputFile) check() error {
	if f.records {
		return f.checkRecords()
	}
	text, err := f.text()
	if err != nil {
		return err
	}
	f.sum = maphash.String(sumSeed, text)
	stats, err := client.WalkTree(text, f.walk(false), func([]byte, string) error { return nil })
	f.leaves, f.emptyObjects = stats.Leaves, stats.EmptyObjects
	return err
}

func (f *inputFile) walk(trusted bool) client.WalkOptions {
	return client.WalkOptions{Prefix: f.prefix, Escape: f.escape, Trusted: trusted}
}

func (f *inputFile) checkRecords() error {
	return f.eachRecord(func(*client.Record) error { f.leaves++; return nil }, func(sum uint64) error {
		f.sum = sum
		return nil
	})
}

// eachRecord calls one for each record, then end with the sum of the file's bytes.
func (f *inputFile) eachRecord(one func(*client.Record) error, end func(sum uint64) error) error {
	src, err := f.open()
	if err != nil {
		return err
	}
	defer src.Close() // it was only read
	var h maphash.Hash
	h.SetSeed(sumSeed)
	for rec, err := range client.ReadRecords(io.TeeReader(src, &h), f.prefix) {
		if err != nil {
			return err
		}
		if err := one(&rec); err != nil {
			return err
		}
	}
	return end(h.Sum64())
}

// sendFiles hands files to imp: trees side by side, since no two of them have a
// path in common, then records one file after another, since they may. Each tree is
// compared with what was checked before anything of it is sent.
func sendFiles(imp *client.Importer, files []*inputFile) {
	var g errgroup.Group
	work := make(chan *inputFile)
	for range workers() {
		g.Go(func() error {
			var chunk client.Chunk
			for f := range work {
				if err := f.sendTree(imp, &chunk); err != nil {
					imp.Abort(fmt.Errorf("%s: %w", f.name, err))
				}
			}
			return imp.Send(&chunk)
		})
	}
	for _, f := range files {
		if !f.records {
			work <- f
		}
	}
	close(work)
	if g.Wait() != nil {
		return // imp.Wait tells why
	}
	imp.Settle()
	for _, f := range files {
		if f.records {
			if err := f.sendRecords(imp); err != nil {
				imp.Abort(fmt.Errorf("%s: %w", f.name, err))
				return
			}
		}
	}
}

// sendTree adds the file's leaves to chunk and sends it whenever it is full.
func (f *inputFile) sendTree(imp *client.Importer, chunk *client.Chunk) error {
	if imp.Failed() {
		return nil
	}
	text, err := f.text()
	if err != nil {
		return err
	}
	if maphash.String(sumSeed, text) != f.sum {
		return errChanged
	}
	_, err = client.WalkTree(text, f.walk(true), func(path []byte, value string) error {
		chunk.AppendLeaf(path, value)
		if chunk.Full() {
			return imp.Send(chunk)
		}
		return nil
	})
	return err
}

// sendRecords sends records; of two of one path the later one wins.
func (f *inputFile) sendRecords(imp *client.Importer) error {
	var failed error
	imp.SendAll(func(yield func(client.Record, error) bool) {
		failed = f.eachRecord(func(rec *client.Record) error {
			if !yield(*rec, nil) {
				return errStopped
			}
			return nil
		}, func(sum uint64) error {
			if sum != f.sum {
				return errChanged
			}
			return nil
		})
	})
	if errors.Is(failed, errStopped) {
		return nil // imp.Wait tells why
	}
	return failed
}

// errStopped ends a walk that nobody listens to any more.
var errStopped = errors.New("stopped")

// faults are what is wrong with files. Safe for concurrent use.
type faults struct {
	mu   sync.Mutex
	list []fault
}

// fault is an error of a file.
type fault struct {
	name string
	err  error
}

func (f *faults) add(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fault{name, err})
}

// err is nil if there are none.
func (f *faults) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) == 0 {
		return nil
	}
	slices.SortFunc(f.list, func(a, b fault) int { return strings.Compare(a.name, b.name) })
	return &faultsError{f.list}
}

// faultsError is an import that was refused as a whole.
type faultsError struct{ list []fault }

func (e *faultsError) Error() string {
	var b strings.Builder
	for i, f := range e.list {
		if i == maxFaults {
			fmt.Fprintf(&b, "... and %d more\n", len(e.list)-i)
			break
		}
		fmt.Fprintf(&b, "%s: %v\n", f.name, f.err)
	}
	fmt.Fprintf(&b, "%s wrong; nothing was written", plural(len(e.list), "file is", "files are"))
	return b.String()
}
