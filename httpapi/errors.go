package httpapi

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// problemOf says what a client is told about err. It is the only place where
// errors become problems.
func problemOf(err error) *problem {
	p := causeOf(err)
	var (
		we *node.WriteError
		ie *importError
	)
	if errors.As(err, &we) {
		p.outcome, p.leader = we.Outcome, we.Leader
	}
	if errors.As(err, &ie) {
		return ie.problem(p)
	}
	return p
}

func causeOf(err error) *problem {
	var (
		p       *problem
		tooLong *http.MaxBytesError
		key     *fsm.KeyError
		limit   *fsm.LimitError
		old     *fsm.CompactedError
		refused *auth.Error
		quota   *node.QuotaError
	)
	switch {
	case errors.As(err, &p):
		c := *p
		return &c
	case errors.As(err, &refused):
		return notLetIn(refused)
	case errors.As(err, &tooLong):
		return tooLarge("body", tooLong.Limit)
	case errors.As(err, &key):
		return invalidKey(key)
	case errors.As(err, &limit):
		return problemf(kindTooLarge, "%s: %d, at most %d", limit.What, limit.Got, limit.Max).with("limit", limit.Max)
	case errors.As(err, &old):
		if old.Gap != (fsm.Gap{}) {
			return lostInGap(old.Gap)
		}
		return compacted(old.Floor)
	case errors.Is(err, fsm.ErrFuture):
		return problemf(kindFutureRevision, "there is no revision %s", strings.TrimPrefix(err.Error(), fsm.ErrFuture.Error()+": "))
	case errors.Is(err, node.ErrOverloaded):
		return problemf(kindOverloaded, "the queue of this node or of the leader is full")
	case errors.Is(err, node.ErrBackupUnderWay):
		return problemf(kindOverloaded, "this node makes a backup for somebody else, and does one at a time; ask another node, or again")
	case errors.Is(err, node.ErrTooManyWatchers):
		return problemf(kindTooManyWatchers, "this node has %d watchers, the most it takes; ask another one", node.MaxWatchers).with("limit", node.MaxWatchers)
	case errors.Is(err, node.ErrNoQuorum):
		return problemf(kindNoQuorum, "no leader is known here, or it does not reach a majority of the nodes")
	case errors.Is(err, node.ErrForming):
		return problemf(kindForming, "the configured nodes have not all met yet")
	case errors.Is(err, node.ErrStopped):
		return problemf(kindStopping, "the node is stopping; ask another one")
	case errors.Is(err, node.ErrStorageFull):
		return problemf(kindStorageFull, "the disk of this node or of the leader is full, or has less free space than Data.MinFreeBytes: it takes no writes until there is more")
	case errors.As(err, &quota):
		return problemf(kindQuota, "%d bytes of this node's store are in use, of %d that it may have (Data.StoreQuotaBytes): only what does not make it larger is taken. "+
			"Delete what is not needed; it makes room once the history does not keep it any more (History.KeepFor, KeepVersions). Or raise the quota, on all nodes", quota.Used, quota.Quota).
			with("used_bytes", quota.Used).with("quota_bytes", quota.Quota)
	case errors.Is(err, node.ErrLost):
		return problemf(kindLeadershipLost, "another leader's entry took the write's place in the log")
	case errors.Is(err, node.ErrOvertaken):
		return problemf(kindOvertaken, "this node was brought up to date by another's state while the write was on its way")
	case errors.Is(err, node.ErrRebuilding):
		return problemf(kindRebuilding, "this node's database was damaged and is being replaced by another node's; ask another node")
	case errors.Is(err, node.ErrRepeated):
		return problemf(kindRepeated, "the store had seen the write before")
	case errors.Is(err, node.ErrUndecodable):
		return internal(err)
	case errors.Is(err, fsm.ErrDamaged):
		p = problemf(kindDamaged, "what this node's database holds is not what was written; ask another node")
		p.cause = err
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problemf(kindBodyTimeout, "no more of the body arrived within %v", TransferTimeout)
	case errors.Is(err, context.DeadlineExceeded):
		return problemf(kindNoQuorum, "no quorum answered within the time a request has")
	case errors.Is(err, context.Canceled):
		return problemf(kindCanceled, "the request was given up before it was answered")
	}
	return internal(err)
}

// compacted is a question about what is not held any more. From the floor on it can be asked.
func compacted(floor fsm.Revision) *problem {
	return problemf(kindCompacted, "what was asked for was compacted: it can be read from revision %d on", floor).
		with("oldest_revision", uint64(floor))
}

// lostInGap is a question about a revision that a restore skipped: what is remembered by its number is lost.
func lostInGap(g fsm.Gap) *problem {
	return problemf(kindCompacted, "the cluster was restored from a backup: after revision %d comes %d, and what another revision between them was is lost", g.From, g.To).
		with("oldest_revision", uint64(g.To))
}

// internal hides err from the client; the log has it under the request's id.
func internal(err error) *problem {
	p := problemf(kindInternal, "the log of this node tells more, under the request's id")
	p.cause = err
	return p
}
