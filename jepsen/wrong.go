package jepsen

import (
	"context"
	"fmt"
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
	// Stops: no node ends that no fault has to itself.
	Stops = "stop"
	// Log: the change log has nothing but what was asked for.
	Log = "log"
	// Script: what a scenario demands holds.
	Script = "script"
)

// judgeEvery is how often a run that ends at the first violation is judged while it lasts: each time costs what all that
// was recorded so far costs.
const judgeEvery = 2 * time.Second

// judge says what is wrong with what was recorded so far, as far as the judges of histories see. It may be wrong about the
// end of what was recorded only in that it does not see something yet.
func (r *Run) judge() []Wrong {
	h, _ := r.history()
	v := linearizability.Check(&h, time.Second)
	return append(wrongOf(v), r.ended()...)
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

// runsAll notes which nodes have ended though no fault has them to itself.
func (r *Run) runsAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.members {
		if !r.claimed[name] && !r.Ground.Runs(name) {
			r.stopped[name] = true
		}
	}
}

func (r *Run) ended() (wrong []Wrong) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range sortedKeys(r.stopped) {
		wrong = append(wrong, Wrong{Stops, fmt.Sprintf("%s ended by itself", name)})
	}
	return wrong
}
