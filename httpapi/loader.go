package httpapi

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// loader proposes an import's records in transactions, up to MaxImportInFlight
// at a time. Two records of one key are never in flight together: the later wins.
type loader struct {
	c        *call
	control  *http.ResponseController
	patience time.Duration // of the client, after each transaction
	base     fsm.Command   // what the transactions have in common
	next     chunk
	inFlight []flight // oldest first

	applied, changed, transactions int
	removed                        int          // of changed: deletes
	revision                       fsm.Revision // the newest of the transactions
	outcome                        node.Outcome // of what failed, if anything did
	err                            error        // the first failure
}

// chunk is the operations of one transaction.
type chunk struct {
	ops  []fsm.Op
	keys map[string]struct{}
	size int
}

// flight is a transaction being replicated.
type flight struct {
	chunk
	done <-chan settled
}

// settled is what became of a transaction.
type settled struct {
	res fsm.Result
	err error
}

func newLoader(c *call, base *fsm.Command) *loader {
	return &loader{c: c, control: http.NewResponseController(c.w), patience: TransferTimeout + WriteWait, base: *base}
}

// add takes an operation; the loader keeps its value until it is settled.
// An error says that one of those before it failed.
func (l *loader) add(op fsm.Op) error {
	size := len(op.Key) + len(op.Value) + len(op.ContentType)
	if len(l.next.ops) == MaxImportOps || l.next.size > 0 && l.next.size+size > MaxImportBytes {
		if err := l.launch(); err != nil {
			return err
		}
	}
	if l.flies(op.Key) {
		if err := l.drain(); err != nil {
			return err
		}
	}
	if l.next.keys == nil {
		l.next.keys = make(map[string]struct{}, MaxImportOps)
		l.next.ops = make([]fsm.Op, 0, MaxImportOps)
	}
	l.next.ops = append(l.next.ops, op)
	l.next.keys[op.Key] = struct{}{}
	l.next.size += size
	return nil
}

// flies tells whether a key is in a transaction that is not settled yet.
func (l *loader) flies(key string) bool {
	if _, ok := l.next.keys[key]; ok {
		return true
	}
	for _, f := range l.inFlight {
		if _, ok := f.keys[key]; ok {
			return true
		}
	}
	return false
}

// launch proposes the next chunk, waiting for the oldest in flight if there are too many.
func (l *loader) launch() error {
	if len(l.inFlight) == MaxImportInFlight {
		l.settle()
	}
	if l.err != nil || len(l.next.ops) == 0 {
		return l.err
	}
	cmd := l.base
	cmd.Ops = l.next.ops
	done := make(chan settled, 1)
	l.inFlight = append(l.inFlight, flight{l.next, done})
	l.next = chunk{}
	l.transactions++
	l.c.proposed = true
	go func() { done <- l.propose(&cmd) }()
	return nil
}

// propose has cmd applied. A panic here would end the process: nothing above
// this goroutine recovers.
func (l *loader) propose(cmd *fsm.Command) (s settled) {
	defer func() {
		if cause := recover(); cause != nil {
			p := internal(fmt.Errorf("httpapi: panic in a proposal: %v\n%s", cause, debug.Stack()))
			p.outcome = node.Unknown
			s.err = p
		}
	}()
	s.res, s.err = l.c.write(cmd)
	return s
}

// settle waits for the oldest transaction in flight.
func (l *loader) settle() {
	f := l.inFlight[0]
	l.inFlight = l.inFlight[1:]
	s := <-f.done
	_ = l.control.SetWriteDeadline(l.c.api.Now().Add(l.patience))
	if s.err != nil {
		if l.err == nil {
			l.err = s.err
		}
		l.outcome = max(l.outcome, outcomeOf(s.err)) // Unknown is the greatest
		return
	}
	l.applied += len(f.ops)
	for i := range s.res.Ops {
		if s.res.Ops[i].Changed {
			l.changed++
			if f.ops[i].Kind == fsm.Delete {
				l.removed++
			}
		}
	}
	l.revision = max(l.revision, s.res.Revision)
}

// drain proposes what there is and waits until all is settled.
func (l *loader) drain() error {
	_ = l.launch()
	l.settleAll()
	return l.err
}

func (l *loader) settleAll() {
	for len(l.inFlight) > 0 {
		l.settle()
	}
}

// finish ends the import, err being why the source ended, or nil. It waits for
// every transaction, so that the count of what was applied is exact.
func (l *loader) finish(err error) error {
	if err != nil {
		l.next = chunk{}
	}
	failed := l.drain()
	if err == nil || failed != nil {
		err = failed // the source may have ended because of it
	}
	if err == nil {
		return nil
	}
	return &importError{applied: l.applied, outcome: max(l.outcome, node.NotApplied), err: err}
}
