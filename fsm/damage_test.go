package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// overwrite writes b into the database at offset at, as a bad disk would.
func (r *replica) overwrite(at int64, b []byte) {
	r.t.Helper()
	f, err := os.OpenFile(r.path, os.O_RDWR, 0)
	require.NoError(r.t, err)
	_, err = f.WriteAt(b, at)
	require.NoError(r.t, err)
	require.NoError(r.t, f.Close())
}

// bbolt panics with its locks held when it finds no meta page: the store must
// say so, serve what it can still read, and close without waiting for them.
func TestBothMetaPagesLostWhileOpen(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	r.put("b", "2")
	r.overwrite(0, make([]byte, 2*pageBytes))
	require.ErrorIs(t, r.s.BeginFlush().Commit(), ErrDamaged)
	for _, key := range []string{"a", "b"} {
		_, found := r.get(key)
		assert.True(t, found, key)
	}
}

// The same when a reader begins: bbolt then keeps the lock that ends readers, too.
func TestBothMetaPagesLostWhenAReaderBegins(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	r.overwrite(0, make([]byte, 2*pageBytes))
	_, err := r.s.openBase(r.s.base.pages.meta.txid)
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, r.s.BeginFlush().Commit(), "there is nothing to write")
	r.put("b", "2")
	require.ErrorIs(t, r.s.BeginFlush().Commit(), ErrDamaged)
	require.NoError(t, r.s.Close())
	r.s = nil
}

// bbolt would take the older meta page for the database, and write over pages
// that the newer one uses.
func TestNewestMetaPageLostWhileOpen(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	r.put("b", "2")
	r.overwrite(int64(r.s.base.pages.meta.txid%2)*pageBytes, make([]byte, pageBytes))
	err := r.s.BeginFlush().Commit()
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "newest meta page is lost")
}

func TestScrubNamesALostMetaPage(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	r.overwrite(int64((r.s.base.pages.meta.txid+1)%2)*pageBytes, make([]byte, pageBytes))
	require.ErrorContains(t, scrub(r.s), "a meta page is not valid")
}

// edit changes the closed database through bbolt, behind the store's back.
func (r *replica) edit(fn func(tx *bbolt.Tx) error) {
	r.t.Helper()
	require.NoError(r.t, r.s.Close())
	db, err := bbolt.Open(r.path, 0o600, boltOptions(testOptions, nil))
	require.NoError(r.t, err)
	require.NoError(r.t, db.Update(fn))
	require.NoError(r.t, db.Close())
	r.open()
}

// No read can tell a record that is gone from one that never was; the tallies can.
func TestScrubNamesAMissingRecord(t *testing.T) {
	for _, in := range []bucket{current, superseded, changes} {
		t.Run(in.String(), func(t *testing.T) {
			r := newReplica(t)
			for i := range 3 {
				r.put("a", strconv.Itoa(i))
				r.put("b", strconv.Itoa(i))
			}
			r.flush()
			r.edit(func(tx *bbolt.Tx) error {
				c := tx.Bucket([]byte(in.String())).Cursor()
				c.First()
				return c.Delete()
			})
			require.ErrorIs(t, scrub(r.s), ErrDamaged)
			require.ErrorContains(t, scrub(r.s), map[bucket]string{
				current: "bucket current", superseded: "bucket superseded", changes: "revision 1: it is missing",
			}[in])
		})
	}
}

// A grant that is missing would be a refusal, and a denial that is missing a permission: without the
// whole policy nobody is served.
func TestAMissingNamespaceOpensNothing(t *testing.T) {
	for _, path := range []string{"", "a/", "a/b/"} {
		r := governed(t)
		r.flush()
		require.NoError(t, r.s.Close())
		db, err := bbolt.Open(r.path, 0o600, boltOptions(testOptions, nil))
		require.NoError(t, err)
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(namespaces.String())).Delete([]byte(namespaceMark + path))
		}))
		require.NoError(t, db.Close())
		_, err = Open(r.path, testOptions)
		require.ErrorIs(t, err, ErrDamaged, path)
		require.ErrorContains(t, err, "do not add up", path)
		r.s = nil
	}
}

// What was denied does not seem never to have been: not to who walks through it, and not where one
// more of the same is counted.
func TestAMissingRowOfWhatWasDenied(t *testing.T) {
	for number := range uint64(3) {
		r := newReplica(t)
		for i := range 3 {
			require.Equal(t, Denied, r.do(by("nobody", put(strconv.Itoa(i), ""))).Outcome)
		}
		r.flush()
		r.edit(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(denied.String())).Delete([]byte(denialKey(number + 1)))
		})
		v := r.view(t)
		rows := uint64(0)
		err := v.Audit(v.AuditEnd(), func(AuditEntry, AuditPosition) bool { rows++; return true })
		require.ErrorIs(t, err, ErrDamaged)
		require.Equal(t, 2-number, rows)
		if number == 2 {
			cmd := by("nobody", put("2", ""))
			cmd.Origin = Origin{1, 1, 9}
			_, err = r.s.Apply([]Entry{{Index: r.s.State().Applied + 1, Term: 1, Data: encode(t, cmd)}})
			require.ErrorIs(t, err, ErrDamaged)
		}
	}
}

// A pointer to a page freed long ago leads to records that were true once, with
// good checksums.
func TestAFreedPageIsNotRead(t *testing.T) {
	r := newReplica(t)
	write := func(value string) {
		var ops []Op
		for i := range 30 {
			ops = append(ops, put("key/"+strconv.Itoa(i), strings.Repeat(value, 100)))
		}
		r.do(Command{Ops: ops})
		r.flush()
	}
	write("old")
	old := r.s.base.current.root
	write("new")
	p := r.s.base.pages
	require.True(t, p.isFree(old))
	n, err := p.node(p.meta.root)
	require.NoError(t, err)
	i, exact, err := n.search([]byte(current.String()))
	require.NoError(t, err)
	require.True(t, exact)
	header, _, err := n.value(i)
	require.NoError(t, err)
	at := int64(p.meta.root)*pageBytes + int64(pageHeaderBytes+elementBytes*i+n.position(i)+len(current.String()))
	require.Equal(t, header, p.mem[at:][:len(header)])
	require.NoError(t, r.s.Close())
	r.s = nil
	r.overwrite(at, binary.LittleEndian.AppendUint64(nil, old))
	s, err := Open(r.path, testOptions)
	require.NoError(t, err)
	r.s = s
	v, err := s.View()
	require.NoError(t, err)
	defer v.Close()
	_, _, err = v.Get("key/1")
	require.ErrorContains(t, err, "in use and free")
}

func TestChecksumTellsKeyFromValue(t *testing.T) {
	assert.NotEqual(t, checksum(current, "ab", []byte("c")), checksum(current, "a", []byte("bc")))
	assert.NotEqual(t, checksum(current, "ab", []byte("c")), checksum(superseded, "ab", []byte("c")))
}

// A file that is cut short under the mapping faults where it is read.
func TestFileCutShortWhileOpen(t *testing.T) {
	r := newReplica(t)
	r.put("a", strings.Repeat("x", 3*pageBytes))
	r.flush()
	r.put("b", "not flushed")
	require.NoError(t, os.Truncate(r.path, 2*pageBytes))
	v, err := r.s.View()
	require.NoError(t, err)
	defer v.Close()
	_, _, err = v.Get("a")
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorIs(t, v.Scan("", "", func(Record) bool { return true }), ErrDamaged)
	require.ErrorIs(t, scrub(r.s), ErrDamaged)
	_, err = r.s.OpenImage()
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorIs(t, r.s.BeginFlush().Commit(), ErrDamaged)
}

// The commit before the newest is still whole: the log from there on leads to
// the same state.
func TestOpenFallsBackToTheCommitBefore(t *testing.T) {
	r := newReplica(t)
	var applied [2]Index
	for i := range applied {
		for j := range 20 {
			r.put("key/"+strconv.Itoa(j), strconv.Itoa(i))
		}
		r.flush()
		applied[i] = r.s.State().Applied
	}
	want := r.s.State()
	newest := int64(r.s.base.pages.meta.txid % 2)
	require.NoError(t, r.s.Close())
	r.overwrite(newest*pageBytes+pageHeaderBytes, make([]byte, metaBytes))
	r.open()
	require.Equal(t, applied[0], r.s.State().Applied)
	_, err := r.s.Apply(r.log[applied[0]:])
	require.NoError(t, err)
	require.Equal(t, want, r.s.State())
	r.flush()
	require.NoError(t, scrub(r.s), "the flush wrote the damaged meta page anew")
	require.NoError(t, r.s.Close())
	r.open()
	require.Equal(t, want, r.s.State())
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(image []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"no database", func([]byte) []byte { return bytes.Repeat([]byte("text "), pageBytes) }},
		{"cut short", func(b []byte) []byte { return b[:5*pageBytes] }},
		{"meta pages lost", func(b []byte) []byte { clear(b[:2*pageBytes]); return b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			r.put("a", strings.Repeat("x", 8*pageBytes))
			r.flush()
			require.NoError(t, r.s.Close())
			r.s = nil
			image, err := os.ReadFile(r.path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(r.path, c.edit(image), 0o600))
			_, err = Open(r.path, testOptions)
			require.ErrorIs(t, err, ErrDamaged)
			_, err = Open(r.path, testOptions)
			require.NotErrorIs(t, err, ErrLocked, "a failed Open gives the lock back")
		})
	}
}

// Growing past the mapping would wait for the readers, who are always there.
func TestDatabaseNeverGrowsPastItsMapping(t *testing.T) {
	r := newReplica(t)
	require.NoError(t, r.s.Close())
	s, err := Open(r.path, Options{NoSync: true, MmapBytes: 1 << 20})
	require.NoError(t, err)
	r.s = s
	for i := range 100 {
		r.put(strings.Repeat("k", i+1), strings.Repeat("x", 20*pageBytes))
		if err = r.s.BeginFlush().Commit(); err != nil {
			break
		}
	}
	require.Error(t, err)
	assert.True(t, IsFull(err), "%v", err)
	require.NoError(t, r.s.Close())
	r.open()
	require.NoError(t, scrub(r.s))
	assert.Positive(t, r.s.State().Applied, "what was committed before is there")
}

// Past its checksum, a record is still read with care: it may be another
// program's.
func FuzzDecodeStored(f *testing.F) {
	r := &replica{t: f, path: f.TempDir() + "/db"}
	require.NoError(f, Create(r.path, testGenesis, testOptions))
	r.open()
	r.do(goldenCommand)
	r.do(Command{Comment: "why", Ops: []Op{put("a", "1"), put("b", "2")}})
	f.Add(byte(changes), r.s.active.changes[0].value)
	f.Add(byte(windows), r.s.windows[1].encode())
	f.Add(byte(metadata), r.s.state.encode())
	f.Add(byte(answers), encodeAnswer("k", 1, &goldenCommand.Idempotency, &goldenAnswer))
	f.Add(byte(superseded), encodeSuperseded(supersededKey("k", 1), 2, nil))
	require.NoError(f, r.s.Close())
	f.Fuzz(func(t *testing.T, in byte, value []byte) {
		if len(value) < checksumBytes {
			return
		}
		value = bytes.Clone(value)
		var err error
		switch bucket(in) {
		case changes:
			seal(changes, changeKey(1), value)
			var ch Change
			ch, err = openChange(changeKey(1), value)
			ops, less := decodeChangedKeys(1, value)
			require.Equal(t, err == nil, less == nil, "%v, %v", err, less)
			require.Equal(t, ch.Ops, ops)
		case windows:
			seal(windows, windowKey(1), value)
			var w *window
			if w, err = decodeWindow(windowKey(1), value); err == nil {
				w.encode()
			}
		case metadata:
			seal(metadata, metaKey, value)
			_, err = decodeLogical(value)
		case answers:
			i := goldenCommand.Idempotency
			var res Result
			if res, err = decodeAnswer(value, &i); err == nil && res.Replayed {
				again, err := decodeAnswer(encodeAnswer("k", 1, &i, &res), &i)
				require.NoError(t, err)
				require.Equal(t, res, again)
			}
		case superseded:
			_, err = endedAfter("k", value, 1)
			if floorOf(err) != 0 {
				err = nil
			}
		default:
			seal(current, "k", value)
			var b body
			if b, err = checkBody("k", value[checksumBytes:]); err == nil {
				b.record("k", &Record{})
			}
		}
		if err != nil {
			unknown := bucket(in) == metadata && errors.Is(err, ErrUnknownVersion)
			require.Truef(t, unknown || errors.Is(err, ErrDamaged), "%v", err)
		}
	})
}

// One byte of a stored change, anywhere in its value, edited in the file: the chain's check and the
// scrub both name its revision, be it the first, one in the middle or the last.
func TestAByteOfAStoredChangeEdited(t *testing.T) {
	r := newReplica(t)
	for i := range 40 {
		r.do(Command{
			RequestID: "req-" + strconv.Itoa(i), AcceptedAt: int64(i), Comment: "why " + strconv.Itoa(i),
			Ops: []Op{put("a/"+strconv.Itoa(i%7), strconv.Itoa(i))},
		})
		if i == 9 {
			r.maintain(Maintenance{Elapsed: 1})
		}
	}
	for r.s.State().Floor == 0 {
		r.maintain(Maintenance{KeepFor: 1})
	}
	require.Equal(t, Revision(10), r.s.State().Floor)
	r.flush()
	require.NoError(t, VerifyChain(t.Context(), r.view(t)))
	file, err := os.ReadFile(r.path)
	require.NoError(t, err)
	for _, rev := range []Revision{11, 25, 40} {
		value, found, err := r.s.base.changes.stored(changeKey(rev))
		require.NoError(t, err)
		require.True(t, found)
		at := bytes.Index(file, value)
		require.Positive(t, at)
		require.Equal(t, at, bytes.LastIndex(file, value))
		for i := range value {
			r.overwrite(int64(at+i), []byte{value[i] ^ 1})
			v, err := r.s.View()
			require.NoError(t, err)
			for name, err := range map[string]error{"verify": VerifyChain(t.Context(), v), "scrub": scrub(r.s)} {
				var bad *ChainError
				require.ErrorAs(t, err, &bad, "%s, byte %d", name, i)
				require.Equal(t, rev, bad.Revision, "%s, byte %d", name, i)
				require.ErrorIs(t, err, ErrDamaged)
			}
			v.Close()
			r.s.scrub = scrubber{}
			r.overwrite(int64(at+i), file[at+i:at+i+1])
		}
	}
	require.NoError(t, scrub(r.s))

	// A byte of what a change stored: it is that change that cannot be shown to be right.
	rec, found, err := r.s.base.current.stored("a/3")
	require.NoError(t, err)
	require.True(t, found)
	at := bytes.Index(file, rec)
	r.overwrite(int64(at+len(rec)-1), []byte{rec[len(rec)-1] ^ 1})
	var bad *ChainError
	require.ErrorAs(t, VerifyChain(t.Context(), r.view(t)), &bad)
	require.Equal(t, Revision(39), bad.Revision)
	require.Contains(t, bad.Reason, `record "a/3" of bucket current: checksum does not match`)
	r.overwrite(int64(at+len(rec)-1), rec[len(rec)-1:])
}

// A change larger than what a step may check is a step of its own: the pass goes on.
func TestScrubPassesALargeChange(t *testing.T) {
	r := newReplica(t)
	r.rewrite(100, "x")
	for range 20 {
		done, err := r.s.Scrub(1000)
		require.NoError(t, err)
		if done {
			return
		}
	}
	t.Fatal("the pass does not end")
}
