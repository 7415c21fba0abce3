package grpctransport

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/transport"
)

// The benchmarks count appends of this index; those of index 1 only find out that
// both sides are members.
const counted = 2

// counter is a handler that says when it has seen each batch of appends.
type counter struct {
	batch, seen int // of the stream's goroutine
	warm, done  chan struct{}
	answer      func()
}

func newCounter(batch int) *counter {
	return &counter{batch: batch, warm: make(chan struct{}, 1), done: make(chan struct{}, 1)}
}

func (c *counter) Receive(m transport.Message) {
	if m.Raft.GetIndex() != counted {
		signal(c.warm)
		return
	}
	if c.seen++; c.seen%c.batch > 0 {
		return
	}
	if c.answer != nil {
		c.answer()
		return
	}
	c.done <- struct{}{}
}

func (c *counter) Unreachable(uint64) {}
func (c *counter) Gone(uint64)        {}
func (c *counter) Dismissed(uint64)   {}

// bothWays runs a benchmark in plain text and with TLS.
func bothWays(b *testing.B, run func(b *testing.B, secure bool)) {
	b.Run("wire=plain", func(b *testing.B) { run(b, false) })
	b.Run("wire=tls", func(b *testing.B) { run(b, true) })
}

// members starts two that are connected as members, both ways.
func members(b *testing.B, secure bool, ha, hb *counter) (x, y *Transport) {
	b.Helper()
	addresses := freePorts(b, 2)
	ca := newAuthority(b)
	at := func(id, other uint64, h transport.Handler) *Transport {
		cfg := Config{
			Listen: addresses[id-1], RaftID: id, Incarnation: 1, Peers: map[uint64]string{other: addresses[other-1]},
			Names: map[uint64]string{1: "node1", 2: "node2"}, Handler: h, PlainText: !secure,
		}
		if secure {
			cfg.TLS = put(b, cfg.Names[id], ca.node(cfg.Names[id]), ca).unchecked()
		}
		t, err := New(cfg)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, t.Close()) })
		t.SetCluster(cluster)
		return t
	}
	x, y = at(1, 2, ha), at(2, 1, hb)
	eventually(b, func() bool {
		x.Send([]transport.Message{app(1, 2, 1, 0)})
		y.Send([]transport.Message{app(2, 1, 1, 0)})
		return len(ha.warm) > 0 && len(hb.warm) > 0
	}, "connected")
	return x, y
}

func benchmarkAppends(b *testing.B, secure bool, batch, data int) {
	c := newCounter(batch)
	x, _ := members(b, secure, newCounter(1), c)
	m := []transport.Message{app(1, 2, counted, data)}
	b.SetBytes(int64(batch * data))
	b.ReportAllocs()
	began := processor(b)
	for b.Loop() {
		for range batch {
			x.Send(m)
		}
		<-c.done
	}
	b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(processor(b)-began)/float64(b.N*batch), "cpu-ns/message")
}

// processor is the time that this process was given so far: on a busy machine it tells more than a clock.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSmallAppends is appends of one entry of 300 bytes, at most 256 in flight.
func BenchmarkSmallAppends(b *testing.B) {
	bothWays(b, func(b *testing.B, secure bool) { benchmarkAppends(b, secure, 256, 300) })
}

// BenchmarkLargeAppends is appends of one entry of 64 KiB, at most 64 in flight.
func BenchmarkLargeAppends(b *testing.B) {
	bothWays(b, func(b *testing.B, secure bool) { benchmarkAppends(b, secure, 64, 64<<10) })
}

// BenchmarkPingPong is an append and the answer to it, which comes on the other
// node's stream: the way of every commit.
func BenchmarkPingPong(b *testing.B) { bothWays(b, benchmarkPingPong) }

func benchmarkPingPong(b *testing.B, secure bool) {
	back, there := newCounter(1), newCounter(1)
	x, y := members(b, secure, back, there)
	answer := []transport.Message{app(2, 1, counted, 0)}
	there.answer = func() { y.Send(answer) }
	ask := []transport.Message{app(1, 2, counted, 300)}
	b.ReportAllocs()
	began := processor(b)
	for b.Loop() {
		x.Send(ask)
		<-back.done
	}
	b.ReportMetric(float64(processor(b)-began)/float64(2*b.N), "cpu-ns/message")
}
