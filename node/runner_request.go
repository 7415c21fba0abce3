package node

import (
	"context"
	"sync"
	"time"

	"github.com/confman/confman/fsm"
)

// waiters that nobody else holds any more.
var waiterPool = sync.Pool{New: func() any {
	w := &waiter{answer: make(chan answer, 1), end: time.NewTimer(0)}
	w.end.Stop()
	return w
}}

// Propose encodes cmd, has it applied, and returns its result once this node has
// applied it. ctx bounds the wait; with no deadline, MaxWriteWait does. A
// failure is a *WriteError, or an error of cmd.Encode (then nothing was proposed).
//
// If ctx ends first the outcome is Unknown; but a deadline that is more than a few
// ticks away is given to the core a little earlier, so that it says what is known.
// See [WithStages] for where the time went.
func (r *Runner) Propose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error) {
	since := time.Now()
	res, err := r.encodeAndPropose(ctx, cmd)
	r.meter.proposed(time.Since(since), err)
	return res, err
}

func (r *Runner) encodeAndPropose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error) {
	m := r.member.Load()
	if m == nil {
		return fsm.Result{}, r.notApplied(r.notYet())
	}
	// A version that rises meanwhile is no matter: older commands are known for ever.
	command, err := cmd.EncodeAs(m.version())
	if err != nil {
		return fsm.Result{}, err
	}
	res, err := r.propose(ctx, m, cmd, command)
	if err != nil {
		r.room.noteRefused(err)
	}
	return res, err
}

// propose is Propose of an encoded command.
func (r *Runner) propose(ctx context.Context, m *member, cmd *fsm.Command, command []byte) (fsm.Result, error) {
	if err := ctx.Err(); err != nil {
		return fsm.Result{}, r.notApplied(err)
	}
	if g := growthOf(cmd); g != noGrowth {
		size := int64(len(command))
		defer r.room.growing.Add(-size)
		if err := r.admit(m, cmd, g, r.room.growing.Add(size)); err != nil {
			return fsm.Result{}, r.notApplied(err)
		}
	}
	w := newWaiter(true)
	t := &timed{Stages: Stages{Accepted: time.Now()}}
	w.timed = t
	if err := r.inbox.request(w, command, r.deadline(ctx, MaxWriteWait)); err != nil {
		return fsm.Result{}, r.notApplied(err)
	}
	a, err := w.wait(ctx)
	if err != nil {
		return fsm.Result{}, &WriteError{Outcome: Unknown, Leader: r.Leader(), Err: err}
	}
	r.meter.passed(&t.Stages)
	if stages, _ := ctx.Value(stagesKey{}).(*Stages); stages != nil {
		*stages = t.Stages
	}
	return a.result, a.err
}

// Linearize returns once a view taken from this node holds every write
// acknowledged anywhere before the call. ctx bounds the wait; with no deadline,
// MaxReadWait does. Errors: ErrNoQuorum, ErrOverloaded, ErrForming, ErrStopped, ctx's.
func (r *Runner) Linearize(ctx context.Context) error {
	since := time.Now()
	err := r.linearize(ctx)
	r.meter.read.Observe(time.Since(since))
	r.meter.reads.add(err)
	return err
}

func (r *Runner) linearize(ctx context.Context) error {
	if r.member.Load() == nil {
		return r.notYet()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := newWaiter(false)
	if err := r.inbox.request(w, nil, r.deadline(ctx, MaxReadWait)); err != nil {
		return err
	}
	a, err := w.wait(ctx)
	if err != nil {
		return err
	}
	return a.err
}

func newWaiter(write bool) *waiter {
	w := waiterPool.Get().(*waiter)
	w.write, w.timed = write, nil
	return w
}

// wait returns the answer, or why ctx ended before it: also one that only has a deadline, and no timer
// of its own. The waiter goes back to the pool with its answer; without, the loop still holds it.
//
// The core answers by the deadline. But the loop that it runs on can stand still, in a read of a log whose disk hangs.
func (w *waiter) wait(ctx context.Context) (answer, error) {
	var end <-chan time.Time
	if at, ok := ctx.Deadline(); ok {
		w.end.Reset(time.Until(at))
		end = w.end.C
	}
	var (
		a   answer
		err error
	)
	select {
	case a = <-w.answer:
	case <-ctx.Done():
		err = ctx.Err()
	case <-end:
		err = context.DeadlineExceeded
	}
	if err != nil {
		select {
		case a = <-w.answer:
		default:
			return answer{}, err
		}
	}
	// Before somebody else has it.
	w.end.Stop()
	waiterPool.Put(w)
	return a, nil
}

// deadline is ctx's on the core's clock, a few ticks earlier if there is time
// for that; or wait from now.
func (r *Runner) deadline(ctx context.Context, wait time.Duration) time.Duration {
	now := r.aboutBootTime()
	at, ok := ctx.Deadline()
	if !ok {
		return now + wait
	}
	left := time.Until(at)
	return now + left - min(answerTicks*r.cfg.TickInterval, left/2)
}

// notYet is why a node that has no core takes no requests.
func (r *Runner) notYet() error {
	if r.stopping() {
		return ErrStopped
	}
	return ErrForming
}

func (r *Runner) notApplied(err error) *WriteError {
	return &WriteError{Outcome: NotApplied, Leader: r.Leader(), Err: err}
}

// Leader is the raft id of the leader, 0 if none is known: that of Status, for less.
func (r *Runner) Leader() uint64 {
	if st := r.status.Load(); st != nil {
		return st.Leader
	}
	return 0
}
