package jepsen

import (
	"context"
	"net/http"
	"strconv"
)

// heard is what the headers of an answer said, also of one that the client makes an error of.
type heard struct {
	Revision uint64 // the store's
	Fresh    bool   // Staleness is said
	Again    bool   // it is said when to come back
	// Staleness is how old the state may be, in seconds.
	Staleness float64
}

type heardKey struct{}

// listening is a context for one request, whose headers *heard will have.
func listening(ctx context.Context) (context.Context, *heard) {
	h := new(heard)
	return context.WithValue(ctx, heardKey{}, h), h
}

// listener hands the headers of answers to who listens.
type listener struct{ http.RoundTripper }

// eachAttempt is told of each attempt at what the client makes several of. It may change the request, and have the answer for itself first.
type eachAttempt func(req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error)

type eachAttemptKey struct{}

// RoundTrip is part of http.RoundTripper.
func (l listener) RoundTrip(req *http.Request) (*http.Response, error) {
	if each, ok := req.Context().Value(eachAttemptKey{}).(eachAttempt); ok {
		return each(req, l.RoundTripper.RoundTrip)
	}
	resp, err := l.RoundTripper.RoundTrip(req)
	if h, ok := req.Context().Value(heardKey{}).(*heard); ok && err == nil {
		*h = heard{}
		h.Revision, _ = strconv.ParseUint(resp.Header.Get("Confman-Revision"), 10, 64) // absent: 0
		h.Staleness, err = strconv.ParseFloat(resp.Header.Get("Confman-Staleness"), 64)
		h.Fresh, err = err == nil, nil
		h.Again = resp.Header.Get("Retry-After") != ""
	}
	return resp, err
}
