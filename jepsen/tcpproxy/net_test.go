package tcpproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listen is a program that echoes what it reads.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
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
	return l.Addr().String()
}

var (
	there = Link{From: "a", To: "b"}
	back  = there.Back()
)

// pair is a network on which a reaches b, which echoes, at an address.
func pair(t *testing.T) (*Net, string) {
	t.Helper()
	n := New(1)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	require.NoError(t, n.Serve(free.Addr().String(), "b", listen(t), func(net.Conn) (string, error) { return "a", nil }))
	return n, free.Addr().String()
}

func dial(t *testing.T, at string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// echo sends a text and reads as much; it returns what came, and after how long.
func echo(t *testing.T, c net.Conn, text []byte) ([]byte, time.Duration) {
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

func TestBothWays(t *testing.T) {
	n, at := pair(t)
	text := bytes.Repeat([]byte("0123456789"), 100_000)
	c := dial(t, at)
	got, _ := echo(t, c, text)
	assert.True(t, bytes.Equal(text, got))
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the end comes, too, and back")
	assert.Positive(t, n.Counts()[there].Delivered)
	assert.Positive(t, n.Counts()[back].Delivered)
}

func TestDialFromHere(t *testing.T) {
	n, _ := pair(t)
	c, err := n.Dial(t.Context(), there, listen(t))
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	text := bytes.Repeat([]byte("0123456789"), 100_000)
	got, _ := echo(t, c, text)
	assert.True(t, bytes.Equal(text, got))
	require.NoError(t, c.Close())

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = n.Dial(t.Context(), there, l.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "as if nothing were between")
}

func TestCutOneWay(t *testing.T) {
	n, at := pair(t)
	c := dial(t, at)
	echo(t, c, []byte("x"))
	require.NoError(t, n.SetLinks(map[Link]Condition{back: {Cut: true}}))
	was := n.Counts()
	_, err := c.Write([]byte("there"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return n.Counts()[back].Cut > was[back].Cut }, 10*time.Second, time.Millisecond)
	assert.Greater(t, n.Counts()[there].Delivered, was[there].Delivered, "the other way is whole")

	silent := dial(t, at)
	require.NoError(t, silent.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = silent.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	assert.True(t, timeout.Timeout(), "nobody refuses: %v", err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = n.Dial(ctx, there, listen(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	require.NoError(t, n.SetLinks(nil))
	got := make([]byte, 5)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	assert.Equal(t, "there", string(got))
	require.NoError(t, silent.SetReadDeadline(time.Now().Add(20*time.Second)))
	echo(t, silent, []byte("x"))
}

// TestEndWaitsForTheLink: who is cut off does not learn that the other side ended.
func TestEndWaitsForTheLink(t *testing.T) {
	n, at := pair(t)
	c := dial(t, at)
	echo(t, c, []byte("x"))
	require.NoError(t, n.SetLinks(map[Link]Condition{back: {Cut: true}}))
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	require.Eventually(t, func() bool { return n.Counts()[back].Cut > 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, n.SetLinks(nil))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestDelayAndBandwidth(t *testing.T) {
	n, at := pair(t)
	c := dial(t, at)
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Delay: 30 * time.Millisecond, Jitter: 5 * time.Millisecond}, back: {Delay: 10 * time.Millisecond}}))
	_, took := echo(t, c, []byte("x"))
	assert.GreaterOrEqual(t, took, 40*time.Millisecond)
	const rate = 1 << 20
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {BytesPerSecond: rate}}))
	_, took = echo(t, c, make([]byte, rate/4))
	assert.GreaterOrEqual(t, took, 240*time.Millisecond)

	// What waits for a minute comes at once when the link is whole again.
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Delay: time.Minute}}))
	_, err := c.Write([]byte("y"))
	require.NoError(t, err)
	require.NoError(t, n.SetLinks(nil))
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
}

func TestLossIsATimeAndCorruptionIsSeen(t *testing.T) {
	n, at := pair(t)
	c := dial(t, at)
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Loss: 1}}))
	got, took := echo(t, c, []byte("x"))
	assert.Equal(t, "x", string(got))
	assert.GreaterOrEqual(t, took, resendTime)

	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Corrupt: 1, Checked: true}}))
	got, took = echo(t, c, []byte("x"))
	assert.Equal(t, "x", string(got))
	assert.GreaterOrEqual(t, took, resendTime)

	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Corrupt: 1}}))
	got, _ = echo(t, c, []byte{0})
	assert.NotZero(t, got[0])
	assert.Zero(t, got[0]&(got[0]-1), "one bit")
	counts := n.Counts()
	assert.EqualValues(t, 2, counts[there].Lost)
	assert.EqualValues(t, 2, counts[there].Corrupted)
	assert.Zero(t, counts[back].Corrupted)
}

func TestWhoIsNotKnownIsRefused(t *testing.T) {
	n := New(1)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	at := free.Addr().String()
	require.NoError(t, n.Serve(at, "b", listen(t), func(net.Conn) (string, error) { return "", errors.New("who?") }))
	c, err := net.Dial("tcp", at)
	if err == nil { // it ended later
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.NoError(t, n.Close())
	require.NoError(t, n.Close())
	_, err = net.Dial("tcp", at)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestCloseEndsConnections(t *testing.T) {
	n, at := pair(t)
	c := dial(t, at)
	echo(t, c, []byte("x"))
	require.NoError(t, n.SetLinks(map[Link]Condition{there: {Cut: true}}))
	_, err := c.Write([]byte("y"))
	require.NoError(t, err)
	require.NoError(t, n.Close())
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestLinksThatCannotBe(t *testing.T) {
	n := New(1)
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{there: {Loss: 2}}), "share of 2")
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{there: {Delay: -1}}), "a delay of -1ns")
	require.ErrorContains(t, n.SetLinks(map[Link]Condition{there: {BytesPerSecond: -1}}), "-1 bytes a second")
	require.NoError(t, n.Close())
}
