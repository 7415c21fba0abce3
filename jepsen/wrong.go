package jepsen

import (
	"context"
	"time"

	"github.com/confman/confman/linearizability"
)

// Wrong is what one judge found wrong.
type Wrong struct{ Judge, Text string }

func (w Wrong) String() string { return w.Judge + ": " + w.Text }

// The judges of a run beside those of package linearizability and of the workloads, which are called as the workloads are.
const (
	// Liveness: when nothing is broken any more, all nodes serve, and all that was written can be read.
	Liveness = "liveness"
	// Stops: no process ends by itself, unless a fault gives it a reason to, and none says that it has a bug.
	Stops = "stop"
	// Replicas: no node finds that its state is not that of the others, or damaged, unless its disk was.
	Replicas = "replica"
	// Disks: a node that lost its disk does not take part, nor one of which a sync failed.
	Disks = "disk"
	// Log: the change log has nothing but what was asked for.
	Log = "log"
	// Script: what a scenario demands holds.
	Script = "script"
)

// judgeEvery is how often a run that ends at the first violation is judged while it lasts: each time costs what all that
// was recorded so far costs.
const judgeEvery = 2 * time.Second

// judge says what is wrong with what was recorded so far, as far as the judges of histories and the workloads see. It may be wrong about the
// end of what was recorded only in that it does not see something yet.
func (r *Run) judge() []Wrong {
	h, _ := r.history()
	wrong := wrongOf(linearizability.Check(&h, time.Second))
	for i, w := range r.loads {
		if err := w.Judge(&h); err != nil {
			wrong = append(wrong, Wrong{r.nameOf(i), err.Error()})
		}
	}
	return append(wrong, r.ended()...)
}

// watchFor ends the stress when something is found wrong.
func (r *Run) watchFor(ctx context.Context, end context.CancelFunc) {
	for pause(ctx, judgeEvery) {
		if wrong := r.judge(); len(wrong) > 0 {
			r.Log("%s", wrong[0])
			r.mu.Lock()
			r.wrong, r.wrongAt = wrong, time.Now()
			r.mu.Unlock()
			end()
			return
		}
	}
}

func wrongOf(v linearizability.Verdict) (wrong []Wrong) {
	for i := range v {
		if f := &v[i]; f.Violation != nil {
			wrong = append(wrong, Wrong{f.Judge, f.Violation.Text})
		}
	}
	return wrong
}

// blame is what is wrong beyond what was recorded.
type blame struct {
	judge string
	err   error
}

// blame notes a violation that a nemesis saw, or the end of a process.
func (r *Run) blame(judge string, err error) {
	r.Log("%v", err)
	r.mu.Lock()
	r.blames = append(r.blames, blame{judge, err})
	r.mu.Unlock()
}

func (r *Run) ended() (wrong []Wrong) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.blames {
		wrong = append(wrong, Wrong{b.judge, b.err.Error()})
	}
	return wrong
}
