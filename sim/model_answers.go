package sim

import (
	"strings"
	"time"

	"github.com/confman/confman/fsm"
)

// modelAnswers is what became of the commands with idempotency keys.
type modelAnswers struct {
	of    map[string]modelAnswer
	order []string                // their names, the first to expire first
	asked map[string]*fsm.Command // the last that was remembered
}

func newAnswers() modelAnswers {
	return modelAnswers{of: map[string]modelAnswer{}, asked: map[string]*fsm.Command{}}
}

type modelAnswer struct {
	request [32]byte
	result  modelResult
	expires time.Duration // replicated
}

// nameOf is a principal's key: what another principal calls so is another key.
func nameOf(p *fsm.Principal, key string) string {
	return strings.Join([]string{p.String(), p.Issuer, p.Tenant, p.Object, p.App, key}, "\x00")
}

// recall is what became of an equal command, if that is remembered, or that the key is taken.
func (a *modelAnswers) recall(cmd *fsm.Command) (modelResult, bool) {
	was, known := a.of[nameOf(&cmd.Principal, cmd.Idempotency.Key)]
	switch {
	case cmd.Idempotency.Key == "" || !known:
		return modelResult{}, false
	case was.request != cmd.Idempotency.Request:
		return modelResult{outcome: fsm.KeyReused}, true
	}
	r := was.result
	r.replayed = true
	return r, true
}

// remember keeps what became of a command.
func (a *modelAnswers) remember(cmd *fsm.Command, r modelResult, now time.Duration) {
	i := &cmd.Idempotency
	if i.Key == "" || i.OnlyIfDone && r.outcome == fsm.CompareFailed {
		return
	}
	name := nameOf(&cmd.Principal, i.Key)
	a.of[name] = modelAnswer{request: i.Request, result: r, expires: now + fsm.IdempotencyRetention}
	a.order = append(a.order, name)
	a.asked[name] = cmd
}

// expire forgets what has expired by now.
func (a *modelAnswers) expire(now time.Duration) (more bool) {
	room := fsm.MaxMaintenance
	for ; len(a.order) > 0 && room > 0 && a.of[a.order[0]].expires <= now; room-- {
		delete(a.of, a.order[0])
		a.order = a.order[1:]
	}
	return room <= 0
}
