package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

// Who may do what changes while clients write. A governor is a closed loop of its own: it looks at
// a node what is there, and has that node make something else of it. What it does is no operation
// of the history, which knows of keys only: the model judges it.

// governor is one who changes who may do what, or tries to.
type governor struct {
	rng   generator
	who   int // in the cast
	sent  []*operation
	first bool // it bootstraps before anything else
}

// edict is what a governor, or a node that tells what it denied, asks for.
type edict struct {
	what     string // for the count of what came of it
	ops      []fsm.Op
	compares []fsm.Compare
	denials  []fsm.Denial
	gives    bool // it grants something; else it takes something
	by       int  // the governor; -1: the node
	order    bool // it is the operator's
}

// governs tells operations that are no part of the history.
func (o *operation) governs() bool { return o.edict != nil }

const (
	// maxRules bounds the rules that a governor may send again.
	maxRules = 4
	// beginsBy is by when the first administrator is there, and has bound the clients.
	beginsBy = 1500 * time.Millisecond
)

// initGovernors: who governs where nobody administers the cluster is nobody in particular.
func (c *clients) initGovernors() {
	s := &c.w.setup
	cast := []int{nobody, alice, steward, stranger}
	if s.governed {
		cast = []int{root, second, alice, steward, stranger, nobody}
	}
	for i, who := range cast {
		g := newGenerator(c.w.opts.Seed, fmt.Sprintf("governor %d", i))
		v := &governor{rng: g, who: who, first: s.governed && (who == root || who == second && s.race)}
		c.governors = append(c.governors, v)
		if s.rules > 0 {
			c.w.at(beginsBy/2+g.between(0, beginsBy/2), event{kind: evGovern, n: uint64(i)})
		}
	}
}

// govern is a governor's turn.
func (c *clients) govern(i int) {
	if c.over {
		return
	}
	v := c.governors[i]
	r := c.w.nodes[v.rng.IntN(len(c.w.nodes))]
	if v.first {
		r = c.w.nodes[i%len(c.w.nodes)] // two from two nodes
	}
	o := c.add(0, governClient+i, r)
	o.rng, o.principal = v.rng, v.who
	o.edict = c.ruleAgain(v, o)
	if o.edict == nil {
		o.edict = c.drawRule(v, r)
	}
	if o.edict == nil {
		c.ops = c.ops[:len(c.ops)-1]
		c.governLater(i, 200*time.Millisecond)
		return
	}
	o.edict.by = i
	if o.key == "" && !v.first && v.rng.IntN(4) == 0 {
		c.lastKey[v.who]++
		o.key, o.since = fmt.Sprintf("rule-%d", c.lastKey[v.who]), c.w.now
		o.request = sha256.Sum256([]byte(requestID(o.op.ID)))
	}
	c.rules(o)
}

// ruleAgain is a rule under a key that the governor sends again, if any.
func (c *clients) ruleAgain(v *governor, o *operation) *edict {
	if len(v.sent) == 0 || v.rng.IntN(3) != 0 {
		return nil
	}
	was := v.sent[0]
	v.sent = v.sent[1:]
	if c.w.now-was.since >= keptFor {
		return nil
	}
	o.keyed = was.keyed
	again := *was.edict
	return &again
}

// rules has an operation that governs go its way.
func (c *clients) rules(o *operation) {
	o.lone = true
	o.op.Kind, o.op.Key = linearizability.Put, o.edict.what
	c.w.judge.count("ruled: " + o.edict.what)
	switch {
	case o.edict.by < 0:
	case c.governors[o.edict.by].first && c.w.setup.race:
		c.w.judge.count("bootstrap at two nodes")
	default:
		c.w.judge.count("who may do what changes")
	}
	if o.edict.gives {
		c.giving++
	} else {
		c.taking++
	}
	if c.giving > 0 && c.taking > 0 {
		c.w.judge.count("grant and revocation in flight at once")
	}
	c.call(o)
}

// ruled is a governor's turn after a rule.
func (c *clients) ruled(o *operation) {
	if o.edict.order {
		c.w.operator.answered(o)
		return
	}
	if o.edict.gives {
		c.giving--
	} else {
		c.taking--
	}
	if o.edict.by < 0 {
		c.reportDone(o)
		return
	}
	v := c.governors[o.edict.by]
	if v.first && (o.op.Outcome == linearizability.Applied || o.result == fsm.AdminExists) {
		v.first = false
		c.governLater(o.edict.by, 10*time.Millisecond)
		return
	}
	if o.key != "" && len(v.sent) < maxRules && v.rng.IntN(2) == 0 {
		v.sent = append(v.sent, o)
	}
	if v.first {
		c.governLater(o.edict.by, 20*time.Millisecond)
		return
	}
	d := c.w.setup.rules
	switch v.who {
	case root:
	case second, nobody:
		d *= 2
	default:
		d *= 4
	}
	c.governLater(o.edict.by, d)
}

func (c *clients) governLater(i int, d time.Duration) {
	c.w.after(c.governors[i].rng.about(d), event{kind: evGovern, n: uint64(i)})
}

// looked is a view at a node whose store says something; nil: not now.
func (c *clients) looked(r *replica) *fsm.View {
	if !r.watchable() || r.db == nil {
		return nil
	}
	view, err := r.db.View()
	if err != nil {
		c.w.fail(JudgeStop, "%s: %w", r.name, err)
		return nil
	}
	return view
}

// drawRule draws what a governor asks a node for, by what is there now.
func (c *clients) drawRule(v *governor, r *replica) *edict {
	if v.first {
		subject := namesOfPrincipal(&principals[v.who])[0]
		return &edict{what: "bootstrap", gives: true, ops: []fsm.Op{{Kind: fsm.Bootstrap, Value: []byte(subject)}}}
	}
	view := c.looked(r)
	if view == nil {
		return nil
	}
	defer view.Close()
	d := drawing{c: c, g: v.rng, who: v.who, view: view}
	switch v.who {
	case alice, stranger:
		return d.attack()
	case steward:
		if v.rng.IntN(2) == 0 {
			return d.attack()
		}
		return d.govern(c.keys[0].below())
	}
	return d.govern("")
}

// drawing is a rule in the making.
type drawing struct {
	c    *clients
	g    generator
	who  int
	view *fsm.View
}

// read is the namespace at path, to be changed, and when it was changed last.
func (d *drawing) read(path string) (fsm.Namespace, fsm.Revision) {
	rec, found, err := d.view.Namespace(path)
	if err != nil {
		d.c.w.fail(JudgeState, "reading the namespace at %q: %w", path, err)
	}
	if !found {
		return fsm.Namespace{}, 0
	}
	n := rec.Namespace
	n.Bindings, n.Roles, n.Denied = slices.Clone(n.Bindings), slices.Clone(n.Roles), slices.Clone(n.Denied)
	for i := range n.Bindings {
		n.Bindings[i].Subjects = slices.Clone(n.Bindings[i].Subjects)
	}
	return n, rec.Revision
}

// put is the rule that makes n the namespace at path, mostly only if that is as it was seen.
func (d *drawing) put(what string, gives bool, path string, n *fsm.Namespace, seen fsm.Revision) *edict {
	out := &edict{what: what, gives: gives, ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: path, Value: n.Encode()}}}
	if d.g.IntN(3) != 0 {
		out.compares = []fsm.Compare{{Kind: fsm.NamespaceIs, Key: path, Revision: seen}}
	}
	return out
}

// path draws a namespace below from: the root, or that of some keys.
func (d *drawing) path(from string) string {
	if d.g.IntN(2) == 0 {
		return from
	}
	if from != "" {
		return from + "0/"
	}
	return d.c.keys[d.g.IntN(len(d.c.keys))].below()
}

// writer draws a client, and a subject that it is.
func (d *drawing) writer() (who int, subject string) {
	who = writers[d.g.IntN(len(writers))]
	names := namesOfPrincipal(&principals[who])
	return who, names[d.g.IntN(len(names))]
}

// few: of the clients that could, not even half may write. Such a world would show little.
func (d *drawing) few() bool {
	may, of := 0, 0
	for i := range d.c.clients {
		who := d.c.clients[i].who
		if who == nobody {
			continue
		}
		of++
		if top := d.view.Policy().Grants(&principals[who]); top.Allow(fsm.VerbWrite, "") {
			may++
		}
	}
	return 2*may < of
}

// ownRoles are the roles that administrators define.
var ownRoles = []fsm.Role{
	{Name: "scribe", Verbs: fsm.VerbWrite},
	{Name: "sweeper", Verbs: fsm.VerbRead | fsm.VerbDeleteTree},
	{Name: "undoer", Verbs: fsm.VerbRead | fsm.VerbWrite | fsm.VerbRollback},
	{Name: "keeper", Verbs: fsm.VerbRetention | fsm.VerbBind | fsm.VerbRead},
}

// govern draws what somebody asks for who administers all below from.
func (d *drawing) govern(from string) *edict {
	path := d.path(from)
	n, seen := d.read(path)
	_, subject := d.writer()
	if from == "" && d.few() {
		n, seen = d.read("")
		n.Denied = nil
		for _, who := range writers {
			bind(&n, pick(d.g, "editor", "editor", "publisher"), namesOfPrincipal(&principals[who])[0])
		}
		return d.put("grant to all", true, "", &n, seen)
	}
	switch share := d.g.IntN(100); {
	case share < 30:
		role := pick(d.g, "viewer", "editor", "publisher", ownRoles[d.g.IntN(len(ownRoles))].Name)
		bind(&n, role, subject)
		return d.put("grant", true, path, &n, seen)
	case share < 60:
		who, _ := d.writer()
		for _, name := range namesOfPrincipal(&principals[who]) {
			unbind(&n, name)
		}
		return d.put("revocation", false, path, &n, seen)
	case share < 68:
		n.KeepVersions = d.g.IntN(4)
		return d.put("versions to keep", false, path, &n, seen)
	case share < 73 && path != "":
		return &edict{what: "namespace removed", ops: []fsm.Op{{Kind: fsm.DeleteNamespace, Key: path}}}
	case share < 76:
		bind(&n, "no-such-role", subject)
		return d.put("unknown role", true, path, &n, seen)
	case from != "":
		n.Owner = fmt.Sprint("owner ", d.g.IntN(3))
		return d.put("owner", true, path, &n, seen)
	}
	n, seen = d.read("")
	switch share := d.g.IntN(100); {
	case share < 30:
		role := ownRoles[d.g.IntN(len(ownRoles))]
		n.Roles = slices.DeleteFunc(n.Roles, func(r fsm.Role) bool { return r.Name == role.Name })
		if role.Verbs |= 1 << d.g.IntN(2); d.g.IntN(3) != 0 {
			n.Roles = append(n.Roles, role)
		} else {
			unbindRole(&n, role.Name)
		}
		return d.put("role", true, "", &n, seen)
	case share < 50:
		who, denied := d.writer()
		if app := throughWhom(&principals[who]); app != "" && d.g.IntN(3) == 0 {
			denied = app
		}
		if d.g.IntN(2) == 0 {
			n.Denied = append(n.Denied, denied)
			return d.put("denied everything", false, "", &n, seen)
		}
		n.Denied = nil
		return d.put("denied nothing more", true, "", &n, seen)
	case share < 62:
		// Of two administrators one goes or comes: the last must stay.
		other := namesOfPrincipal(&principals[pick(d.g, root, second)])[0]
		if unbind(&n, other); d.g.IntN(2) == 0 {
			bind(&n, administrator, other)
		}
		return d.put("administrator", true, "", &n, seen)
	case share < 70:
		for _, who := range []int{root, second} {
			unbind(&n, namesOfPrincipal(&principals[who])[0])
		}
		return d.put("no administrator", false, "", &n, seen)
	case share < 76:
		for _, who := range []int{root, second} {
			n.Denied = append(n.Denied, namesOfPrincipal(&principals[who])[0])
		}
		return d.put("administrators denied", false, "", &n, seen)
	case share < 88:
		path := d.c.keys[0].below()
		n, seen := d.read(path)
		bind(&n, pick(d.g, administrator, "keeper"), namesOfPrincipal(&principals[steward])[d.g.IntN(2)])
		return d.put("administrator of a part", true, path, &n, seen)
	case share < 94:
		return &edict{what: "root removed", ops: []fsm.Op{{Kind: fsm.DeleteNamespace}}}
	}
	subject = namesOfPrincipal(&principals[pick(d.g, root, second)])[0]
	return &edict{what: "bootstrap", gives: true, ops: []fsm.Op{{Kind: fsm.Bootstrap, Value: []byte(subject)}}}
}

// attack draws what somebody asks for who must not have it.
func (d *drawing) attack() *edict {
	own := d.c.keys[0].below()
	path := pick(d.g, "", own, d.c.keys[len(d.c.keys)-1].below())
	n, seen := d.read(path)
	me := namesOfPrincipal(&principals[d.who])[0]
	switch d.g.IntN(6) {
	case 0:
		bind(&n, administrator, me)
	case 1:
		bind(&n, "viewer", me)
	case 2:
		unbind(&n, namesOfPrincipal(&principals[root])[0])
	case 3:
		n.KeepVersions = 1 + d.g.IntN(3)
	case 4:
		return &edict{what: "attack", ops: []fsm.Op{{Kind: fsm.DeleteNamespace, Key: path}}}
	default:
		return &edict{what: "attack on a key", ops: []fsm.Op{putOf("attack/"+me[:4], "attack")}}
	}
	return d.put("attack", true, path, &n, seen)
}

func bind(n *fsm.Namespace, role, subject string) {
	n.Bindings = append(n.Bindings, fsm.Binding{Role: role, Subjects: []string{subject}})
}

func unbind(n *fsm.Namespace, subject string) {
	for i := range n.Bindings {
		b := &n.Bindings[i]
		b.Subjects = slices.DeleteFunc(b.Subjects, func(s string) bool { return s == subject })
	}
}

func unbindRole(n *fsm.Namespace, role string) {
	n.Bindings = slices.DeleteFunc(n.Bindings, func(b fsm.Binding) bool { return b.Role == role })
}

// sovereign is somebody of the cast who may do everything now.
func (j *judge) sovereign() int {
	p := j.model.policy()
	for _, who := range []int{nobody, root, second} {
		if p.may(&principals[who], "") == everyVerb {
			return who
		}
	}
	j.w.fail(JudgeState, "nobody administers the cluster any more: %v", p.space("").Bindings)
	return nobody
}
