package sim

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

// What a world's judges hold authorization to: what a store says of who may do what is what the
// model makes of the log; a node that decides by it is not behind what it must have heard of; and of
// the log alone, that nothing was done without a permission, and nothing denied with one.

// ruling is a change of who may do what that was acknowledged.
type ruling struct {
	at    int64
	index fsm.Index // the greatest so far
}

// heldPolicy is what was held against the model last.
type heldPolicy struct {
	policy *fsm.Policy
	n      int // how many changes of it the model had
}

// probes are paths at which what the cast may do is looked at.
func (j *judge) probes() []string {
	own := j.w.clients.keys[0].below()
	return []string{"", own, own + "0", j.w.clients.keys[len(j.w.clients.keys)-1].below() + "1/0"}
}

// recheckShare is how often a policy is held against the model though both are as they were.
const recheckShare = 0.01

// policy: who may do what, says the view of a store, is what the model says at its index.
func (j *judge) policy(r *replica, view *fsm.View) error {
	index, have := view.State().Applied, view.Policy()
	n := sort.Search(len(j.model.policies), func(i int) bool { return j.model.policies[i].index > index })
	now := heldPolicy{policy: have, n: n}
	if r.checked == now && !j.views.chance(recheckShare) {
		return nil
	}
	r.checked = now
	want := j.model.policies.at(index)
	paths := slices.Sorted(maps.Keys(want))
	var names []string
	for rec := range have.Namespaces("", "") {
		names = append(names, rec.Path)
		s := want.space(rec.Path)
		same := string(rec.Encode()) == s.value && rec.Revision == s.rev && rec.CreateRevision == s.created && rec.ModifiedAt == s.at && rec.ModifiedBy == s.by
		if !same {
			return fmt.Errorf("at index %d namespace %q of %s is %+v, want %+v", index, rec.Path, r.name, *rec, *s)
		}
	}
	if !slices.Equal(names, paths) || have.Len() != len(paths) {
		return fmt.Errorf("at index %d %s has the namespaces %q, want %q", index, r.name, names, paths)
	}
	if have.Required() != want.required() {
		return fmt.Errorf("at index %d %s requires authorization: %v, want %v", index, r.name, have.Required(), want.required())
	}
	for who := range principals {
		grants := have.Grants(&principals[who])
		for _, path := range j.probes() {
			if have, want := grants.Verbs(path), want.may(&principals[who], path); have != want {
				return fmt.Errorf("at index %d %s lets %s do %v to %q, want %v", index, r.name, namesOfPrincipal(&principals[who])[0], have, path, want)
			}
		}
	}
	return nil
}

// ruledBy: what was decided is decided by the policy of the very state that was looked at.
func (j *judge) ruledBy(r *replica, view *fsm.View) {
	if r.diverged || r.tainted {
		return
	}
	if err := j.policy(r, view); err != nil {
		j.w.fail(JudgeState, "%w", err)
	}
}

// decides: a node refuses of a write what the model does, at the index of its view.
func (j *judge) decides(r *replica, o *operation, view *fsm.View, refused fsm.Need) {
	j.ruledBy(r, view)
	cmd := j.w.clients.commandOf(o)
	if want := j.model.policies.at(view.State().Applied).refused(&cmd); refused != want && !r.diverged && !r.tainted {
		j.w.fail(JudgePolicy, "%s says at index %d that %s lacks %v on %q, want %v on %q", r.name, view.State().Applied,
			namesOfPrincipal(&cmd.Principal)[0], refused.Verbs, refused.Path, want.Verbs, want.Path)
	}
}

// acknowledgedBy is up to which index what changed the policy had been acknowledged by a time.
func (j *judge) acknowledgedBy(at int64) fsm.Index {
	n := sort.Search(len(j.rulings), func(i int) bool { return j.rulings[i].at >= at })
	if n == 0 {
		return 0
	}
	return j.rulings[n-1].index
}

// since are the policies that may have been in force since those acknowledged by a time.
func (j *judge) since(at int64) []modelPolicy {
	return j.model.policies.between(j.acknowledgedBy(at), fsm.Index(len(j.slots)))
}

// refusal: a write is refused where it is accepted only by a policy that was in force after it was
// asked for: a grant that was acknowledged before is known.
func (j *judge) refusal(r *replica, o *operation) {
	cmd := j.w.clients.commandOf(o)
	refuses := func(p modelPolicy) bool { return p.refused(&cmd).Verbs != 0 }
	if !r.diverged && !r.tainted && !slices.ContainsFunc(j.since(o.op.Call), refuses) {
		j.w.fail(JudgePolicy, "%s refuses %v to %s, which was allowed before it asked, and is", r.name, &o.op, namesOfPrincipal(&cmd.Principal)[0])
	}
}

// letsRead: who may read is decided by the state that is read, and with a proof of freshness by one
// that is not too old.
func (j *judge) letsRead(r *replica, o *operation, view *fsm.View, who *fsm.Principal, key string, allowed bool) {
	j.ruledBy(r, view)
	index := view.State().Applied
	if want := j.model.policies.at(index).may(who, key)&fsm.VerbRead != 0; allowed != want && !r.diverged && !r.tainted {
		j.w.fail(JudgePolicy, "%s lets %s read %s at index %d: %v, want %v", r.name, namesOfPrincipal(who)[0], key, index, allowed, want)
	}
	if !allowed || r.diverged {
		return
	}
	by := o.op.Call // a quorum was asked after it was called
	if o.op.Kind == linearizability.Local {
		status := r.core.Status()
		if !status.Fresh || r.age(status.FreshAt) > maxStaleness {
			j.count("read not decided: policy too old")
			return
		}
		by = j.w.now - int64(maxStaleness)
	}
	if !j.w.opts.hooks.readEarly {
		j.stillReads(r, who, key, by)
	}
}

// stillReads: somebody who is let read was allowed to by a policy that was in force after those that
// were acknowledged by a time.
func (j *judge) stillReads(r *replica, who *fsm.Principal, key string, by int64) {
	reads := func(p modelPolicy) bool { return p.may(who, key)&fsm.VerbRead != 0 }
	if !slices.ContainsFunc(j.since(by), reads) {
		j.w.fail(JudgePolicy, "%s lets %s read %s, and that this is over was acknowledged by %v", r.name, namesOfPrincipal(who)[0], key, time.Duration(by))
	}
}

// pastNamespace: what a namespace was at a revision is what the model says.
func (j *judge) pastNamespace(r *replica, then *fsm.View, rev fsm.Revision) {
	if len(j.model.policies) == 0 {
		return
	}
	path := j.model.policies[j.views.IntN(len(j.model.policies))].path
	rec, found, err := then.Namespace(path)
	want := j.model.policies.asOf(rev).space(path)
	if err != nil || found != (want.rev != 0) || rec.Revision != want.rev || found && string(rec.Encode()) != want.value {
		j.w.fail(JudgeState, "%s had namespace %q at revision %d as %+v (%w), want %+v", r.name, path, rev, rec, err, *want)
	}
	j.count("past namespace read")
}

// decided is a command, with what a store said of it.
type decided struct {
	index    fsm.Index
	cmd      *fsm.Command
	outcome  fsm.Outcome
	replayed bool
}

// said takes note of what a sound store says of an entry.
func (j *judge) said(r *fsm.Result) {
	cmd := j.slots[r.Index-1].result.cmd
	if _, known := j.log[r.Index]; !known && cmd != nil {
		j.log[r.Index] = decided{index: r.Index, cmd: cmd, outcome: r.Outcome, replayed: r.Replayed}
	}
}

// base is the index at which the log begins of a cluster that was restored; else 0.
func (j *judge) base() fsm.Index {
	if n := j.w.renewal; n != nil {
		return n.base
	}
	return 0
}

// before is who might do what before the log.
func (j *judge) before() modelPolicy { return j.model.policies.at(j.base()) }

// whole is the log in order. Of what damaged stores alone have applied, the model says what it was.
func (j *judge) whole() (out []decided) {
	for i := int(j.base()); i < len(j.slots); i++ {
		index, r := fsm.Index(i+1), &j.slots[i].result
		d, known := j.log[index]
		if !known {
			d = decided{index: index, cmd: r.cmd, outcome: r.outcome, replayed: r.replayed}
		}
		if r.cmd != nil {
			out = append(out, d)
		}
	}
	return out
}

// lawful judges the log alone, by what the stores said of it and by nothing that the model made of
// it meanwhile: whoever was done something for was allowed to, by the changes of policy that come
// before it; and whoever was not, was not.
func lawful(p modelPolicy, log []decided) error {
	for i := range log {
		d := &log[i]
		if d.replayed {
			continue
		}
		switch lacks := p.refused(d.cmd); d.outcome {
		case fsm.Repeated, fsm.Undecodable, fsm.KeyReused, fsm.AnswersFull, fsm.Recorded:
			continue
		case fsm.Denied:
			if lacks.Verbs == 0 {
				return fmt.Errorf("the log has %s denied at index %d to %s, who was allowed it", d.cmd.RequestID, d.index, namesOfPrincipal(&d.cmd.Principal)[0])
			}
			continue
		default:
			if lacks.Verbs != 0 {
				return fmt.Errorf("the log has %s (%v) at index %d by %s, who lacked %v on %q by then",
					d.cmd.RequestID, d.outcome, d.index, namesOfPrincipal(&d.cmd.Principal)[0], lacks.Verbs, lacks.Path)
			}
		}
		if d.outcome == fsm.Applied && len(d.cmd.Ops) == 1 {
			p = p.after(&d.cmd.Ops[0])
		}
	}
	return nil
}

// after is p once op was applied.
func (p modelPolicy) after(op *fsm.Op) modelPolicy {
	next := modelPolicy{}
	maps.Copy(next, p)
	switch op.Kind {
	case fsm.PutNamespace:
		next[op.Key] = &modelSpace{Namespace: *asNamespace(op)}
	case fsm.DeleteNamespace:
		delete(next, op.Key)
	case fsm.Bootstrap:
		first := p.space("").Namespace
		first.Bindings = append(slices.Clone(first.Bindings), fsm.Binding{Role: administrator, Subjects: []string{string(op.Value)}})
		first.Denied = slices.DeleteFunc(slices.Clone(first.Denied), func(s string) bool { return s == string(op.Value) })
		next[""] = &modelSpace{Namespace: first}
	default:
		return p
	}
	return next
}
