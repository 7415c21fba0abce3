package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Outcome is what became of a write that failed.
type Outcome string

const (
	// NotApplied says that the write has no effect and never will.
	NotApplied Outcome = "not_applied"
	// Unknown says that the write may have been applied, or may still be; or that it was in part,
	// if it takes several transactions: see Problem.AppliedRecords.
	Unknown Outcome = "unknown"
)

// Error is a request that failed.
type Error struct {
	// Endpoint is the node that was asked last, Attempts how often one was asked.
	Endpoint string
	Attempts int
	// Outcome is what became of a write, over all attempts; "" for a read.
	Outcome Outcome
	// Err is a *Problem if the node answered, else what kept it from it.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Endpoint != "" {
		b.WriteString(e.Endpoint)
		b.WriteString(": ")
	}
	b.WriteString(e.Err.Error())
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (after %d attempts)", e.Attempts)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// RequestError is a request that no node would take: nothing was sent. See also KeyError.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return e.Reason }

// Problem is an error as a node answers it (RFC 9457).
type Problem struct {
	// Type is urn:confman:problem: and the name.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Instance holds the request's id, under which the node's log has more.
	Instance string `json:"instance"`
	// Outcome is what became of this attempt of a write; "" for a read.
	Outcome Outcome `json:"outcome"`
	// Retryable: the same request may succeed later or at another node.
	Retryable bool `json:"retryable"`
	// Leader is the name of the node that leads, "" if none is known.
	Leader string `json:"leader"`
	// CurrentRevision is the key's when a condition failed; 0: it has no value.
	CurrentRevision uint64 `json:"current_revision"`
	// OldestRevision is the oldest that can still be read, of a compacted history.
	OldestRevision uint64 `json:"oldest_revision"`
	// AppliedRecords is how many records of a failed import, or of a chunked removal or rollback,
	// surely were applied; Outcome is that of the others.
	AppliedRecords int `json:"applied_records"`
}

// Name is the type without what all types begin with.
func (p *Problem) Name() string { return strings.TrimPrefix(p.Type, "urn:confman:problem:") }

func (p *Problem) Error() string {
	switch {
	case p.Detail != "":
		return fmt.Sprintf("%s (%s)", p.Detail, p.Name())
	case p.Title != "":
		return fmt.Sprintf("%s (%s)", p.Title, p.Name())
	}
	return fmt.Sprintf("HTTP status %d %s", p.Status, http.StatusText(p.Status))
}

// Errors that this package finds itself.
var (
	// ErrAttemptTimeout: no answer came, or a stream fell silent, for Options.AttemptTimeout.
	ErrAttemptTimeout = errors.New("no answer in time")
	// ErrAnswer: the answer is not one that a node of this version gives.
	ErrAnswer = errors.New("answer is not one of a confman node")
	// ErrToken: Options.Token gave none that can be sent.
	ErrToken = errors.New("no token to send")
	// ErrBrokenOff: a stream ended before its end.
	ErrBrokenOff = errors.New("stream broke off")
)

// OutcomeOf is what became of a write that failed with err; "" if err is not one
// of a write.
func OutcomeOf(err error) Outcome {
	var e *Error
	if errors.As(err, &e) {
		return e.Outcome
	}
	return ""
}

// IsNotFound tells whether err says that there is no such key or subtree.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsConflict tells whether err says that a condition of the request did not hold.
func IsConflict(err error) bool {
	return hasStatus(err, http.StatusPreconditionFailed) || hasStatus(err, http.StatusConflict) && !IsRevisionLost(err)
}

// IsRevisionLost tells whether err says that the revision in ReadOptions.MinRevision, or that the session
// saw, was lost: the cluster was restored from a backup. A session goes on from what there is now.
func IsRevisionLost(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Name() == "revision-lost"
}

// IsUnauthenticated tells whether err says that the node cannot tell who calls: there is neither a
// token nor a client certificate that it takes.
func IsUnauthenticated(err error) bool { return hasStatus(err, http.StatusUnauthorized) }

// IsForbidden tells whether err says that the caller may not do what it asked for.
func IsForbidden(err error) bool { return hasStatus(err, http.StatusForbidden) }

// IsCompacted tells whether err says that what was asked for is so long ago that it is not
// held any more, and which revision is the oldest that still can be read.
func IsCompacted(err error) (oldest uint64, ok bool) {
	var p *Problem
	if !errors.As(err, &p) || p.Name() != "compacted" {
		return 0, false
	}
	return p.OldestRevision, true
}

// IsUnavailable tells whether err says that no node could do what was asked, but
// one may later.
func IsUnavailable(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	var p *Problem
	if errors.As(err, &p) {
		return p.Retryable || p.Status >= http.StatusInternalServerError
	}
	return !errors.Is(err, ErrAnswer) && !errors.Is(err, ErrToken)
}

func hasStatus(err error, status int) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == status
}
