package httpapi

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// TestRequestsOfOneCaller: whoever may do nothing may still wait, for a revision that does not come,
// but has not all the requests that a node works on.
func TestRequestsOfOneCaller(t *testing.T) {
	f := newGuarded(t)
	waiting, come := make(chan struct{}, MaxRequests), make(chan struct{})
	f.node.arrives = func(fsm.Revision) { waiting <- struct{}{}; <-come }
	var pending sync.WaitGroup
	for range MaxCallerRequests {
		pending.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), "GET", config+"/a/x?min_revision=99", nil)
			r.Header.Set("Authorization", as("eve")[len("Authorization: "):])
			f.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	for range MaxCallerRequests {
		<-waiting
	}
	w := f.do("GET", config+"/a/x", "", as("eve+with+another+token"))
	assert.Equal(t, kindOverloaded.name, kindOf(w))
	assert.Contains(t, w.Body.String(), user("eve"))
	f.ok("GET", config+"/a/x", "", as("ed"))
	close(come)
	pending.Wait()
	assert.Equal(t, http.StatusForbidden, f.do("GET", config+"/a/x", "", as("eve")).Code)
	assert.Zero(t, f.requests.Load())
	assert.Zero(t, f.callers.of(&fsm.Principal{Kind: fsm.User, Issuer: "entra", Tenant: tenant, Object: "eve"}).Load())
}

// stuck is an answer that its client does not read.
type stuck struct {
	*httptest.ResponseRecorder
	writing chan<- struct{}
	read    <-chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	s.writing <- struct{}{}
	<-s.read
	return len(b), nil
}

// TestRequestsOfStrangers: what is for everybody, and is not read, is counted apart.
func TestRequestsOfStrangers(t *testing.T) {
	f := newGuarded(t)
	writing, read := make(chan struct{}, MaxRequests), make(chan struct{})
	var pending sync.WaitGroup
	for range MaxPublicRequests {
		pending.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/openapi.json", nil)
			f.ServeHTTP(stuck{httptest.NewRecorder(), writing, read}, r)
		})
	}
	for range MaxPublicRequests {
		<-writing
	}
	assert.Equal(t, kindOverloaded.name, kindOf(f.do("GET", "/openapi.json", "")))
	f.ok("GET", config+"/a/x", "", as("ed"))
	f.ok("GET", "/health/ready", "")
	close(read)
	require.Eventually(t, func() bool { pending.Wait(); return f.public.Load() == 0 }, 10*time.Second, time.Millisecond)
}
