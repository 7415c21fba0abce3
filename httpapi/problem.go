package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/node"
)

// kind is what all problems of one type have in common.
type kind struct {
	name      string // the type is urn:confman:problem:<name>
	title     string
	status    int
	retryable bool // the same request may succeed later or at another node
}

// The problems, as docs and clients know them. A name is never used for another.
var (
	kindInvalidPath      = kind{"invalid-path", "The path is not a key", http.StatusBadRequest, false}
	kindInvalidParameter = kind{"invalid-parameter", "A query parameter is wrong", http.StatusBadRequest, false}
	kindInvalidCursor    = kind{"invalid-cursor", "The cursor does not fit the query", http.StatusBadRequest, false}
	kindInvalidHeader    = kind{"invalid-header", "A header is wrong", http.StatusBadRequest, false}
	kindInvalidCondition = kind{"invalid-condition", "The condition cannot be checked", http.StatusBadRequest, false}
	kindInvalidBody      = kind{"invalid-body", "The body is not what it says it is", http.StatusBadRequest, false}
	kindIncompleteBody   = kind{"incomplete-body", "The body ended early", http.StatusBadRequest, true}
	kindSubtree          = kind{"subtree", "The path names a subtree", http.StatusBadRequest, false}
	kindFutureRevision   = kind{"future-revision", "There is no such revision yet", http.StatusBadRequest, false}
	kindUnauthenticated  = kind{"unauthenticated", "It cannot be told who calls", http.StatusUnauthorized, false}
	kindNoPermission     = kind{"no-permission", "The caller's token lets it do nothing here", http.StatusForbidden, false}
	kindForbidden        = kind{"forbidden", "The caller may not do that", http.StatusForbidden, false}
	kindForeignOrigin    = kind{"foreign-origin", "Pages of this origin may not write", http.StatusForbidden, false}
	kindNotFound         = kind{"not-found", "There is no such key", http.StatusNotFound, false}
	kindNoRoute          = kind{"no-route", "There is no such resource", http.StatusNotFound, false}
	kindMethodNotAllowed = kind{"method-not-allowed", "The resource does not take this method", http.StatusMethodNotAllowed, false}
	kindNotAcceptable    = kind{"not-acceptable", "The resource has no such representation", http.StatusNotAcceptable, false}
	kindBodyTimeout      = kind{"body-timeout", "The body arrived too slowly", http.StatusRequestTimeout, true}
	kindCompareFailed    = kind{"precondition-failed", "The key is not as the condition demands", http.StatusPreconditionFailed, false}
	kindCompacted        = kind{"compacted", "The history does not go back so far", http.StatusGone, false}
	kindKeyReused        = kind{"idempotency-key-reused", "The idempotency key is that of another request", http.StatusUnprocessableEntity, false}
	kindIdempotencyFull  = kind{"idempotency-full", "Too many idempotency keys are remembered", http.StatusServiceUnavailable, true}
	kindPatchConflict    = kind{"patch-conflict", "The patch does not fit the value", http.StatusConflict, false}
	kindRevisionLost     = kind{"revision-lost", "The revision was lost in a restore", http.StatusConflict, false}
	kindContended        = kind{"contended", "Others changed the key all the time", http.StatusConflict, true}
	kindSelfDenied       = kind{"self-denied", "The list of those denied would have you on it", http.StatusConflict, false}
	kindLastAdmin        = kind{"last-admin", "Nobody would administer the cluster any more", http.StatusConflict, false}
	kindRoleInUse        = kind{"role-in-use", "The role is bound somewhere", http.StatusConflict, false}
	kindMemberExists     = kind{"member-exists", "There is a member of that name", http.StatusConflict, false}
	kindUnknownMember    = kind{"unknown-member", "There is no such member", http.StatusNotFound, false}
	kindMemberPending    = kind{"member-pending", "The member is being replaced already", http.StatusConflict, false}
	kindFewerFailures    = kind{"fewer-failures", "Fewer voters could fail", http.StatusConflict, false}
	kindVersionUnknown   = kind{"version-unknown", "A member does not know the version", http.StatusConflict, false}
	kindUnknownRole      = kind{"unknown-role", "There is no such role", http.StatusUnprocessableEntity, false}
	kindTooLarge         = kind{"too-large", "The request exceeds a limit", http.StatusRequestEntityTooLarge, false}
	kindSubtreeTooLarge  = kind{"subtree-too-large", "The subtree is too large for one transaction", http.StatusRequestEntityTooLarge, false}
	kindMisdirectedHost  = kind{"misdirected-host", "The node is not the host that was asked for", http.StatusMisdirectedRequest, false}
	kindNotLeader        = kind{"not-leader", "Only the leader can do that", http.StatusMisdirectedRequest, true}
	kindUnsupportedMedia = kind{"unsupported-media-type", "The body's type is not taken here", http.StatusUnsupportedMediaType, false}
	kindRateLimited      = kind{"rate-limited", "The caller makes too many requests", http.StatusTooManyRequests, true}
	kindOverloaded       = kind{"overloaded", "Too much is in flight", http.StatusServiceUnavailable, true}
	kindTooManyWatchers  = kind{"too-many-watchers", "The node has as many watchers as it takes", http.StatusServiceUnavailable, true}
	kindKeysUnavailable  = kind{"keys-unavailable", "The issuer of the token cannot be asked", http.StatusServiceUnavailable, true}
	kindNoQuorum         = kind{"no-quorum", "No quorum answered in time", http.StatusServiceUnavailable, true}
	kindForming          = kind{"forming", "The cluster is not formed yet", http.StatusServiceUnavailable, true}
	kindStopping         = kind{"stopping", "The node is stopping", http.StatusServiceUnavailable, true}
	kindStaleness        = kind{"staleness-bound", "The state may be older than allowed", http.StatusServiceUnavailable, true}
	kindBehind           = kind{"behind", "The node has not applied the revision yet", http.StatusServiceUnavailable, true}
	kindRebuilding       = kind{"rebuilding", "The database of this node is being rebuilt", http.StatusServiceUnavailable, true}
	kindOvertaken        = kind{"overtaken", "The node was brought up to date during the write", http.StatusServiceUnavailable, true}
	kindLeadershipLost   = kind{"leadership-lost", "The leader changed during the write", http.StatusServiceUnavailable, true}
	kindNotHandedOver    = kind{"not-handed-over", "No other node took over in time", http.StatusServiceUnavailable, true}
	kindRepeated         = kind{"repeated", "The write was seen before and its result is no longer known", http.StatusServiceUnavailable, true}
	kindNotReady         = kind{"not-ready", "The node should get no requests", http.StatusServiceUnavailable, true}
	kindCanceled         = kind{"canceled", "The client closed the request", http.StatusServiceUnavailable, true}
	kindDamaged          = kind{"damaged", "The data of this node is damaged", http.StatusInternalServerError, true}
	kindInternal         = kind{"internal", "The node has a bug", http.StatusInternalServerError, false}
	kindStorageFull      = kind{"storage-full", "The disk is full", http.StatusInsufficientStorage, true}
	kindQuota            = kind{"quota", "The store has reached its quota", http.StatusInsufficientStorage, false}
	kindMembersFull      = kind{"members-full", "There are as many members as there can be", http.StatusInsufficientStorage, false}
	kindPolicyFull       = kind{"policy-full", "There are as many namespaces as there can be", http.StatusInsufficientStorage, false}
)

// problem is an error as a client sees it.
type problem struct {
	kind
	detail  string
	outcome node.Outcome  // zero: not a write, or one that was refused before it was proposed
	leader  uint64        // raft id of the node to try, as the error said; 0: it did not
	after   time.Duration // when to ask again; 0: no more is known than the status says
	members []member
	cause   error // for the log; never shown
}

// member is a fact of one kind of problem.
type member struct {
	name string
	json string
}

func (p *problem) Error() string { return p.name + ": " + p.detail }

// Unwrap returns what was behind the problem, if anything.
func (p *problem) Unwrap() error { return p.cause }

func problemf(k kind, format string, args ...any) *problem {
	return &problem{kind: k, detail: fmt.Sprintf(format, args...)}
}

// with adds a member; a Go string becomes a JSON string.
func (p *problem) with(name string, value any) *problem {
	var b []byte
	switch v := value.(type) {
	case string:
		b = appendString(nil, strings.ToValidUTF8(v, "\ufffd"))
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		b = append(b, ']')
	case int:
		b = strconv.AppendInt(b, int64(v), 10)
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case uint64:
		b = strconv.AppendUint(b, v, 10)
	default:
		panic(fmt.Sprintf("httpapi: member %s is a %T", name, value))
	}
	p.members = append(p.members, member{name, string(b)})
	return p
}

func invalidParameter(name, reason string) *problem {
	return problemf(kindInvalidParameter, "parameter %q %s", name, reason).with("parameter", name)
}

func invalidHeader(name, reason string) *problem {
	return problemf(kindInvalidHeader, "%s %s", name, reason).with("header", name)
}

func tooLarge(what string, limit int64) *problem {
	return problemf(kindTooLarge, "%s has more than %d bytes", what, limit).with("limit", limit)
}

// appendJSON appends the problem document.
func (p *problem) appendJSON(b []byte, requestID, leader string, outcome node.Outcome) []byte {
	b = append(b, `{"type":"urn:confman:problem:`...)
	b = append(b, p.name...)
	b = append(b, `","title":`...)
	b = appendString(b, p.title)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(p.status), 10)
	b = append(b, `,"detail":`...)
	b = appendString(b, strings.ToValidUTF8(p.detail, "\ufffd"))
	b = append(b, `,"instance":`...)
	b = appendString(b, "urn:confman:request:"+requestID)
	if outcome != 0 {
		b = append(b, `,"outcome":`...)
		b = appendString(b, outcome.String())
	}
	b = append(b, `,"retryable":`...)
	b = strconv.AppendBool(b, p.retryable)
	if leader != "" {
		b = append(b, `,"leader":`...)
		b = appendString(b, leader)
	}
	for _, m := range p.members {
		b = append(b, ',')
		b = appendString(b, m.name)
		b = append(b, ':')
		b = append(b, m.json...)
	}
	return append(b, '}', '\n')
}
