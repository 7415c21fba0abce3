package grpctransport

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/transport"
)

// link forwards bytes to target. Shut, it swallows them, as a partition does:
// nobody is told. A rate, in bytes per second, makes it slow.
type link struct {
	target string
	rate   int

	mu    sync.Mutex
	shut  bool
	calls int // connections so far
}

func (k *link) called() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

// listen serves the link at address until the test ends.
func (k *link) listen(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			k.mu.Lock()
			k.calls++
			k.mu.Unlock()
			out, err := net.Dial("tcp", k.target)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { k.copy(out, in); _ = out.Close() }()
			go func() { k.copy(in, out); _ = in.Close() }()
		}
	}()
}

func (k *link) set(shut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.shut = shut
}

func (k *link) copy(dst io.Writer, src net.Conn) {
	const (
		step     = 10 * time.Millisecond
		maxBurst = 250 * time.Millisecond // what may be caught up
	)
	buf := make([]byte, 32<<10)
	if k.rate > 0 {
		buf = make([]byte, k.rate*int(step/time.Millisecond)/1000)
		_ = src.(*net.TCPConn).SetReadBuffer(16 << 10)
	}
	due := time.Now() // when the bytes so far may have passed
	for {
		// By the clock and not by ticks, which a busy machine loses: the link must not get
		// slower than the slowest one that is borne.
		<-time.After(time.Until(due))
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		if k.rate > 0 {
			if idle := time.Now().Add(-maxBurst); due.Before(idle) {
				due = idle
			}
			due = due.Add(time.Duration(n) * time.Second / time.Duration(k.rate))
		}
		k.mu.Lock()
		shut := k.shut
		k.mu.Unlock()
		if !shut {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}

// linked starts two members; what the first says to the second goes over k.
func linked(t *testing.T, k *link) (a, b *testNode) {
	t.Helper()
	addresses := freePorts(t, 3)
	k.target = addresses[1]
	k.listen(t, addresses[2])
	a, b = start(t, []string{addresses[0], addresses[2]}, 0), start(t, addresses[:2], 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected")
	return a, b
}

func TestABlackHoleIsNoticedAndHeals(t *testing.T) {
	t.Parallel()
	k := &link{}
	a, b := linked(t, k)
	k.set(true)
	eventually(t, func() bool { return !connected(a, 2)() }, "silence is noticed although TCP says nothing")
	a.inbox.mu.Lock()
	assert.Positive(t, a.inbox.unreachable[2], "the loss of a connection is reported")
	a.inbox.mu.Unlock()
	tried := k.called()
	eventually(t, func() bool { return k.called() > tried+1 }, "it tries again and again, and does not wait for TCP to get bytes through")
	k.set(false)
	was := len(b.inbox.messages())
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > was }, "healed")
}

func TestASlowLinkGetsALargeMessageThrough(t *testing.T) {
	t.Parallel()
	a, b := linked(t, &link{rate: 200 << 10})
	was := a.Stats()[0].Dropped
	started := time.Now()
	a.Send([]transport.Message{app(1, 2, 77, 1<<20)})
	eventually(t, func() bool {
		got := b.inbox.messages()
		return got[len(got)-1].Raft.GetIndex() == 77
	}, "the message arrives")
	assert.Greater(t, time.Since(started), silencePatience, "the link is slow enough to tell")
	assert.NotContains(t, a.log.String(), errSilent.Error())
	assert.Equal(t, was, a.Stats()[0].Dropped)
}

// laggard takes one append in each interval, and says when it got a heartbeat.
type laggard struct {
	inbox
	pace  *time.Ticker
	beats chan struct{}
}

func (l *laggard) Receive(m transport.Message) {
	if m.Raft.GetType() == raftpb.MsgApp {
		<-l.pace.C
	} else {
		signal(l.beats)
	}
	l.inbox.Receive(m)
}

// lag starts a member and a peer that takes an append in each interval.
func lag(t *testing.T, interval time.Duration) (*testNode, *laggard) {
	t.Helper()
	addresses := freePorts(t, 2)
	a := start(t, addresses, 0)
	l := &laggard{pace: time.NewTicker(interval), beats: make(chan struct{}, 1)}
	b, err := New(Config{PlainText: true, Listen: addresses[1], RaftID: 2, Incarnation: 1, Peers: map[uint64]string{1: addresses[0]}, Handler: l})
	require.NoError(t, err)
	t.Cleanup(func() {
		l.pace.Reset(time.Microsecond)
		assert.NoError(t, b.Close())
		l.pace.Stop()
	})
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(l.beats) > 0 }, "connected")
	return a, l
}

func TestLoadWithoutAPauseKeepsTheConnection(t *testing.T) {
	t.Parallel()
	a, l := lag(t, 2*time.Millisecond)
	was := a.Stats()[0].Dropped
	started := time.Now()
	eventually(t, func() bool {
		for a.Stats()[0].Queued < 500 {
			a.Send([]transport.Message{app(1, 2, 1, 20<<10)})
		}
		return time.Since(started) > silencePatience+4*pingInterval
	}, "longer than silence is borne")
	assert.NotContains(t, a.log.String(), errSilent.Error())
	assert.Equal(t, was, a.Stats()[0].Dropped)
	assert.Greater(t, len(l.messages()), 500)
}

func TestHeartbeatsOvertakeBulk(t *testing.T) {
	t.Parallel()
	a, l := lag(t, 4*time.Millisecond)
	for range 1500 { // 6 s of work for the peer
		a.Send([]transport.Message{app(1, 2, 1, 16<<10)})
	}
	eventually(t, func() bool { return !a.peer(2).flow.Load().room() }, "the way to the peer is full")
	<-l.beats
	was := len(l.messages())
	a.Send([]transport.Message{beat(1, 2)})
	<-l.beats
	before := len(l.messages()) - was
	t.Logf("%d appends went before a heartbeat", before)
	// What is on its way, a frame that it does not stop at, and what the peer took while the test looked.
	assert.Less(t, before, 2*(windowBytes+maxFrameBytes)/(16<<10), "of 1500")
}
