package tunnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// join makes a host whose thread listens there, and echoes what it reads.
func join(t testing.TB, n *Net, name, address string) {
	t.Helper()
	prefix := netip.MustParsePrefix(address)
	joined := make(chan error)
	listening := make(chan net.Listener, 1)
	Go(func() {
		err := n.Join(name, prefix)
		if err == nil {
			var l net.Listener
			l, err = net.Listen("tcp", netip.AddrPortFrom(prefix.Addr(), 7).String())
			listening <- l
		}
		joined <- err
	})
	err := <-joined
	for _, refused := range []error{unix.EPERM, unix.EACCES, unix.ENOENT, unix.ENODEV, unix.ENOSYS} {
		if errors.Is(err, refused) {
			t.Skipf("no network namespaces with interfaces of this process here: %v", err)
		}
	}
	require.NoError(t, err)
	l := <-listening
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
}

// pair is a network with hosts a and b.
func pair(t testing.TB) *Net {
	t.Helper()
	n := New(1)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	join(t, n, "a", "10.77.0.1/24")
	join(t, n, "b", "10.77.0.2/24")
	return n
}

func dial(t testing.TB, n *Net, from, address string) net.Conn {
	t.Helper()
	c, err := n.Dial(t.Context(), from, "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// echo sends a text and reads as much; it returns what came, and after how long.
func echo(t testing.TB, c net.Conn, text []byte) ([]byte, time.Duration) {
	t.Helper()
	began := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(text)
		sent <- err
	}()
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	return got, time.Since(began)
}

var (
	there = Link{"a", "b"}
	back  = Link{"b", "a"}
)

func TestHostsReachEachOther(t *testing.T) {
	n := pair(t)
	join(t, n, "", "10.77.0.254/24")
	text := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, from := range []string{"a", ""} {
		got, _ := echo(t, dial(t, n, from, "10.77.0.2:7"), text)
		assert.True(t, bytes.Equal(text, got))
	}
	own, _ := echo(t, dial(t, n, "b", "10.77.0.2:7"), []byte("itself"))
	assert.Equal(t, "itself", string(own))
	assert.Positive(t, n.Counts()[there].Delivered)
	assert.Zero(t, n.Counts()[Link{"a", ""}].Delivered)
}

// TestProcessStaysWhereItIs: of the threads of this process only those that joined are in another namespace.
func TestProcessStaysWhereItIs(t *testing.T) {
	first, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	before, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	n := pair(t)
	echo(t, dial(t, n, "a", "10.77.0.2:7"), []byte("x"))
	require.Equal(t, before, first, "the first thread is where it was")
	for range 100 {
		now := make(chan string)
		go func() {
			runtime.LockOSThread() // several at a time, each on a thread of its own
			name, _ := os.Readlink("/proc/thread-self/ns/net")
			now <- name
			runtime.UnlockOSThread()
		}()
		require.Equal(t, before, <-now)
	}
}

func TestCutOneWay(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	echo(t, c, []byte("x"))
	require.NoError(t, n.SetLinks(map[Link]Condition{back: {Cut: true}}))
	was := n.Counts()
	_, err := c.Write([]byte("there"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return n.Counts()[back].Cut > was[back].Cut }, 10*time.Second, time.Millisecond)
	assert.Greater(t, n.Counts()[there].Delivered, was[there].Delivered, "the other way is whole")
	assert.Equal(t, was[back].Delivered, n.Counts()[back].Delivered)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = n.Dial(ctx, "a", "tcp", "10.77.0.2:7")
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout(), "nobody refuses: %v", err)

	require.NoError(t, n.SetLinks(nil))
	got := make([]byte, 5)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	assert.Equal(t, "there", string(got), "the connection lives, and TCP sends again")
}

func TestCutLosesWhatIsUnderWay(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Delay: time.Minute}}))
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return n.Counts()[there].Held > 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Cut: true}}))
	assert.Positive(t, n.Counts()[there].Cut)
}

func TestDelayKeepsTheOrder(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Delay: 30 * time.Millisecond, Jitter: 20 * time.Millisecond}, back: {Delay: 10 * time.Millisecond}}))
	_, took := echo(t, c, []byte("x"))
	assert.GreaterOrEqual(t, took, 40*time.Millisecond)

	// What waits for a minute comes at once when the link is whole again.
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Delay: time.Minute}}))
	_, err := c.Write([]byte("y"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return n.Counts()[there].Held > 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, n.SetLinks(nil))
	got := make([]byte, 1)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	assert.Equal(t, "y", string(got))
}

func TestLossAndReordering(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Loss: 0.02, Reorder: 0.05}, back: {Loss: 0.02}}))
	text := bytes.Repeat([]byte("0123456789"), 60_000)
	got, _ := echo(t, c, text)
	assert.True(t, bytes.Equal(text, got), "TCP mends it")
	counts := n.Counts()
	assert.Positive(t, counts[there].Lost)
	assert.Positive(t, counts[there].Reordered)
	assert.Positive(t, counts[back].Lost)
	assert.Zero(t, counts[back].Reordered)
}

func TestCorruptionReachesThePrograms(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Corrupt: 1}}))
	text := make([]byte, 100_001)
	got, _ := echo(t, c, text)
	ones := 0
	for _, b := range got {
		if b != 0 {
			ones++
			assert.Zero(t, b&(b-1), "one bit of the byte")
		}
	}
	assert.Positive(t, ones)
	counts := n.Counts()
	assert.LessOrEqual(t, uint64(ones), counts[there].Corrupted)
	assert.Zero(t, counts[back].Corrupted)
}

// TestCorruptionThatTCPSees comes to no program.
func TestCorruptionThatTCPSees(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Corrupt: 0.2, Checked: true}}))
	text := make([]byte, 100_001)
	got, _ := echo(t, c, text)
	assert.True(t, bytes.Equal(text, got))
	assert.Positive(t, n.Counts()[there].Corrupted)
}

func TestBandwidth(t *testing.T) {
	n := pair(t)
	c := dial(t, n, "a", "10.77.0.2:7")
	const rate = 1 << 20
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {BytesPerSecond: rate}}))
	text := make([]byte, rate/4)
	_, took := echo(t, c, text)
	assert.GreaterOrEqual(t, took, 250*time.Millisecond)
}

func TestLinksThatCannotBe(t *testing.T) {
	n := pair(t)
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Cut: true}}))
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{{"a", "c"}: {Cut: true}}), `no link from "a" to "c"`)
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{there: {Loss: 2}}), "share of 2")
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{there: {Delay: -1}}), "a delay of -1ns")
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{there: {BytesPerSecond: -1}}), "-1 bytes a second")
	was := n.Counts()[there].Cut
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := n.Dial(ctx, "a", "tcp", "10.77.0.2:7")
	require.Error(t, err)
	assert.Greater(t, n.Counts()[there].Cut, was, "still cut: nothing was changed")
	_, err = n.Dial(t.Context(), "c", "tcp", "10.77.0.2:7")
	require.ErrorContains(t, err, `no host "c"`)
	_, err = n.Dial(t.Context(), "a", "tcp", "example.com:7")
	require.Error(t, err)
}

func BenchmarkRoundTrip(b *testing.B) { benchmark(b, 100, Condition{}) }

func BenchmarkRoundTripHeld(b *testing.B) { benchmark(b, 100, Condition{Reorder: 1e-9, Delay: 1}) }

func BenchmarkMegabyte(b *testing.B) { benchmark(b, 1<<20, Condition{}) }

// benchmark sends so much there and back.
func benchmark(b *testing.B, size int, c Condition) {
	n := pair(b)
	conn := dial(b, n, "a", "10.77.0.2:7")
	require.NoError(b, conn.SetDeadline(time.Time{}))
	require.NoError(b, n.SetLinks(map[Link]Condition{there: c, back: c}))
	text := make([]byte, size)
	b.SetBytes(int64(2 * size))
	for b.Loop() {
		echo(b, conn, text)
	}
}
