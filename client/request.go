package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const base = "/api/v1"

// request is one request, however often it is sent.
type request struct {
	method string
	path   string // of the URL, escaped
	query  string
	header http.Header
	body   []byte // nil: none

	// reads: it is of the state, and may have to wait for revision min.
	reads bool
	min   uint64

	// repeatable: a write that may be sent again though its outcome is unknown. keyed: only
	// because it carries an idempotency key, and so not for ever.
	repeatable, keyed bool
	// start is the endpoint to begin with.
	start uint64
	// timeout bounds an attempt; zero: Options.AttemptTimeout.
	timeout time.Duration
	// unbounded: only the context bounds the attempts.
	unbounded bool
	// stream: consume keeps the body and closes it.
	stream bool
	// silence bounds that of a stream; zero: timeout.
	silence time.Duration
	// moved is set by a consume whose answer gave something before it failed: the next
	// attempt begins afresh.
	moved bool
}

// pathOf is the escaped path of a route and a key, or of a subtree with a slash at its end.
func pathOf(route, key string) string {
	return (&url.URL{Path: base + route + "/" + key}).EscapedPath()
}

func (r *request) writes() bool { return r.method != http.MethodGet && r.method != http.MethodHead }

// failure is why an attempt failed.
type failure struct {
	err     error
	outcome Outcome       // of a write; "" of a read
	again   bool          // another attempt may succeed
	settled bool          // outcome is that of all attempts
	wait    time.Duration // no other attempt before; 0: the node did not say
	health  health        // of the endpoint
}

// health is what an attempt tells about the endpoint: whether others should be asked first.
type health int

const (
	unsure health = iota
	good
	bad
)

// do sends r until consume took an answer without an error, or no further attempt
// is allowed. Its error is an *Error.
func (c *Client) do(ctx context.Context, r *request, consume func(*http.Response) error) error {
	result := &Error{}
	if r.writes() {
		result.Outcome = NotApplied
	}
	def(&r.timeout, c.opts.AttemptTimeout)
	backoff := c.opts.MinBackoff
	first := time.Now()
	for {
		for _, ep := range c.endpoints.round(r.start) {
			if err := ctx.Err(); err != nil {
				return result.ended(err)
			}
			if r.keyed && result.Outcome == Unknown && tooOld(first, time.Now()) {
				return result
			}
			result.Endpoint = ep.url
			result.Attempts++
			f := c.attempt(ctx, ep, r, consume)
			if f == nil {
				c.endpoints.answered(ep)
				return nil
			}
			if ctx.Err() == nil || result.Err == nil {
				result.Err = f.err // else what the attempts before met says more
			}
			if f.outcome == Unknown || f.settled {
				result.Outcome = f.outcome
			}
			switch {
			case errors.Is(ctx.Err(), context.Canceled): // says nothing of the endpoint
			case f.health == bad:
				c.endpoints.failed(ep)
			case f.health == good:
				c.endpoints.answered(ep)
			}
			if r.moved {
				r.moved, result.Attempts, backoff = false, 0, c.opts.MinBackoff
				if f.again && ctx.Err() == nil {
					break // the order may be of long ago
				}
			}
			stop := !f.again || f.outcome == Unknown && !r.repeatable
			if stop || c.exhausted(r, result.Attempts) || ctx.Err() != nil || tooLate(ctx, f.wait, r.unbounded) {
				return result
			}
			if f.wait > 0 {
				if err := pauseFor(ctx, f.wait); err != nil {
					return result.ended(err)
				}
			}
		}
		if c.opts.OnRetry != nil {
			c.opts.OnRetry(&Error{result.Endpoint, result.Attempts, result.Outcome, result.Err})
		}
		if err := pause(ctx, backoff); err != nil {
			return result.ended(err)
		}
		backoff = min(2*backoff, c.opts.MaxBackoff)
	}
}

func (c *Client) exhausted(r *request, attempts int) bool {
	return !r.unbounded && c.opts.MaxAttempts > 0 && attempts >= c.opts.MaxAttempts
}

// ended is the error if the context ended between two attempts: what the last one
// met says more than that.
func (e *Error) ended(err error) error {
	if e.Err == nil {
		e.Err = err
	}
	return e
}

// pause waits for half of d to d.
func pause(ctx context.Context, d time.Duration) error {
	return pauseFor(ctx, d/2+rand.N(d/2+1))
}

// tooLate tells whether there is no point in waiting for d: the caller will not.
func tooLate(ctx context.Context, d time.Duration, unbounded bool) bool {
	deadline, ok := ctx.Deadline()
	return d > 0 && (ok && time.Until(deadline) < d || d > MaxRetryAfter && !unbounded)
}

// pauseFor waits for d.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends r to one endpoint, with a token unless that is ""; nil: consume took the answer.
func (c *Client) send(ctx context.Context, ep *endpoint, r *request, token string, consume func(*http.Response) error) *failure {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.timeout, func() { cancel(ErrAttemptTimeout) })
	stop := func() { timer.Stop(); cancel(nil) }
	kept := false
	defer func() {
		if !kept {
			stop()
		}
	}()
	var sent atomic.Bool // the request may have left this process
	req, err := r.build(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}), ep.url, c.SeenRevision())
	if err != nil {
		return &failure{err: err, outcome: r.outcome(false)}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &failure{err: causeOf(ctx, err), outcome: r.outcome(sent.Load()), again: true, health: bad}
	}
	c.observe(resp.Header)
	resp.Body = &body{ReadCloser: resp.Body, ctx: ctx, timer: timer, timeout: cmp.Or(r.silence, r.timeout), stop: stop, stream: r.stream}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		return r.refused(resp)
	}
	if r.stream {
		kept = true
		timer.Stop()
	} else {
		defer resp.Body.Close()
	}
	if err := consume(resp); err != nil {
		if kept {
			_ = resp.Body.Close()
		}
		var p *Problem
		if errors.As(err, &p) { // within a stream
			return &failure{err: err, again: p.Retryable, health: p.health()}
		}
		return &failure{err: err, outcome: r.outcome(true), again: !errors.Is(err, ErrAnswer), health: bad}
	}
	return nil
}

// build makes the request to one endpoint, of a session that has seen a revision.
func (r *request) build(ctx context.Context, endpoint string, seen uint64) (*http.Request, error) {
	target := endpoint + r.path
	separator := "?"
	if r.query != "" {
		target += separator + r.query
		separator = "&"
	}
	if least := max(r.min, seen); r.reads && least > 0 {
		target += separator + "min_revision=" + strconv.FormatUint(least, 10)
	}
	var src io.Reader
	if r.body != nil {
		src = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, src)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	return req, nil
}

// outcome is that of an attempt without a word about it from the node.
func (r *request) outcome(sent bool) Outcome {
	switch {
	case !r.writes():
		return ""
	case sent:
		return Unknown
	}
	return NotApplied
}

// refused reads a problem. What is none comes from something between us and the
// node, and proves nothing about a write.
func (r *request) refused(resp *http.Response) *failure {
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxProblemBytes))
	p := &Problem{}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" || json.Unmarshal(text, p) != nil {
		p = &Problem{Status: resp.StatusCode}
		f := &failure{err: p, outcome: r.outcome(true)}
		switch {
		case p.Status >= http.StatusInternalServerError:
			p.Retryable, f.again, f.health = true, true, bad
		case p.Status == http.StatusTooManyRequests:
			p.Retryable, f.again, f.wait = true, true, retryAfter(resp)
		}
		return f
	}
	p.Status = resp.StatusCode
	f := &failure{err: p, again: p.Retryable, health: p.health()}
	if p.Status == http.StatusTooManyRequests {
		f.wait = retryAfter(resp)
	}
	if r.writes() {
		// Of several transactions the outcome is that of the rest: the write has an effect.
		if f.outcome = p.Outcome; f.outcome != NotApplied || p.AppliedRecords > 0 {
			f.outcome = Unknown
		}
		// The answer that is remembered under a key is that of all attempts with it.
		f.settled = r.keyed && f.outcome == NotApplied && replayed(resp.Header)
		// An unknown outcome is worth another attempt, to a request that may be repeated.
		f.again = f.again || f.outcome == Unknown
	}
	return f
}

// retryAfter is how long a node wants to be left alone by a caller who asked it too often. It is the
// caller who is bounded, so another node is no way around it.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		seconds = 1
	}
	return time.Duration(min(seconds, int(maxTold/time.Second))) * time.Second
}

// health is what the problem tells about the node: it is well if the request is to blame,
// or the cluster. A node that stops, or lags, or is cut off, is not.
func (p *Problem) health() health {
	switch p.Name() {
	case "idempotency-full", "storage-full", "policy-full", "quota", "leadership-lost", "repeated":
		return good
	case "internal":
		return unsure
	}
	if p.Status >= http.StatusInternalServerError {
		return bad
	}
	return good
}

// causeOf prefers the reason for which we gave up to net/http's word for it, and
// takes the URL off, which the caller knows.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrAttemptTimeout) {
		return cause
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		err = fmt.Errorf("%w (CAFile, or --cacert, names whom to trust)", err)
	}
	return err
}

// body is an answer's, which may be as long as it likes but not silent.
type body struct {
	io.ReadCloser
	ctx     context.Context //nolint:containedctx // the attempt's: its cause explains a failed read
	timer   *time.Timer
	timeout time.Duration
	stop    func()
	stream  bool
}

// Read reads some of it.
func (b *body) Read(p []byte) (int, error) {
	if b.stream { // the time between reads is the reader's own
		b.timer.Reset(b.timeout)
		defer b.timer.Stop()
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrBrokenOff, causeOf(b.ctx, err))
	}
	return n, err
}

// Close ends the attempt.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	if b.stream {
		b.stop()
	}
	return err
}

// readJSON reads an answer of at most MaxAnswerBytes into v.
func readJSON(resp *http.Response, v any) error { return readJSONUpTo(resp, v, MaxAnswerBytes) }

func readJSONUpTo(resp *http.Response, v any, limit int64) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > limit {
		return fmt.Errorf("%w: it has more than %d bytes", ErrAnswer, limit)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}
