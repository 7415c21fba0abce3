package fsm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/confman/confman/faultpoint"
)

// Restoration is what is made of a backup. Whoever restores the same backup with the same one gets the
// same state.
type Restoration struct {
	// Cluster is the new cluster's id, which no cluster ever had.
	Cluster ClusterID
	// Members are those it begins with: raft ids 1..n in sorted order of names; all voters.
	Members []Member
	// At, unless nil, is the revision whose state it begins with; nil: that of the backup.
	At *Revision
	// Time is when, in Unix nanoseconds, Comment who and of what: for the audit.
	Time    int64
	Comment string
}

// restoreBytes is how much a transaction of a restore writes: all of it is in memory.
const restoreBytes = 16 << 20

// RestoreTo makes a new database file at path of what s holds, which is what a backup held, with
// nothing applied since: the state that a new cluster begins with, durably. fs.ErrExist if there is a file.
//
// The cluster is another one, with other members, none of whom proposed anything yet, and Raft goes on
// behind s's index. What there is is that of s at revision At, with the history up to there; then comes a change at
// RestoreGap after s's newest revision that says so, of kind Restored. The revisions between are none, see Gap.
//
// Errors: *CompactedError, if the state at At is not held: at its Floor, and after it, it is; ErrFuture; ErrDamaged; ctx's; of the file system.
func (s *Store) RestoreTo(ctx context.Context, path string, to Restoration, opts Options) (State, error) {
	st, err := s.restoreTo(ctx, path, to, opts.withDefaults())
	if err != nil {
		return State{}, fmt.Errorf("fsm: restore to %s: %w", path, err)
	}
	return st, nil
}

func (s *Store) restoreTo(ctx context.Context, path string, to Restoration, opts Options) (State, error) {
	g := Genesis{Cluster: to.Cluster, Members: to.Members}
	if err := g.validate(); err != nil {
		return State{}, err
	}
	if err := checkText("comment", to.Comment, MaxCommentBytes); err != nil {
		return State{}, err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return State{}, err
	}
	v, err := s.View()
	if err != nil {
		return State{}, err
	}
	defer v.Close()
	must(s.OverlayBytes() == 0, "a restore of what is not flushed")
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return State{}, err
	}
	r := &restoring{ctx: ctx, v: v, to: &to, l: s.state}
	if err := r.run(temporary, opts); err != nil {
		_ = os.Remove(temporary) // the first error is the one that matters
		return State{}, err
	}
	// All sums were made anew: here they are held against what was written.
	st, err := VerifyImage(temporary, opts)
	if err != nil {
		return State{}, err
	}
	if err := faultpoint.Rename(temporary, path); err != nil {
		return State{}, err
	}
	if !opts.NoSync {
		err = syncDir(filepath.Dir(path))
	}
	return st, err
}

// restoring writes a database in the order of its buckets.
type restoring struct {
	ctx  context.Context
	v    *View // of the backup
	to   *Restoration
	l    logical // of the backup, and then of what is written
	at   Revision
	past bool // at is not the newest

	db      *bbolt.DB
	tx      *bbolt.Tx
	bytes   int // written by tx
	in      bucket
	ranges  []rangeTally // of in
	scratch []byte
}

func (r *restoring) run(path string, opts Options) (err error) {
	r.at = r.l.revision
	if r.to.At != nil {
		r.at = *r.to.At
	}
	then, err := r.v.At(r.at)
	if err != nil {
		return err
	}
	defer then.Close()
	r.past = r.at != r.l.revision
	if err := r.makeRoom(); err != nil {
		return err
	}
	bolt := boltOptions(opts, nil)
	bolt.NoSync, bolt.NoGrowSync = true, true // once, at the end: until then it is worth nothing
	if r.db, err = bbolt.Open(path, 0o600, bolt); err != nil {
		return err
	}
	defer func() {
		if r.tx != nil {
			_ = r.tx.Rollback() // the first error is the one that matters
		}
		err = errors.Join(err, r.db.Close())
	}()
	for _, step := range []func() error{
		r.begin,
		func() error { return r.records(current, func() error { return r.current(then) }) },
		func() error { return r.records(superseded, r.superseded) },
		func() error { return r.records(answers, r.answers) },
		func() error { return r.policies() },
		func() error { return r.records(denied, func() error { return r.copy(denied, nil) }) },
		r.changes,
		r.end,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if opts.NoSync {
		return nil
	}
	return r.db.Sync()
}

// makeRoom leaves the gaps before the revision to restore, and forgets the oldest, if there is no room for another one.
func (r *restoring) makeRoom() error {
	r.l.gaps = slices.DeleteFunc(slices.Clone(r.l.gaps), func(g Gap) bool { return g.From >= r.at })
	if len(r.l.gaps) < MaxGaps {
		return nil
	}
	if r.l.gaps[0].To > r.l.floor {
		return fmt.Errorf("the history goes back over %d restores, the most there may be: let it be compacted first", MaxGaps)
	}
	r.l.gaps = r.l.gaps[1:]
	return nil
}

// begin makes the buckets.
func (r *restoring) begin() (err error) {
	if r.tx, err = r.db.Begin(true); err != nil {
		return err
	}
	for in := current; in <= metadata; in++ {
		if _, err := r.tx.CreateBucket([]byte(in.String())); err != nil {
			return err
		}
	}
	return nil
}

// put writes one record, and begins another transaction if this one is large.
func (r *restoring) put(in bucket, key string, value []byte) error {
	b := r.tx.Bucket([]byte(in.String()))
	b.FillPercent = fillOf(in)
	if err := b.Put([]byte(key), value); err != nil {
		return err
	}
	if r.bytes += len(key) + len(value); r.bytes < restoreBytes {
		return nil
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	err := r.tx.Commit()
	r.tx, r.bytes = nil, 0
	if err == nil {
		r.tx, err = r.db.Begin(true)
	}
	return err
}

// records writes a bucket that has a tally, whose records write puts in their order.
func (r *restoring) records(in bucket, write func() error) error {
	r.in, r.ranges = in, []rangeTally{{}}
	if err := write(); err != nil {
		return err
	}
	var all tally
	for i := range r.ranges {
		all.add(r.ranges[i].tally)
		if err := putRange(r.tx, in, &r.ranges[i]); err != nil {
			return err
		}
	}
	*r.l.tally(in) = all
	return nil
}

// record puts one of bucket r.in.
func (r *restoring) record(key string, value []byte) error {
	last := &r.ranges[len(r.ranges)-1]
	if last.tally.count >= rangeRecords/2 || last.tally.bytes >= rangeBytes/2 {
		r.ranges = append(r.ranges, rangeTally{start: key})
		last = &r.ranges[len(r.ranges)-1]
	}
	last.tally.add(recordTally(&r.scratch, r.in, key, value))
	return r.put(r.in, key, value)
}

// copy puts the records of a bucket as they are, those that keep says; nil: all.
func (r *restoring) copy(in bucket, keep func(key string, value []byte) (bool, error)) error {
	m := r.v.merge(in)
	defer m.release()
	ok, err := m.seek("")
	for ; ok && err == nil; ok, err = m.next() {
		if keep != nil {
			if ok, err = keep(m.key, m.value); err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		if err = r.record(m.key, m.value); err != nil {
			return err
		}
	}
	return err
}

// current writes the records as they were.
func (r *restoring) current(then *View) error {
	if !r.past {
		return r.copy(current, nil)
	}
	w := then.walk()
	defer w.release()
	ok, err := w.seek("", "")
	for ; ok && err == nil; ok, err = w.next() {
		key, b := w.here()
		if err = r.record(key, sealed(current, key, b)); err != nil {
			return err
		}
	}
	if old := (*CompactedError)(nil); errors.As(err, &old) {
		return r.missing(old)
	}
	return err
}

// missing is why the state at a revision is not held: old is so of one key, and others may be held from later on only.
func (r *restoring) missing(old *CompactedError) error {
	m := r.v.merge(superseded)
	defer m.release()
	floor := old.Floor
	ok, err := m.seek("")
	for ; ok && err == nil; ok, err = m.next() {
		if !isTrimmed(m.value) {
			continue
		}
		var ended Revision
		if ended, err = endOf(m.key, m.value); err != nil {
			return err
		}
		floor = max(floor, ended)
	}
	if err != nil {
		return err
	}
	return &CompactedError{Floor: floor}
}

// sealed is a body as a bucket stores it.
func sealed(in bucket, key string, b body) []byte {
	v := append(make([]byte, checksumBytes, checksumBytes+len(b)), b...)
	seal(in, key, v)
	return v
}

// superseded writes what had ended. A mark whose records ended later is of none that were before.
func (r *restoring) superseded() error {
	return r.copy(superseded, func(key string, value []byte) (bool, error) {
		ended, err := endOf(key, value)
		return ended <= r.at, err
	})
}

// answers writes what is remembered of the commands up to there.
func (r *restoring) answers() error {
	if !r.past {
		return r.copy(answers, nil)
	}
	gone := map[string]bool{} // by what both records of one have
	return r.copy(answers, func(key string, value []byte) (bool, error) {
		if name, ok := strings.CutPrefix(key, answerMark); ok {
			if len(value) < answerHeaderBytes {
				return false, damaged("answer: %d bytes are none", len(value))
			}
			if rev := Revision(binary.LittleEndian.Uint64(value[answerAt+34:])); rev > r.at {
				gone[name] = true
			}
			return !gone[name], nil
		}
		return len(key) >= len(expiryMark)+8 && !gone[key[len(expiryMark)+8:]], nil
	})
}

// policies writes the namespaces as they were, and what they were before.
func (r *restoring) policies() error {
	then := map[string][]byte{} // they are few
	m := r.v.merge(namespaces)
	defer m.release()
	ok, err := m.seek("")
	for ; ok && err == nil; ok, err = m.next() {
		if b := body(m.value[checksumBytes:]); b.revision() <= r.at {
			then[m.key] = slices.Clone(m.value)
		}
	}
	if err != nil {
		return err
	}
	was := r.v.merge(former)
	defer was.release()
	ok, err = was.seek("")
	for ; ok && err == nil; ok, err = was.next() {
		path := was.key[:max(0, len(was.key)-pastBytes)]
		ended, err := endOf(path, was.value)
		if err != nil {
			return err
		}
		b, err := checkBody(path, was.value[checksumBytes+endedBytes:])
		if err != nil {
			return err
		}
		if ended > r.at && b.revision() <= r.at {
			key := namespaceMark + path
			then[key] = sealed(namespaces, key, b)
		}
	}
	if err != nil {
		return err
	}
	err = r.records(namespaces, func() error {
		for _, key := range slices.Sorted(maps.Keys(then)) {
			if err := r.record(key, then[key]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.records(former, func() error {
		return r.copy(former, func(key string, value []byte) (bool, error) {
			ended, err := endOf(key, value)
			return ended <= r.at, err
		})
	})
}

// changes writes the change log up to there, and the change that begins the new cluster.
func (r *restoring) changes() error {
	l := &r.l
	chain := l.floorChain
	err := r.v.rawChanges(l.floor+1, func(key string, value []byte) error {
		ch, err := openChange(key, value)
		if err != nil {
			return err
		}
		if ch.Revision > r.at {
			return errStop
		}
		chain = ch.Chain
		return r.put(changes, key, value)
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	gap := Gap{From: r.at, To: l.revision + RestoreGap}
	l.gaps = append(l.gaps, gap)
	if l.trimmed > r.at {
		l.trimmed, l.trimmedKeys = r.at, 0
	}
	l.revision, l.acceptedAt = gap.To, max(l.acceptedAt, r.to.Time)
	ch := Change{
		Revision: gap.To, At: l.acceptedAt, Time: time.Duration(l.time), Comment: r.to.Comment,
		Ops: []ChangedKey{{Kind: Restored, Old: gap.From}}, Content: sha256.Sum256(nil),
	}
	value := encodeChange(&ch, chain)
	l.chain = ch.Chain
	return r.put(changes, changeKey(ch.Revision), value)
}

// restores tells whether ch begins a cluster that was restored at rev.
func (ch *Change) restores(rev Revision) bool {
	return len(ch.Ops) == 1 && ch.Ops[0].Kind == Restored && ch.Ops[0].Old == rev
}

// end writes the state. Nobody of the new cluster has proposed anything, and what did not decode is of
// the old log.
func (r *restoring) end() error {
	l := &r.l
	l.windows, l.undecodable = sum{}, 0
	l.found(&Genesis{Cluster: r.to.Cluster, Members: r.to.Members})
	if err := r.tx.Bucket([]byte(metadata.String())).Put([]byte(metaKey), l.encode()); err != nil {
		return err
	}
	err := r.tx.Commit()
	r.tx = nil
	return err
}
