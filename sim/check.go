package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// What an accepting node decides before it proposes or answers anything, as package httpapi does. It
// spares the log what would be refused anyway; what counts is decided where a command is applied.

// propose has a node take a write.
func (c *clients) propose(r *replica, o *operation) {
	r.owe(o.op.ID)
	r.take(node.Propose{Request: o.op.ID, Command: c.command(o), Deadline: o.deadline})
}

// check looks whether the writer may, before anything is proposed. A node that is behind may not
// know of a grant yet: it refuses only what is refused by what it knows once it has asked.
func (c *clients) check(r *replica, o *operation) {
	view := c.looked(r)
	if view == nil || !c.refuses(r, o, view) {
		o.accepted = view != nil
		c.propose(r, o)
		return
	}
	c.w.judge.count("write checked again with a quorum")
	o.checking = true
	r.owe(o.op.ID)
	r.take(node.ReadIndex{Request: o.op.ID, Deadline: o.deadline})
}

// refuses tells whether a node refuses a write by what a view says, which it closes: what comes next may
// end the process. What was done before is answered again, whoever may do what now.
func (c *clients) refuses(r *replica, o *operation, view *fsm.View) bool {
	defer view.Close()
	cmd := c.commandOf(o)
	refused := view.Policy().Refused(&cmd.Principal, &cmd)
	c.w.judge.decides(r, o, view, refused)
	if refused.Verbs == 0 {
		return false
	}
	if cmd.Idempotency.Key != "" {
		_, known, err := view.Answer(&cmd.Principal, &cmd.Idempotency)
		if err != nil || known {
			return false
		}
	}
	o.missing = refused
	return true
}

// checked goes on with a write once the node may rely on what it holds.
func (c *clients) checked(r *replica, id uint64) {
	o := c.ops[id-1]
	if r.paused {
		c.w.after(checkAgain, event{kind: evChecked, node: r, life: r.life, n: id})
		return
	}
	if _, open := slices.BinarySearch(r.pending, id); !open {
		return
	}
	view := c.looked(r)
	if view == nil {
		r.answer(id)
		c.answered(o, o.failed(linearizability.NotApplied))
		return
	}
	if !c.refuses(r, o, view) {
		c.propose(r, o)
		return
	}
	c.w.judge.count("write refused where it was accepted")
	c.w.judge.refusal(r, o)
	r.refused(fsm.DeniedWrite, o.principal, o.missing)
	r.answer(id)
	o.result = fsm.Denied
	c.answered(o, o.failed(linearizability.NotApplied))
}

// checkAgain is how soon a node that was paused goes on.
const checkAgain = 50 * time.Millisecond

// maxStaleness is how old the policy may be by which a node lets anybody read.
const maxStaleness = 5 * time.Second

// mayRead decides whether whoever asked o may read what it reads. It is answered all the same, since
// the judges of histories want to see it.
func (c *clients) mayRead(r *replica, o *operation, view *fsm.View) {
	if o.closing {
		return
	}
	who := &principals[o.principal]
	grants := view.Policy().Grants(who)
	for _, key := range o.keys() {
		allowed := grants.Allow(fsm.VerbRead, key)
		c.w.judge.letsRead(r, o, view, who, key, allowed)
		if !allowed {
			c.w.judge.count("read refused")
			r.refused(fsm.DeniedRead, o.principal, fsm.Need{Verbs: fsm.VerbRead, Path: key})
			return
		}
	}
}

// refused counts something that a node has refused, until it tells all others.
func (r *replica) refused(kind fsm.DenialKind, who int, need fsm.Need) {
	by, now := namesOfPrincipal(&principals[who])[0], r.w.now+int64(r.wall)
	for i := range r.refusals {
		d := &r.refusals[i]
		if d.Kind == kind && d.Principal == by {
			d.Count++
			d.Last = max(d.Last, now)
			return
		}
	}
	if len(r.refusals) < fsm.MaxDenials {
		r.refusals = append(r.refusals, fsm.Denial{
			Kind: kind, Principal: by, Verbs: need.Verbs, Path: need.Path, Reason: "forbidden", Count: 1, First: now, Last: now,
		})
	}
}

// report has a node tell what it refused.
func (c *clients) report(n int) {
	if c.over {
		return
	}
	c.w.after(c.telling.about(c.w.setup.reports), event{kind: evReport, n: uint64(n)})
	r := c.w.all[n]
	if !r.formed() || len(r.refusals) == 0 {
		return
	}
	c.w.judge.count("denials reported")
	o := c.add(0, governClient-1-n, r)
	o.rng = c.telling
	o.edict = &edict{what: "report", denials: slices.Clone(r.refusals), gives: true, by: -1 - n}
	r.refusals = nil
	c.rules(o)
}

// reportDone is the end of a report: what the others have not got, or may not, is told again.
func (c *clients) reportDone(o *operation) {
	again := o.op.Outcome == linearizability.NotApplied || o.op.Outcome == linearizability.Unknown && o.rng.IntN(2) == 0
	if r := o.node; again && r.formed() {
		if o.op.Outcome == linearizability.Unknown {
			c.w.judge.count("report of denials sent again")
		}
		r.refusals = append(r.refusals, o.edict.denials...)
		slices.SortStableFunc(r.refusals, func(a, b fsm.Denial) int { return cmp.Compare(a.First, b.First) })
		r.refusals = r.refusals[:min(len(r.refusals), fsm.MaxDenials)]
	}
}
