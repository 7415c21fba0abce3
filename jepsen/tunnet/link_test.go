package tunnet

import (
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// arrivals is the end of a link.
type arrivals struct{ packets []uint32 }

// Read is part of io.ReadWriteCloser.
func (*arrivals) Read([]byte) (int, error) { return 0, io.EOF }

// Write is part of io.ReadWriteCloser.
func (a *arrivals) Write(p []byte) (int, error) {
	if len(p) == 4 {
		a.packets = append(a.packets, binary.BigEndian.Uint32(p))
	}
	return len(p), nil
}

// Close is part of io.ReadWriteCloser.
func (*arrivals) Close() error { return nil }

// oneWay is a link whose packets arrive when it is flushed; they are numbered.
func oneWay(c Condition) (l *link, arrived func() []uint32) {
	n, a := New(1), &arrivals{}
	l = &link{net: n, to: &host{device: a}, wake: make(chan struct{}, 1), rng: there.Rand(n.seed), runs: true, c: c}
	return l, func() []uint32 {
		all := a.packets
		a.packets = nil
		return all
	}
}

func sendNumbers(l *link, n int) (all []uint32) {
	for i := range uint32(n) {
		l.send(binary.BigEndian.AppendUint32(nil, i))
		all = append(all, i)
	}
	return all
}

func TestJitterKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, arrived := oneWay(Condition{Delay: 10 * time.Millisecond, Jitter: 10 * time.Millisecond})
		sent := sendNumbers(l, 100)
		l.flush(time.Now().Add(10*time.Millisecond - 1))
		assert.Empty(t, arrived())
		wait := l.flush(time.Now().Add(10 * time.Millisecond))
		assert.LessOrEqual(t, wait, 10*time.Millisecond)
		got := arrived()
		assert.Less(t, len(got), 100)
		assert.Negative(t, l.flush(time.Now().Add(20*time.Millisecond)), "nothing waits")
		assert.Equal(t, sent, append(got, arrived()...))
	})
}

func TestOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, arrived := oneWay(Condition{Reorder: 0.2})
		sent := sendNumbers(l, 100)
		l.flush(time.Now().Add(mostHold))
		got := arrived()
		assert.ElementsMatch(t, sent, got)
		assert.NotEqual(t, sent, got)
		assert.Positive(t, l.count().Reordered)
	})
}

// TestWholeAgain: what waits arrives at once and in its order, before what is sent from now on.
func TestWholeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, arrived := oneWay(Condition{Delay: time.Minute, Jitter: time.Second, BytesPerSecond: 1})
		sent := sendNumbers(l, 20)
		l.set(Condition{})
		l.send(binary.BigEndian.AppendUint32(nil, 20))
		assert.Negative(t, l.flush(time.Now()))
		assert.Equal(t, append(sent, 20), arrived())
		l.send(binary.BigEndian.AppendUint32(nil, 21))
		assert.Equal(t, []uint32{21}, arrived(), "nothing holds it up")
	})
}

func TestBottleneckIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		l, _ := oneWay(Condition{BytesPerSecond: rate})
		for range 1000 {
			l.send(make([]byte, 1024))
		}
		c := l.count()
		assert.InDelta(t, rate*queueTime.Seconds()/1024, float64(c.Held), 2)
		assert.Equal(t, uint64(1000), c.Held+c.Full)
		l.flush(time.Now().Add(100 * time.Millisecond))
		assert.InDelta(t, rate*0.1/1024, float64(l.count().Delivered), 2)

		l.set(Condition{Delay: time.Minute})
		for range MaxQueuePackets {
			l.send(make([]byte, 1))
		}
		assert.Positive(t, l.count().Full-c.Full)
		assert.LessOrEqual(t, len(l.waiting), MaxQueuePackets)
		l.set(Condition{Cut: true})
		assert.Empty(t, l.waiting)
		assert.GreaterOrEqual(t, l.count().Cut, uint64(MaxQueuePackets))
	})
}
