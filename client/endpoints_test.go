package client

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// fakeClock moves when it is told to.
type fakeClock struct{ time.Time }

func (c *fakeClock) now() time.Time          { return c.Time }
func (c *fakeClock) advance(d time.Duration) { c.Time = c.Add(d) }
func (c *fakeClock) among(n int) *endpoints  { return among(n, c.now) }
func among(n int, now func() time.Time) *endpoints {
	e := &endpoints{now: now}
	for i := range n {
		e.list = append(e.list, &endpoint{url: string(rune('a' + i))})
	}
	return e
}

// order is the order of a round, one letter for each endpoint.
func order(e *endpoints, start uint64) string {
	var b strings.Builder
	for _, ep := range e.round(start) {
		b.WriteString(ep.url)
	}
	return b.String()
}

func TestEndpointsAreAskedInTheirOrder(t *testing.T) {
	e := (&fakeClock{time.Unix(1e9, 0)}).among(3)
	for range 3 {
		assert.Equal(t, "abc", order(e, 0), "what is not to be spread stays where it was answered")
	}
	assert.Equal(t, []string{"abc", "bca", "cab", "abc"}, []string{order(e, 3), order(e, 4), order(e, 5), order(e, 6)})
}

func TestEndpointThatFailedIsAskedLast(t *testing.T) {
	clock := &fakeClock{time.Unix(1e9, 0)}
	e := clock.among(3)
	a, b := e.list[0], e.list[1]
	e.failed(a)
	assert.Equal(t, "bca", order(e, 0))
	assert.Equal(t, "cba", order(e, 2), "spread over those that are well")
	clock.advance(time.Second)
	e.failed(b)
	assert.Equal(t, "cab", order(e, 0), "the one that failed first is the first to be tried again")
	e.answered(b)
	assert.Equal(t, "bca", order(e, 0), "it was asked all the same, and answered")
}

func TestOneRequestTriesWhetherAnEndpointIsBack(t *testing.T) {
	clock := &fakeClock{time.Unix(1e9, 0)}
	e := clock.among(2)
	a := e.list[0]
	e.failed(a)
	for wait := AvoidFor; wait < 4*MaxAvoidFor; wait *= 2 {
		wait := min(wait, MaxAvoidFor)
		clock.advance(wait - 1)
		assert.Equal(t, "ba", order(e, 0), "after %v", wait-1)
		clock.advance(1)
		assert.Equal(t, "ab", order(e, 0), "after %v it is tried", wait)
		assert.Equal(t, "ba", order(e, 0), "by one request")
		e.failed(a)
		e.failed(a) // by a request that had no other to ask
	}
	clock.advance(MaxAvoidFor)
	assert.Equal(t, "ab", order(e, 0))
	e.answered(a)
	assert.Equal(t, "ab", order(e, 0))
	e.failed(a)
	clock.advance(AvoidFor)
	assert.Equal(t, "ab", order(e, 0), "it begins anew")
}

func TestATryThatTellsNothingIsRepeated(t *testing.T) {
	clock := &fakeClock{time.Unix(1e9, 0)}
	e := clock.among(2)
	e.failed(e.list[0])
	clock.advance(AvoidFor)
	assert.Equal(t, "ab", order(e, 0))
	clock.advance(AvoidFor)
	assert.Equal(t, "ab", order(e, 0), "the request that tried it was given up")
}

func TestEndpointsThatAllFailAreAskedAllTheSame(t *testing.T) {
	clock := &fakeClock{time.Unix(1e9, 0)}
	e := clock.among(3)
	for range 10 {
		for _, ep := range e.round(0) {
			e.failed(ep)
		}
		clock.advance(100 * time.Millisecond)
	}
	assert.Equal(t, "abc", order(e, 0))
	clock.advance(AvoidFor)
	assert.Equal(t, "abc", order(e, 0))
	e.answered(e.list[0])
	assert.Equal(t, "bca", order(e, 1), "one outage of all is one failure of each")
}

func TestWritesGetTooOld(t *testing.T) {
	now := time.Now()
	assert.False(t, tooOld(now, now.Add(MaxRetryAge-1)))
	assert.True(t, tooOld(now, now.Add(MaxRetryAge)))
	slept := time.Unix(0, now.UnixNano()).Add(MaxRetryAge) // the monotonic clock stood still
	assert.True(t, tooOld(now, slept))
}
