package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRateOfACaller: one who asks too often is refused, whatever token it has, and nobody else is.
func TestRateOfACaller(t *testing.T) {
	f := newGuarded(t)
	f.rates.Rates = Rates{Requests: Rate{PerSecond: 2, Burst: 3}}
	read := func(who string) *httptest.ResponseRecorder { return f.do("GET", config+"/a/x", "", as(who)) }
	for range 3 {
		require.Equal(t, http.StatusOK, read("ed").Code)
	}
	for _, who := range []string{"ed", "ed+with+another+token"} {
		w := read(who)
		require.Equal(t, http.StatusTooManyRequests, w.Code, who)
		assert.Equal(t, kindRateLimited.name, kindOf(w))
		assert.Equal(t, "1", w.Header().Get("Retry-After"))
		assert.Contains(t, w.Body.String(), user("ed"))
	}
	assert.Equal(t, kindRateLimited.name, kindOf(f.do("GET", "/api/v1/watch/a/x?from_revision=1&wait=1s", "", as("ed"))), "watches count")
	f.ok("GET", config+"/a/x", "", as("ann"))
	f.ok("GET", "/health/ready", "")
	f.ok("GET", "/openapi.json", "")

	f.now = f.now.Add(500 * time.Millisecond)
	assert.Equal(t, http.StatusOK, read("ed").Code)
	assert.Equal(t, http.StatusTooManyRequests, read("ed").Code, "what is refused does not count, and what was not asked for is there once")
	f.now = f.now.Add(time.Hour)
	for range 3 {
		assert.Equal(t, http.StatusOK, read("ed").Code)
	}
	assert.Equal(t, http.StatusTooManyRequests, read("ed").Code, "a long silence is good for one burst")
}

// TestRateOfWrites: they have a rate of their own, and are refused before anything is done.
func TestRateOfWrites(t *testing.T) {
	f := newGuarded(t)
	f.rates.Rates = Rates{Writes: Rate{PerSecond: 1}}
	f.ok("PUT", config+"/a/x", "2", as("ed"))
	before := f.proposedSince(0)
	w := f.do("PUT", config+"/a/x", "3", as("ed"))
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "not_applied", decoded(t, w)["outcome"])
	assert.Zero(t, f.proposedSince(before))
	f.ok("GET", config+"/a/x", "", as("ed"))
}

// TestRateOfStrangers: where nobody says who calls, an address is one caller, or an IPv6 network.
func TestRateOfStrangers(t *testing.T) {
	f := newFixture(t)
	f.node.put("a", "1")
	f.rates.Rates = Rates{Requests: Rate{PerSecond: 1}}
	from := func(addr string) int {
		r := httptest.NewRequestWithContext(t.Context(), "GET", config+"/a", nil)
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Code
	}
	assert.Equal(t, http.StatusOK, from("10.0.0.1:1000"))
	assert.Equal(t, http.StatusTooManyRequests, from("10.0.0.1:2000"))
	assert.Equal(t, http.StatusTooManyRequests, from("[::ffff:10.0.0.1]:2000"))
	assert.Equal(t, http.StatusOK, from("10.0.0.2:1000"))
	assert.Equal(t, http.StatusOK, from("[2001:db8::1]:1000"))
	assert.Equal(t, http.StatusTooManyRequests, from("[2001:db8::2]:1000"))
	assert.Equal(t, http.StatusOK, from("[2001:db8:0:1::1]:1000"))
	assert.Equal(t, http.StatusOK, from("@"))
	assert.Equal(t, http.StatusTooManyRequests, from("@"), "those without an address are one")
}

// TestRatedCallersAreBounded: who came last is known.
func TestRatedCallersAreBounded(t *testing.T) {
	r := rates{Rates: Rates{Requests: Rate{PerSecond: 1}}}
	now := time.Unix(0, 0)
	who := func(i int) rateKey {
		return rateKey{from: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
	}
	for i := range MaxRatedCallers {
		wait, _ := r.take(who(i), false, now)
		require.Zero(t, wait)
	}
	wait, _ := r.take(who(0), false, now)
	assert.Equal(t, time.Second, wait)
	wait, _ = r.take(who(MaxRatedCallers), false, now)
	assert.Zero(t, wait)
	assert.Len(t, r.known, MaxRatedCallers)
	assert.Equal(t, MaxRatedCallers, r.recent.Len())
	wait, _ = r.take(who(0), false, now)
	assert.Equal(t, time.Second, wait, "it came lately")
	wait, _ = r.take(who(1), false, now)
	assert.Zero(t, wait, "it is forgotten")
}

func TestFaultsOfRates(t *testing.T) {
	require.NoError(t, Rates{Requests: Rate{PerSecond: 0.5, Burst: 10}, Writes: Rate{PerSecond: MaxRate}}.validate())
	for i, bad := range []Rates{
		{Requests: Rate{PerSecond: -1}},
		{Writes: Rate{PerSecond: 2 * MaxRate}},
		{Writes: Rate{PerSecond: 1e-9}},
		{Requests: Rate{PerSecond: 1, Burst: -1}},
		{Requests: Rate{Burst: 1}},
	} {
		require.Error(t, bad.validate(), fmt.Sprint(i))
	}
}
