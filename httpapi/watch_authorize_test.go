package httpapi

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// ended waits until a stream is over, for no longer than a heartbeat, and gives what it ended with.
func (s *streamed) ended(tb testing.TB) string {
	tb.Helper()
	last := s.next()
	select {
	case <-s.done:
	default:
		time.Sleep(DefaultHeartbeat)
		last += s.next()
	}
	select {
	case <-s.done:
	default:
		tb.Fatal("the stream goes on")
	}
	return last
}

// TestWatchEndsWithItsPermission: what comes after is not given out.
func TestWatchEndsWithItsPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGuarded(t)
		f.bind("", fsm.RoleViewer, "all", "zoe")
		s := f.stream(watch+"/a/", as("zoe"))
		stays := f.stream(watch+"/a/", as("all"))
		assert.Contains(t, s.next(), ": heartbeat")
		f.ok("PUT", config+"/a/x", "5", as("ed"))
		assert.Contains(t, s.next(), "event: change")
		_ = stays.next()
		f.bind("", fsm.RoleViewer, "all")
		f.ok("PUT", config+"/a/x", "6", as("ed"))
		last := s.ended(t)
		assert.NotContains(t, last, "event: change")
		assert.Contains(t, last, `event: error`)
		assert.Contains(t, last, `"type":"urn:confman:problem:forbidden"`)
		assert.Contains(t, last, user("zoe")+" lacks read on a/")
		assert.Contains(t, stays.next(), "event: change", "others go on")
		stays.stop()
		<-stays.done
		assert.Equal(t, http.StatusForbidden, f.do("GET", watch+"/a/", "", as("zoe")).Code, "it is not opened again")
		f.denials.close(t.Context())
	})
}

// TestWatchEndsWithItsToken, and not before.
func TestWatchEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGuarded(t)
		f.Now = time.Now
		f.api.Auth.(*people).expires = time.Now().Add(100 * time.Second)
		s := f.stream(watch+"/a/?heartbeat=5m", as("ann"))
		poll := f.stream(watch+"/a/?wait=5m", as("ann"))
		time.Sleep(100*time.Second - time.Nanosecond)
		assert.NotContains(t, s.next(), "event: error")
		time.Sleep(time.Nanosecond)
		last := s.next()
		<-s.done
		assert.Contains(t, last, "event: error")
		assert.Contains(t, last, `"status":401`)
		assert.Contains(t, last, `"reason":"expired"`)
		<-poll.done
		assert.Equal(t, http.StatusUnauthorized, poll.Code)
		assert.Contains(t, poll.Header().Get("Www-Authenticate"), `error="invalid_token"`)
	})
}

// TestWatchEndsWithItsProof: a node that is cut off gives nothing more out.
func TestWatchEndsWithItsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGuarded(t)
		s := f.stream(watch+"/a/", as("ann"))
		poll := f.stream(watch+"/a/?wait=10s", as("ann"))
		assert.Contains(t, s.next(), ": heartbeat")
		f.proof.age = DefaultMaxPolicyStaleness + 1
		f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "a/x", Value: []byte("7"), ContentType: typeJSON}}})
		last := s.ended(t)
		assert.NotContains(t, last, "event: change")
		assert.Contains(t, last, `"type":"urn:confman:problem:staleness-bound"`)
		<-poll.done
		assert.Equal(t, kindStaleness.name, kindOf(poll.ResponseRecorder))
	})
}

// TestWatchOfAnybody goes on at a node that is cut off, as long as nobody administers the cluster.
func TestWatchOfAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		quorumless(f)
		f.proof = standing{}
		s := f.stream(watch + "/a/")
		_ = s.next()
		f.node.put("a/x", "7")
		assert.Contains(t, s.next(), "event: change")
		f.node.bootstrap()
		f.node.proposeErr = func(int, *fsm.Command) error {
			return &node.WriteError{Outcome: node.NotApplied, Err: node.ErrNoQuorum}
		}
		assert.Contains(t, s.ended(t), `"type":"urn:confman:problem:staleness-bound"`)
	})
}
