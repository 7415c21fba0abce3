package fsm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPuts is per put of a random one of 100,000 keys of 256 bytes, all of them in the
// database, as a busy node sees them: 25 commands to an Apply, a Maintenance for as many as one
// looks at, a flush for 10,000. It reports what Apply and Commit take of the processor, and how
// many bytes of pages a put has a flush write.
func BenchmarkPuts(b *testing.B) {
	const keys, batch, flush = 100_000, 25, 10_000
	s, _ := benchStore(b, false)
	random := rand.New(rand.NewPCG(1, 2))
	filler := strings.Repeat("v", 256)
	index, puts := Index(0), 0
	next := func(cmd Command) Entry {
		index++
		return Entry{Index: index, Term: 1, Data: encode(b, cmd)}
	}
	putOf := func(key int) Op {
		puts++
		n := fmt.Sprint(puts)
		return Op{Kind: Put, Key: fmt.Sprintf("bench/%d", key), Value: []byte(n + filler[len(n):]), ContentType: "text/plain"}
	}
	for i := 0; i < keys; {
		cmd := Command{Origin: Origin{1, 1, uint64(index) + 1}}
		for range 500 {
			cmd.Ops = append(cmd.Ops, putOf(i))
			i++
		}
		_, err := s.Apply([]Entry{next(cmd)})
		require.NoError(b, err)
	}
	require.NoError(b, s.BeginFlush().Commit())
	var inApply, inFlush time.Duration
	written := 0
	round := func(n int) {
		ents := make([]Entry, 0, n+2*n/MaxMaintenance)
		for i := range n {
			ents = append(ents, next(Command{
				Origin: Origin{1, 1, uint64(index) + 1}, AcceptedAt: 1, RequestID: "0123456789abcdef",
				Ops: []Op{putOf(random.IntN(keys))},
			}))
			if i%(MaxMaintenance/2) == 0 {
				ents = append(ents, next(Command{Maintenance: &Maintenance{Elapsed: time.Second, KeepFor: 90 * 24 * time.Hour, KeepVersions: 1000}}))
			}
		}
		began := processorTime(b)
		for at := 0; at < len(ents); at += batch {
			_, err := s.Apply(ents[at:min(at+batch, len(ents))])
			require.NoError(b, err)
		}
		applied, before := processorTime(b), writtenBytes(b)
		require.NoError(b, s.BeginFlush().Commit())
		inApply += applied - began
		inFlush += processorTime(b) - applied
		written += writtenBytes(b) - before
	}
	for range 6 {
		round(flush) // there is a past
	}
	inApply, inFlush, written = 0, 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += flush {
		round(min(flush, b.N-done))
	}
	b.ReportMetric(float64(inApply.Nanoseconds())/float64(b.N), "apply-cpu-ns/op")
	b.ReportMetric(float64(inFlush.Nanoseconds())/float64(b.N), "flush-cpu-ns/op")
	b.ReportMetric(float64(written)/float64(b.N), "written-B/op")
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &use))
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// writtenBytes is what this process has written to files.
func writtenBytes(b *testing.B) (n int) {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	require.NoError(b, err)
	var read int
	_, err = fmt.Sscanf(string(text), "rchar: %d\nwchar: %d", &read, &n)
	require.NoError(b, err)
	return n
}
