package sim

import (
	"fmt"
	"time"
)

// terms hold replicated time against the world's: of a term no more passes than its leader
// has led, and of all no more than there has been a leader. A leader measures on its own clock,
// which may be fast by the drift that all are allowed, and from the tick before it was elected.
type terms struct {
	first   int64            // when the first leader was elected; -1: none was
	elected map[uint64]int64 // by term
	passed  map[uint64]time.Duration
	total   time.Duration
}

func (t *terms) init() {
	t.first = -1
	t.elected, t.passed = map[uint64]int64{}, map[uint64]time.Duration{}
}

func (t *terms) begins(term uint64, now int64) {
	t.elected[term] = now
	if t.first < 0 {
		t.first = now
	}
}

// passes: a Maintenance of a term lets time pass.
func (t *terms) passes(term uint64, elapsed time.Duration, w *World) error {
	elected, known := t.elected[term]
	if !known {
		return fmt.Errorf("time passes in term %d, which had no leader", term)
	}
	t.passed[term] += elapsed
	t.total += elapsed
	led := w.now - elected
	late := w.nodes[0].tickInterval()*3/2 + w.setup.loopTime // the rate of a clock may change within a tick
	switch {
	case elapsed < 0:
		return fmt.Errorf("replicated time goes back by %v", -elapsed)
	case t.passed[term] > w.measured(led, late):
		return fmt.Errorf("replicated time is ahead of true time: in term %d %v have passed, and its leader was elected %v ago", term, t.passed[term], time.Duration(led))
	}
	all := w.now - t.first
	if t.total > w.measured(all, late*time.Duration(len(t.passed))) {
		return fmt.Errorf("replicated time is ahead of true time: it is %v, and the first leader was elected %v ago", t.total, time.Duration(all))
	}
	return nil
}

// measured is the most that a node's clock measures in d of true time, and late of its own.
func (w *World) measured(d int64, late time.Duration) time.Duration {
	drift := max(w.setup.drift, 1)
	return time.Duration(d+(d/1_000_000+1)*drift) + late
}
