package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// Authorization. A handler says what its caller must be allowed to do (need) before it does
// anything. All views of the store come from look, and all commands leave by propose: they refuse
// whoever lacks it, and a handler that did not say. An answer that is no error goes out only after
// one of them let the caller pass (see head). So a handler that forgot refuses everybody.
//
// A read is decided by the policy in the view that is read, and a write where it is applied. It is
// looked at here too, so that nobody fills the log with what is refused.

const (
	// asProposed are the verbs of a write whose operations say by themselves what they take.
	asProposed fsm.Verbs = 0
	// noVerb is what is for every caller who can be told.
	noVerb fsm.Verbs = 0
)

// errNotAuthorized is a bug: a handler said no need, or answers before anything was decided.
var errNotAuthorized = errors.New("httpapi: the handler did not say what its caller must be allowed to do")

// need says that the caller must be allowed verbs on path, a key or a prefix. A handler says it
// before it reads or writes, and for each path.
func (c *call) need(verbs fsm.Verbs, path string) {
	c.needs = append(c.needs, fsm.Need{Verbs: verbs, Path: path})
}

// lacking is the first of the needs that g has not.
func (c *call) lacking(g *fsm.Grants) fsm.Need {
	for i := range c.needs {
		n := &c.needs[i]
		if missing := n.Verbs &^ g.Verbs(n.Path); missing != 0 {
			return fsm.Need{Verbs: missing, Path: n.Path}
		}
	}
	return fsm.Need{}
}

// look takes a view of what is applied here, if the caller may see in it what it needs. Who asked a
// quorum says when: the view holds all that was acknowledged by then.
func (c *call) look(asked time.Time) (*fsm.View, node.Freshness, error) {
	v, proof, err := c.api.Node.View()
	if err != nil {
		return nil, proof, err
	}
	if err = c.mayRead(v, proof, asked); err != nil {
		c.tellDamage(v, err)
		v.Close()
		return nil, proof, err
	}
	if !c.allowed { // the goroutines of a removal find it set
		c.allowed = true
	}
	return v, proof, nil
}

// mayRead decides by the policy in v, which must be known to be new enough.
func (c *call) mayRead(v *fsm.View, proof node.Freshness, asked time.Time) error {
	if len(c.needs) == 0 {
		return internal(errNotAuthorized)
	}
	policy := c.api.saw(v)
	if c.api.Auth == nil && !policy.Required() {
		return nil // everybody may do everything
	}
	st := standing{revision: v.State().Revision}
	st.age, st.fresh = c.api.age(proof)
	if !asked.IsZero() {
		st.atMost(elapsed(asked, c.api.Now(), c.api.MaxClockDriftPPM))
	}
	if bound := c.api.MaxPolicyStaleness; !st.within(bound) {
		return &readError{st, tooStale(freshness{maxStaleness: bound}, st)}
	}
	g := c.grants(policy)
	missing := c.lacking(&g)
	if missing.Verbs == 0 {
		return nil
	}
	if answered, err := c.answered(v, c.again); answered || err != nil {
		return err
	}
	c.denied(fsm.DeniedRead, missing)
	return &readError{st, c.forbidden(missing)}
}

// answered tells whether cmd is one that was done, or refused, before: then it has that answer,
// whatever its caller may do now, and it would be wrong to say that it was not applied. It would be
// right of another request under the same key.
func (c *call) answered(v *fsm.View, cmd *fsm.Command) (bool, error) {
	if cmd == nil || cmd.Idempotency.Key == "" {
		return false, nil
	}
	res, known, err := v.Answer(&cmd.Principal, &cmd.Idempotency)
	return known && res.Outcome != fsm.KeyReused, err
}

// mayPropose refuses what would be refused where it is applied: cmd, nil if there is none yet, and
// what the handler needs. A grant that was acknowledged at another node may not be here yet: so
// nobody is refused before a quorum was asked.
func (c *call) mayPropose(cmd *fsm.Command) error {
	if len(c.needs) == 0 {
		return internal(errNotAuthorized)
	}
	missing, _, err := c.refused(cmd)
	if err == nil && missing.Verbs != 0 {
		ctx, cancel := context.WithTimeout(c.r.Context(), ReadWait)
		defer cancel()
		if err = c.api.Node.Linearize(ctx); err != nil {
			return err
		}
		var st standing
		if missing, st, err = c.refused(cmd); err == nil && missing.Verbs != 0 {
			c.denied(fsm.DeniedWrite, missing)
			return &readError{st, c.forbidden(missing)}
		}
	}
	if err == nil && !c.allowed { // the goroutines of an import find it set
		c.allowed = true
	}
	return err
}

// refused is what the caller lacks for cmd by what is applied here.
func (c *call) refused(cmd *fsm.Command) (missing fsm.Need, st standing, err error) {
	v, proof, err := c.api.Node.View()
	if err != nil {
		return missing, st, err
	}
	defer v.Close()
	policy := c.api.saw(v)
	g := c.grants(policy)
	if missing = c.lacking(&g); missing.Verbs == 0 && cmd != nil {
		missing = tellable(&g, cmd, policy.RefusedTo(g, cmd))
	}
	if missing.Verbs != 0 {
		answered, err := c.answered(v, cmd)
		if err != nil {
			c.tellDamage(v, err)
			return missing, st, err
		}
		if answered {
			return fsm.Need{}, st, nil
		}
	}
	st.revision = v.State().Revision
	st.age, st.fresh = c.api.age(proof)
	return missing, st, nil
}

// tellable is what of missing the caller is told. What a change of a namespace takes depends on what is
// there: to whoever may not see that, all such changes lack the same.
func tellable(g *fsm.Grants, cmd *fsm.Command, missing fsm.Need) fsm.Need {
	ofNamespace := func(op fsm.Op) bool { return op.Kind == fsm.PutNamespace || op.Kind == fsm.DeleteNamespace }
	if missing.Verbs == 0 || !slices.ContainsFunc(cmd.Ops, ofNamespace) {
		return missing
	}
	switch have := g.Verbs(missing.Path); {
	case have&fsm.VerbBind != 0: // what it may not give remains
	case have&fsm.VerbRead != 0 && missing.Verbs&fsm.VerbRetention != 0: // but not the roles, which are the root's
		missing.Verbs &= fsm.VerbBind | fsm.VerbRetention
	default:
		missing.Verbs = fsm.VerbBind
	}
	return missing
}

// peek decides about what is not in the store, such as how the cluster is: by the newest policy
// that this node knows, however old that is. It is what people look at when there is no quorum.
func (c *call) peek() error {
	if len(c.needs) == 0 {
		return internal(errNotAuthorized)
	}
	v, _, err := c.api.Node.View()
	if err == nil {
		c.api.saw(v)
		v.Close()
	}
	newest := c.api.policy.Load()
	switch {
	case newest != nil:
	case c.api.Auth == nil && errors.Is(err, node.ErrForming):
		c.allowed = true // there is no policy yet
		return nil
	default:
		return err
	}
	g := c.grants(newest.policy)
	if missing := c.lacking(&g); missing.Verbs != 0 {
		c.denied(fsm.DeniedRead, missing)
		return c.forbidden(missing)
	}
	c.allowed = true
	return nil
}

// seenPolicy is a policy, and the revision of the state that it was seen in.
type seenPolicy struct {
	policy *fsm.Policy
	at     fsm.Revision
}

// saw is the policy in v, and remembers it for peek, if it is the newest: requests with older views
// may come later.
func (a *api) saw(v *fsm.View) *fsm.Policy {
	p, at := v.Policy(), v.Revision()
	for {
		last := a.policy.Load()
		if last != nil && (last.policy == p || last.at > at) || a.policy.CompareAndSwap(last, &seenPolicy{p, at}) {
			return p
		}
	}
}

// has tells whether the caller may also do verbs on path, which it is not refused for.
func (c *call) has(v *fsm.View, verbs fsm.Verbs, path string) bool {
	g := c.grants(v.Policy())
	return g.Allow(verbs, path)
}

// grants is what the caller may do by a policy.
func (c *call) grants(p *fsm.Policy) fsm.Grants { return c.api.granted.of(p, &c.who) }

// forbidden tells the caller, and nobody else, what it lacks, and what would help by the newest
// policy. It is made of that and of the request alone: whether there is anything at the path is not told.
func (c *call) forbidden(missing fsm.Need) *problem {
	who := &c.who
	name := who.principal.String()
	what := fmt.Sprintf("%s on %s", missing.Verbs, pathName(missing.Path))
	required, denied := true, false
	if seen := c.api.policy.Load(); seen != nil {
		g := c.grants(seen.policy)
		required, denied = seen.policy.Required(), g.Denied()
	}
	var p *problem
	switch {
	case denied:
		p = problemf(kindForbidden, "%s lacks %s: it is denied everything; an administrator of the whole tree can end that: confman ns allow", name, what)
	case missing.Verbs&who.withheld != 0:
		p = problemf(kindForbidden, "the token of %s does not have %s: none of its scopes stands for that; get one with a scope that does", name, what)
	case !required && who.identity == nil: // it may do all but that
		p = problemf(kindForbidden, "nobody can name the first administrator here: Auth.Bootstrap in the configuration of a node does")
	case !required:
		p = problemf(kindForbidden, "%s lacks %s, and nobody administers the cluster yet: Auth.Bootstrap in the configuration of a node names who does", name, what)
	case who.identity == nil:
		p = problemf(kindForbidden, "nobody has %s here: the cluster is administered, and this node cannot tell who calls (Auth.Mode)", what)
	default:
		above := missing.Path[:strings.LastIndexByte(missing.Path, '/')+1]
		p = problemf(kindForbidden, "%s lacks %s; ask whoever has bind there: confman ns get %s", name, what, rootNamed(above))
	}
	return p.with("verbs", missing.Verbs.Names()).with("path", missing.Path)
}

func pathName(path string) string {
	if path == "" {
		return "the whole tree"
	}
	return path
}

// isStale tells whether err is that a state may be too old.
func isStale(err error) bool {
	var p *problem
	return errors.As(err, &p) && p.name == kindStaleness.name
}

// guard sets what every answer to a caller who was not let in has beside the problem.
func (c *call) guard(p *problem, err error) {
	if c.api.Auth == nil {
		return
	}
	if how := challenge(p, err); how != "" {
		c.w.Header()["Www-Authenticate"] = []string{how}
	}
}
