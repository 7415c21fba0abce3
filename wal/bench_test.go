package wal

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkAppend appends batches of entries of 256 bytes to a real disk, each synced.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []uint64{1, 64} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) { benchmarkAppend(b, n, true, false) })
		b.Run(fmt.Sprintf("entries=%d/prepared", n), func(b *testing.B) { benchmarkAppend(b, n, true, true) })
		b.Run(fmt.Sprintf("entries=%d/unsynced", n), func(b *testing.B) { benchmarkAppend(b, n, false, false) })
	}
}

// benchmarkAppend appends n entries at a time. If prepared, the next segment is made ahead, outside of what is measured.
func benchmarkAppend(b *testing.B, n uint64, sync, prepared bool) {
	b.Helper()
	dir := DirFS(b.TempDir())
	require.NoError(b, Create(dir, Options{}))
	l, _, err := Open(dir, Options{})
	require.NoError(b, err)
	ents := entries(1, n, 1, 256)
	index := uint64(0)
	prepare := func() {
		for more := true; more; {
			more, err = l.Prepare()
			require.NoError(b, err)
		}
	}
	if prepared {
		prepare()
		require.NoError(b, l.switchSegment(0))
	}
	b.ReportAllocs()
	b.SetBytes(int64(n) * 256)
	for b.Loop() {
		if prepared && len(l.Wanted()) > 0 {
			<-l.Wanted()
			b.StopTimer()
			prepare()
			b.StartTimer()
		}
		for _, e := range ents {
			index++
			*e.Index = index
		}
		if err := l.Append(Batch{Entries: ents, Sync: sync}); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, l.Close())
}

// BenchmarkOpen opens logs of about 100 MB.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct{ entries, size, batch uint64 }{
		{1_000_000, 64, 100},
		{100_000, 1000, 1},
		{100, 1 << 20, 1},
	} {
		b.Run(fmt.Sprintf("entries=%d/size=%d", c.entries, c.size), func(b *testing.B) {
			dir := DirFS(b.TempDir())
			require.NoError(b, Create(dir, Options{}))
			l, _, err := Open(dir, Options{})
			require.NoError(b, err)
			data := make([]byte, c.size)
			for i := uint64(1); i <= c.entries; {
				var ents []*raftpb.Entry
				for ; uint64(len(ents)) < c.batch && i <= c.entries; i++ {
					ents = append(ents, &raftpb.Entry{Index: new(i), Term: new(uint64(1)), Data: data})
				}
				require.NoError(b, l.Append(Batch{Entries: ents}))
			}
			require.NoError(b, l.Close())
			b.SetBytes(int64(c.entries * c.size))
			b.ReportAllocs()
			for b.Loop() {
				l, _, err := Open(dir, Options{})
				require.NoError(b, err)
				if l.LastIndex() != c.entries {
					b.Fatalf("%d entries", l.LastIndex())
				}
				require.NoError(b, l.Close())
			}
		})
	}
}

// BenchmarkEntries reads 1 MiB of entries of 256 bytes, and one of them.
func BenchmarkEntries(b *testing.B) {
	dir := DirFS(b.TempDir())
	require.NoError(b, Create(dir, Options{}))
	l, _, err := Open(dir, Options{})
	require.NoError(b, err)
	require.NoError(b, l.Append(Batch{Entries: entries(1, 20_000, 1, 256), Sync: true}))
	for _, c := range []struct {
		name  string
		hi    uint64
		bytes int64
	}{{"many", 20_001, 1 << 20}, {"one", 10_001, 256}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(c.bytes)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Entries(10_000, c.hi, 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	require.NoError(b, l.Close())
}
