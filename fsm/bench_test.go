package fsm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// BenchmarkApplySingle is per transaction of one put, each in an Apply of its own.
func BenchmarkApplySingle(b *testing.B) {
	s, _ := benchStore(b, false)
	ents := make([]Entry, b.N)
	for i := range ents {
		cmd := Command{Origin: Origin{1, 1, uint64(i + 1)}, Ops: []Op{put(benchKey(i*7919%100_000), fmt.Sprint(i))}}
		ents[i] = Entry{Index: Index(i + 1), Term: 1, Data: encode(b, cmd)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range ents {
		_, err := s.Apply(ents[i : i+1])
		require.NoError(b, err)
	}
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
