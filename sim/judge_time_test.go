package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// TestAnswersExpire: in a world that lasts longer than idempotency keys are remembered they are
// forgotten, by replicated time that was measured honestly, and not before.
func TestAnswersExpire(t *testing.T) {
	o := Options{Seed: 1, Time: 25 * time.Minute, Mix: Uniform, Nodes: 3, Clients: 1}
	result, err := Run(o)
	require.NoError(t, err)
	assert.Positive(t, result.Fired["answers expired"])
	assert.Positive(t, result.Fired["answer replayed"])
}

// TestTimeIsJudged: what a leader cannot have measured is found, in its term and over all.
func TestTimeIsJudged(t *testing.T) {
	w := running(t, 3)
	second := int64(time.Second)
	var terms terms
	terms.init()
	terms.begins(1, w.now-4*second)
	terms.begins(2, w.now-2*second)
	require.NoError(t, terms.passes(1, 2*time.Second, w))
	require.NoError(t, terms.passes(2, 2*time.Second, w))
	require.ErrorContains(t, terms.passes(2, time.Second, w), "in term 2 3s have passed, and its leader was elected 2s ago")
	terms.begins(3, w.now-2*second)
	require.ErrorContains(t, terms.passes(3, time.Second, w), "it is 6s, and the first leader was elected 4s ago")
	require.ErrorContains(t, terms.passes(4, time.Second, w), "had no leader")
	assert.ErrorContains(t, terms.passes(1, -time.Second, w), "goes back")
}

// TestAnswersAreJudged: an answer that is not remembered, or another one, is found in the end.
func TestAnswersAreJudged(t *testing.T) {
	w := running(t, 3)
	m := &w.judge.model.answers
	require.NotEmpty(t, m.of)
	r := w.nodes[0]
	view, err := r.db.View()
	require.NoError(t, err)
	defer view.Close()
	w.run(w.now) // what is due now
	was := *m
	for name, spoil := range map[string]func(a *modelAnswer){
		"another revision": func(a *modelAnswer) { a.result.revision++ },
		"another outcome":  func(a *modelAnswer) { a.result.outcome = fsm.KeyReused },
		"another request":  func(a *modelAnswer) { a.request[0] ^= 1 },
	} {
		*m = newAnswers()
		for key, a := range was.of {
			spoil(&a)
			m.of[key], m.asked[key] = a, was.asked[key]
		}
		w.err = nil
		w.inspectAnswers(r, view)
		require.ErrorContains(t, w.err, "what became of", name)
	}
	w.err = nil
}
