package fsm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// benchKey is like those of a real tree: long, and alike at the start.
func benchKey(i int) string {
	return fmt.Sprintf("i18n/cldr/cldr-numbers-full/main/locale-%03d/numbers/symbols/decimal-%d", i/1000, i%1000)
}

// benchEntries are n puts in transactions of 512, as an import makes them.
func benchEntries(tb testing.TB, n int) []Entry {
	tb.Helper()
	var out []Entry
	for i := 0; i < n; {
		cmd := Command{Origin: Origin{1, 1, uint64(len(out) + 1)}, AcceptedAt: 1}
		for range min(MaxTxnOps, n-i) {
			cmd.Ops = append(cmd.Ops, Op{Kind: Put, Key: benchKey(i), Value: []byte(`"#,##0.###"`), ContentType: "application/json"})
			i++
		}
		out = append(out, Entry{Index: Index(len(out) + 1), Term: 1, Data: encode(tb, cmd)})
	}
	return out
}

func benchStore(tb testing.TB, sync bool) (*Store, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "db")
	opts := Options{NoSync: !sync, MaxOverlayBytes: 4 << 30}
	require.NoError(tb, Create(path, testGenesis, opts))
	s, err := Open(path, opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s, path
}

// BenchmarkImport is what one node does for an import: per operation, apply and
// flush at 16 MiB of overlay, synced.
func BenchmarkImport(b *testing.B) {
	s, _ := benchStore(b, true)
	ents := benchEntries(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range ents {
		_, err := s.Apply(ents[i : i+1])
		require.NoError(b, err)
		if s.OverlayBytes() > 16<<20 {
			require.NoError(b, s.BeginFlush().Commit())
		}
	}
	require.NoError(b, s.BeginFlush().Commit())
}

// BenchmarkApply is per operation of a transaction of 512.
func BenchmarkApply(b *testing.B) {
	s, _ := benchStore(b, false)
	ents := benchEntries(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range ents {
		_, err := s.Apply(ents[i : i+1])
		require.NoError(b, err)
	}
}

// benchSingle is per transaction of one put, each in an Apply of its own.
func benchSingle(b *testing.B, edit func(i int, cmd *Command)) {
	b.Helper()
	s, _ := benchStore(b, false)
	ents := make([]Entry, b.N)
	for i := range ents {
		cmd := Command{Origin: Origin{1, 1, uint64(i + 1)}, Ops: []Op{put(benchKey(i*7919%100_000), fmt.Sprint(i))}}
		edit(i, &cmd)
		ents[i] = Entry{Index: Index(i + 1), Term: 1, Data: encode(b, cmd)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range ents {
		_, err := s.Apply(ents[i : i+1])
		require.NoError(b, err)
	}
}

func BenchmarkApplySingle(b *testing.B) { benchSingle(b, func(int, *Command) {}) }

// BenchmarkApplyKeyed is ApplySingle with an idempotency key.
func BenchmarkApplyKeyed(b *testing.B) {
	benchSingle(b, func(i int, cmd *Command) { cmd.Idempotency.Key = strconv.Itoa(i) })
}

// BenchmarkApplyReplayed is of a transaction whose key is known.
func BenchmarkApplyReplayed(b *testing.B) {
	benchSingle(b, func(i int, cmd *Command) { cmd.Idempotency.Key = strconv.Itoa(i % 1000) })
}

// BenchmarkDeleteTree is per subtree of MaxTreeKeys keys, all of them in the database.
func BenchmarkDeleteTree(b *testing.B) {
	s, _ := benchStore(b, false)
	fill := benchEntries(b, MaxTreeKeys)
	n := Index(0)
	apply := func(data []byte) {
		n++
		SetOrigin(data, Origin{1, 1, uint64(n)})
		res, err := s.Apply([]Entry{{Index: n, Term: 1, Data: data}})
		require.NoError(b, err)
		require.Equal(b, Applied, res[0].Outcome)
	}
	remove := encode(b, Command{Ops: []Op{{Kind: DeleteTree}}})
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		for i := range fill {
			apply(fill[i].Data)
		}
		require.NoError(b, s.BeginFlush().Commit())
		b.StartTimer()
		apply(remove)
	}
}

// BenchmarkFlush is per record of a flush, synced.
func BenchmarkFlush(b *testing.B) {
	s, _ := benchStore(b, true)
	const chunk = 50_000
	ents := benchEntries(b, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for len(ents) > 0 {
		b.StopTimer()
		n := min(len(ents), chunk/MaxTxnOps)
		_, err := s.Apply(ents[:n])
		require.NoError(b, err)
		ents = ents[n:]
		b.StartTimer()
		require.NoError(b, s.BeginFlush().Commit())
	}
}

func benchGet(b *testing.B, flush bool) {
	b.Helper()
	const n = 200_000
	s, _ := benchStore(b, false)
	_, err := s.Apply(benchEntries(b, n))
	require.NoError(b, err)
	if flush {
		require.NoError(b, s.BeginFlush().Commit())
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = benchKey(i * 7919 % n)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		v, err := s.View()
		if err != nil {
			b.Fatal(err)
		}
		if _, found, err := v.Get(keys[i%n]); !found || err != nil {
			b.Fatal(found, err)
		}
		v.Close()
	}
}

func BenchmarkGetOverlay(b *testing.B) { benchGet(b, false) }
func BenchmarkGetBase(b *testing.B)    { benchGet(b, true) }

// BenchmarkScan is per record, half of them in the overlay.
func BenchmarkScan(b *testing.B) {
	const n = 100_000
	s, _ := benchStore(b, false)
	ents := benchEntries(b, n)
	_, err := s.Apply(ents[:len(ents)/2])
	require.NoError(b, err)
	require.NoError(b, s.BeginFlush().Commit())
	_, err = s.Apply(ents[len(ents)/2:])
	require.NoError(b, err)
	v, err := s.View()
	require.NoError(b, err)
	defer v.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		require.NoError(b, v.Scan("", "", func(r Record) bool {
			done++
			return done < b.N && !strings.HasSuffix(r.Key, "none")
		}))
	}
}

// benchImage is a store with n records, flushed, and its image.
func benchImage(b *testing.B, n int) *Image {
	b.Helper()
	s, _ := benchStore(b, false)
	_, err := s.Apply(benchEntries(b, n))
	require.NoError(b, err)
	require.NoError(b, s.BeginFlush().Commit())
	i := openImage(b, s)
	b.Cleanup(i.Close)
	return i
}

// BenchmarkImageRead reads an image in chunks of 1 MiB.
func BenchmarkImageRead(b *testing.B) {
	i := benchImage(b, 200_000)
	chunk := make([]byte, 1<<20)
	b.SetBytes(i.Size())
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for off := int64(0); off < i.Size(); off += int64(len(chunk)) {
			if _, err := i.ReadAt(chunk, off); err != nil && !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkVerifyImage is of a file in the page cache.
func BenchmarkVerifyImage(b *testing.B) {
	const n = 200_000
	i := benchImage(b, n)
	path := filepath.Join(b.TempDir(), "image")
	require.NoError(b, os.WriteFile(path, readImage(b, i), 0o600))
	b.SetBytes(i.Size())
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		st, err := VerifyImage(path, Options{})
		require.NoError(b, err)
		require.Equal(b, uint64(n), st.Records)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// benchMaintain is per Maintenance of a store that fill has made, all of it in the database.
func benchMaintain(b *testing.B, m Maintenance, fill func(apply func(cmd Command)), check func(before, after State)) {
	b.Helper()
	data := encode(b, Command{Maintenance: &m})
	b.ReportAllocs()
	for range b.N {
		b.StopTimer()
		s, _ := benchStore(b, false)
		n := Index(0)
		fill(func(cmd Command) {
			if n++; cmd.Maintenance == nil {
				cmd.Origin = Origin{1, 1, uint64(n)}
			}
			_, err := s.Apply([]Entry{{Index: n, Term: 1, Data: encode(b, cmd)}})
			require.NoError(b, err)
		})
		require.NoError(b, s.BeginFlush().Commit())
		before := s.State()
		b.StartTimer()
		res, err := s.Apply([]Entry{{Index: n + 1, Term: 1, Data: data}})
		b.StopTimer()
		require.NoError(b, err)
		require.Equal(b, Maintained, res[0].Outcome)
		check(before, s.State())
		require.NoError(b, s.BeginFlush().Commit())
	}
}

// BenchmarkExpire is of as many idempotency keys as one Maintenance forgets.
func BenchmarkExpire(b *testing.B) {
	benchMaintain(b, Maintenance{Elapsed: IdempotencyRetention}, func(apply func(cmd Command)) {
		for i := range 2 * MaxMaintenance {
			apply(Command{Idempotency: Idempotency{Key: strconv.Itoa(i)}, Ops: []Op{put(benchKey(i), "v")}})
		}
	}, func(before, after State) {
		require.Equal(b, before.Answers-MaxMaintenance, after.Answers)
	})
}

// BenchmarkSweep is of as many changes as one Maintenance sweeps, each of which superseded a
// record.
func BenchmarkSweep(b *testing.B) {
	benchMaintain(b, Maintenance{Elapsed: time.Hour, KeepFor: time.Minute}, func(apply func(cmd Command)) {
		for i := range 2 * MaxMaintenance {
			apply(Command{Ops: []Op{put(benchKey(i*7919%100), strconv.Itoa(i))}})
		}
	}, func(_, after State) {
		require.Equal(b, Revision(MaxMaintenance/2), after.Floor)
	})
}

// BenchmarkSweepTree is of one change that removed a subtree of MaxTreeKeys keys.
func BenchmarkSweepTree(b *testing.B) {
	fill := 0
	benchMaintain(b, Maintenance{Elapsed: time.Hour, KeepFor: time.Minute}, func(apply func(cmd Command)) {
		var ops []Op
		fill = 0
		for i := range MaxTreeKeys {
			if ops = append(ops, put(benchKey(i), "v")); len(ops) == MaxTxnOps || i == MaxTreeKeys-1 {
				apply(Command{Ops: ops})
				ops, fill = nil, fill+1
			}
		}
		for range fill {
			apply(Command{Maintenance: &Maintenance{KeepFor: 1, Elapsed: 1}})
			apply(Command{Maintenance: &Maintenance{KeepFor: 1, Elapsed: 1}})
		}
		apply(Command{Ops: []Op{{Kind: DeleteTree}}})
	}, func(before, after State) {
		require.Equal(b, Revision(fill), before.Floor)
		require.Equal(b, Revision(fill+1), after.Floor)
	})
}

// BenchmarkTrim is of a key with as many versions too many as one Maintenance looks at.
func BenchmarkTrim(b *testing.B) {
	benchMaintain(b, Maintenance{KeepVersions: 1}, func(apply func(cmd Command)) {
		for i := range 2 * MaxMaintenance {
			apply(Command{Ops: []Op{put(benchKey(0), strconv.Itoa(i))}})
		}
	}, func(State, State) {})
}

// BenchmarkRestore is per restore of a subtree of MaxTreeKeys keys that were all removed, all of
// it in the database.
func BenchmarkRestore(b *testing.B) {
	s, _ := benchStore(b, false)
	n := Index(0)
	apply := func(cmd Command) {
		n++
		cmd.Origin = Origin{1, 1, uint64(n)}
		res, err := s.Apply([]Entry{{Index: n, Term: 1, Data: encode(b, cmd)}})
		require.NoError(b, err)
		require.Equal(b, Applied, res[0].Outcome)
	}
	var ops []Op
	for i := range MaxTreeKeys {
		if ops = append(ops, put(benchKey(i), "v")); len(ops) == MaxTxnOps || i == MaxTreeKeys-1 {
			apply(Command{Ops: ops})
			ops = nil
		}
	}
	full := s.State().Revision
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		apply(Command{Ops: []Op{{Kind: DeleteTree}}})
		require.NoError(b, s.BeginFlush().Commit())
		b.StartTimer()
		apply(Command{Ops: []Op{{Kind: Restore, Revision: full}}})
	}
}

// BenchmarkRestorePastTheDead is per restore of nothing, where MaxTreePassed keys came and went since.
func BenchmarkRestorePastTheDead(b *testing.B) {
	s, _ := benchStore(b, false)
	n := Index(0)
	apply := func(cmd Command) Result {
		n++
		cmd.Origin = Origin{1, 1, uint64(n)}
		res, err := s.Apply([]Entry{{Index: n, Term: 1, Data: encode(b, cmd)}})
		require.NoError(b, err)
		return res[0]
	}
	var ops []Op
	for i := range MaxTreePassed {
		if ops = append(ops, put(benchKey(i), "v")); len(ops) == MaxTxnOps || i == MaxTreePassed-1 {
			apply(Command{Ops: ops})
			apply(Command{Ops: []Op{{Kind: DeleteTree}}})
			ops = nil
		}
	}
	require.NoError(b, s.BeginFlush().Commit())
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		require.Equal(b, Unchanged, apply(Command{Ops: []Op{{Kind: Restore}}}).Outcome)
	}
}

// BenchmarkMaintenance is of one that has all it may do to do: keys to forget, changes to sweep, and
// versions of a key to trim.
func BenchmarkMaintenance(b *testing.B) {
	benchMaintain(b, Maintenance{Elapsed: IdempotencyRetention, KeepFor: IdempotencyRetention, KeepVersions: 1}, func(apply func(cmd Command)) {
		for i := range 2 * MaxMaintenance {
			apply(Command{Idempotency: Idempotency{Key: strconv.Itoa(i)}, Ops: []Op{put(benchKey(i*7919%100), strconv.Itoa(i))}})
		}
		for i := range 2 * MaxMaintenance {
			apply(Command{Ops: []Op{put(benchKey(i*7919%100), strconv.Itoa(-i))}})
		}
	}, func(before, after State) {
		require.Equal(b, before.Answers-MaxMaintenance, after.Answers)
		require.Equal(b, Revision(MaxMaintenance/2), after.Floor)
	})
}

// BenchmarkTrimNothing is of keys that all have as many versions as are kept.
func BenchmarkTrimNothing(b *testing.B) {
	const keys, keep = 64, 1000
	benchMaintain(b, Maintenance{KeepVersions: keep}, func(apply func(cmd Command)) {
		for i := range keep + 1 {
			var ops []Op
			for key := range keys {
				ops = append(ops, put(benchKey(key), strconv.Itoa(i)))
			}
			apply(Command{Ops: ops})
		}
	}, func(State, State) {})
}

// fullPolicy is as many namespaces as fit, each bound to one group and 40 others.
func fullPolicy(b *testing.B, s *Store) {
	b.Helper()
	for i := range MaxNamespaces {
		n := Namespace{Bindings: []Binding{{RoleEditor, []string{"group:i/00000000-0000-0000-0000-000000000007"}}}}
		for j := range 40 {
			n.Bindings[0].Subjects = append(n.Bindings[0].Subjects, fmt.Sprintf("cert:%d", j*MaxNamespaces+i))
		}
		at := s.State().Applied + 1
		cmd := Command{Origin: Origin{1, 1, uint64(at)}, Ops: []Op{putNamespace(fmt.Sprintf("n%d/", i), n)}}
		res, err := s.Apply([]Entry{{Index: at, Term: 1, Data: encode(b, cmd)}})
		require.NoError(b, err)
		if res[0].Outcome == PolicyFull {
			return
		}
	}
}

// BenchmarkOpenFullPolicy is per Open of a store with as many namespaces as there can be.
func BenchmarkOpenFullPolicy(b *testing.B) {
	s, path := benchStore(b, false)
	fullPolicy(b, s)
	require.NoError(b, s.BeginFlush().Commit())
	copied := filepath.Join(b.TempDir(), "copy")
	data, err := os.ReadFile(path)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(copied, data, 0o600))
	for b.Loop() {
		again, err := Open(copied, Options{NoSync: true})
		require.NoError(b, err)
		require.NoError(b, again.Close())
	}
}

// BenchmarkRefusedMany is per decision on a command of as many operations as there can be, of
// somebody who is bound in thousands of namespaces.
func BenchmarkRefusedMany(b *testing.B) {
	s, _ := benchStore(b, false)
	fullPolicy(b, s)
	cmd := Command{Principal: Principal{Kind: User, Issuer: "i", Object: "x", Groups: [][16]byte{{15: 7}}}}
	for i := range MaxTxnOps {
		cmd.Ops = append(cmd.Ops, put(fmt.Sprintf("n%d/key", i), ""))
	}
	for b.Loop() {
		require.Zero(b, s.policy.Refused(&cmd.Principal, &cmd))
	}
}
