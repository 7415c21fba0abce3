package sim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// Bounds on one key's history, which keep Porcupine's search small; past them
// its place is taken by a fresh key. Keys of a batch are searched together.
const (
	maxKeyOps       = 250
	maxKeyUnknown   = 6
	maxBatchOps     = 80
	maxBatchUnknown = 3
)

// clients are closed loops, each with one operation in flight, and what they let
// loose besides: bursts, and reads of what others write.
type clients struct {
	w       *World
	rng     generator // of what belongs to no client
	clients []client
	keys    []keySlot
	special int          // where the slots of the world's own workload begin
	ops     []*operation // by id - 1
	open    int          // operations in flight
	plans   []plan
	took    time.Duration // what the last acknowledged write took
	over    bool          // no new operations
	born    uint64        // sessions so far

	lastKey map[int]int     // by principal
	recent  map[int][]keyed // by principal, keys that were used lately

	governors      []*governor
	giving, taking int       // rules in flight
	telling        generator // of nodes that tell what they denied
	checks         generator // of writes that are checked where they are accepted

	watchers []*watcher
	watched  []linearizability.Watch // streams that ended
	streams  uint64
}

type client struct {
	rng     generator
	ways    generator        // in which it asks for writes
	seen    map[string]sight // what it last knew of a key
	past    map[string][]memory
	sent    []*operation // keyed writes that it may send again
	retry   *operation   // to be proposed again
	back    *operation   // a write to be read at another node
	who     int          // in the cast
	session uint64       // 0: it does not pass revisions on
	least   uint64       // the highest revision of the session
}

// keySlot is a key in use, or several keys that belong together.
type keySlot struct {
	prefix       string
	load         workload
	width        int // how many keys there are below its name; 0: the name is the key
	generation   int
	ops, unknown int
	maxOps       int // past these it is worn
	maxUnknown   int
	single       bool // no fresh keys take the place of worn ones
}

// name is the key, or what the keys of the batch begin with.
func (k *keySlot) name() string { return k.below() + strconv.Itoa(k.generation) }

// below is what all its names begin with.
func (k *keySlot) below() string { return k.prefix + "/" }

// keys are all keys below the name.
func (k *keySlot) keys() []string {
	var out []string
	for i := range k.width {
		out = append(out, k.name()+"/"+strconv.Itoa(i))
	}
	return out
}

// worn tells whether the key's history is long enough.
func (k *keySlot) worn() bool { return k.ops >= k.maxOps || k.unknown >= k.maxUnknown }

// operation is one attempt of a client, and how it is on its way.
type operation struct {
	op      linearizability.Op
	rng     generator // of its ways
	slot    int
	name    string // of the slot, when it was drawn
	node    *replica
	started bool     // the node has taken it
	done    bool     // the client has an outcome, or is no more
	lone    bool     // nobody's turn comes after it
	closing bool     // of the end of the run, of no client
	stored  []fsm.Op // what the store is asked, if it is not what the history says
	edict   *edict   // it changes who may do what
	keyed
	deadline time.Duration // on the clock of its node
	checking bool          // the node asks a quorum whether it may refuse it
	accepted bool          // the node looked, and it was allowed
	missing  fsm.Need      // why the node refuses it
	result   fsm.Outcome   // what came of it, as far as the client knows
	answer   func(o *linearizability.Op)
}

func (c *clients) init(w *World) {
	c.w = w
	c.rng = newGenerator(w.opts.Seed, "clients")
	c.lastKey, c.recent = map[int]int{}, map[int][]keyed{}
	for i := range w.setup.keys {
		c.keys = append(c.keys, keySlot{prefix: "k" + strconv.Itoa(i), load: registers{}, maxOps: maxKeyOps, maxUnknown: maxKeyUnknown})
	}
	for i := range batchSlots {
		c.keys = append(c.keys, keySlot{prefix: "batch" + strconv.Itoa(i), load: batches{}, width: 2 + i, maxOps: maxBatchOps, maxUnknown: maxBatchUnknown})
	}
	c.special = len(c.keys)
	load := loads[w.setup.load]
	for i := range load.slots {
		k := load.slot
		k.prefix += strconv.Itoa(i)
		c.keys = append(c.keys, k)
	}
	for i := range w.setup.clients {
		g := newGenerator(w.opts.Seed, fmt.Sprintf("client %d", i))
		c.clients = append(c.clients, client{rng: g, ways: newGenerator(w.opts.Seed, fmt.Sprintf("client %d writes", i))})
		if g.chance(w.setup.sessions) {
			c.clients[i].session = 1
		}
		c.clients[i].who = c.drawWho(i)
		c.bear(&c.clients[i])
		w.at(g.between(time.Second, 2*time.Second), event{kind: evClient, n: uint64(i)})
	}
	c.initWatchers()
	c.telling, c.checks = newGenerator(w.opts.Seed, "reports"), newGenerator(w.opts.Seed, "checks")
	c.initGovernors()
	for i := range w.all {
		if w.setup.reports > 0 {
			w.after(c.telling.about(w.setup.reports), event{kind: evReport, n: uint64(i)})
		}
	}
}

// drawWho draws who a client is.
func (c *clients) drawWho(i int) int {
	g, s := newGenerator(c.w.opts.Seed, fmt.Sprintf("client %d is", i)), &c.w.setup
	who, draw := pick(g, writers...), g.IntN(8)
	switch {
	case s.rules == 0, !s.governed && (i == 0 || draw < 5), s.governed && i > 0 && draw == 0:
		return nobody
	}
	return who
}

// bear lets a client begin with nothing that it remembers.
func (c *clients) bear(cl *client) {
	cl.seen, cl.retry, cl.back, cl.least = map[string]sight{}, nil, nil, 0
	cl.past, cl.sent = map[string][]memory{}, nil
	if cl.session != 0 {
		c.born++
		cl.session = c.born
	}
}

// hop is how long a request or an answer is on its way.
func hop(g generator) time.Duration { return g.between(20*time.Microsecond, 500*time.Microsecond) }

// wake is a client's turn.
func (c *clients) wake(i int) {
	if c.over {
		return
	}
	cl := &c.clients[i]
	if cl.rng.chance(c.w.setup.bursts) {
		c.burst(i)
	}
	again, back := cl.retry, cl.back
	cl.retry, cl.back = nil, nil
	o := c.sendAgain(i)
	switch {
	case o != nil:
	case back != nil && c.current(back):
		o = c.readBack(i, back)
	default:
		o = c.draw(i)
		if again != nil && c.current(again) {
			o.retry(again)
			c.w.judge.count("write retried")
		}
	}
	if cl.session != 0 {
		o.op.Session = cl.session
		if !o.writes() {
			o.op.MinRevision = cl.least
		}
		c.w.judge.count("session")
	}
	c.call(o)
	c.double(i, o)
	if cl.rng.chance(c.w.setup.crashes) {
		c.w.after(cl.rng.some(time.Millisecond, 100*time.Millisecond), event{kind: evLeave, n: o.op.ID})
	}
}

// current tells whether the key of an operation is still in use.
func (c *clients) current(o *operation) bool { return c.keys[o.slot].name() == o.name }

// retry makes o the same write as an earlier one.
func (o *operation) retry(again *operation) {
	was := &again.op
	o.slot, o.name = again.slot, again.name
	o.op.Key, o.op.Kind, o.op.Value, o.op.RetryOf = was.Key, linearizability.Put, was.Value, was.ID
	o.op.IfAbsent, o.op.IfRevision = was.IfAbsent, was.IfRevision
	o.op.Steps, o.op.Compares, o.op.Else, o.op.MaxStaleness, o.stored = nil, nil, nil, 0, again.stored
	o.op.IdempotencyKey, o.keyed = "", keyed{principal: o.principal}
}

// writes tells operations that may change something from reads.
func (o *operation) writes() bool {
	switch o.op.Kind {
	case linearizability.Put, linearizability.Delete:
		return true
	case linearizability.Txn:
		return o.op.Steps[0].Kind != linearizability.Read
	default:
		return false
	}
}

// branch are the steps of a transaction that were done, if any were.
func (o *operation) branch() []linearizability.Step {
	if o.op.ElseDone {
		return o.op.Else
	}
	return o.op.Steps
}

// keys are all that the operation touches.
func (o *operation) keys() []string {
	if o.op.Kind != linearizability.Txn {
		return []string{o.op.Key}
	}
	var out []string
	for i := range o.op.Steps {
		out = append(out, o.op.Steps[i].Key)
	}
	return out
}

// add makes an operation without content.
func (c *clients) add(slot, client int, r *replica) *operation {
	o := &operation{slot: slot, name: c.keys[slot].name(), node: r, rng: c.rng}
	o.op = linearizability.Op{ID: uint64(len(c.ops) + 1), Client: client, Node: r.name, Return: linearizability.Never}
	c.ops = append(c.ops, o)
	return o
}

func (c *clients) call(o *operation) {
	w := c.w
	if !o.closing && !o.again && !o.governs() {
		c.keys[o.slot].ops++
	}
	c.open++
	o.op.Call = w.now
	w.trace.add(o.node.id)
	w.trace.op(&o.op)
	w.after(hop(o.rng), event{kind: evRequest, n: o.op.ID})
	w.after(w.setup.clientTimeout+50*time.Millisecond, event{kind: evTimeout, n: o.op.ID})
	if o.writes() && !o.governs() {
		c.aim(o)
	}
}

// arrive brings an operation to its node.
func (c *clients) arrive(id uint64) {
	o := c.ops[id-1]
	r := o.node
	if !r.formed() {
		// Refused: nothing was started.
		c.answered(o, o.failed(linearizability.NotApplied))
		return
	}
	o.started = true
	r.pending = append(r.pending, id)
	slices.Sort(r.pending)
	o.deadline = r.now() + c.w.setup.clientTimeout
	switch {
	case o.op.Kind == linearizability.Local:
		if r.paused {
			return // until the client gives up
		}
		c.local(r, o)
	case o.writes() && !o.closing && (!o.governs() || len(o.edict.denials) == 0) && c.checks.chance(c.w.setup.checked):
		c.w.judge.count("write checked where it is accepted")
		c.check(r, o)
	case o.writes():
		c.propose(r, o)
	case c.w.opts.hooks.readEarly:
		c.readDone(r, o)
	default:
		r.owe(id)
		r.take(node.ReadIndex{Request: id, Deadline: o.deadline})
	}
}

// failed is the answer that there is none: write is the outcome if o writes.
func (o *operation) failed(write linearizability.Outcome) func(*linearizability.Op) {
	return func(op *linearizability.Op) {
		op.Claims = false
		op.Outcome = linearizability.ReadFailed
		if o.writes() {
			op.Outcome = write
		}
	}
}

func requestID(id uint64) string { return "op-" + strconv.FormatUint(id, 10) }

// opOf is the operation that a request id names; 0 if none.
func opOf(request string) uint64 {
	id, _ := strconv.ParseUint(strings.TrimPrefix(request, "op-"), 10, 64)
	return id
}

// since is how many operations were of the world before it was restored.
func (c *clients) since() int {
	if n := c.w.renewal; n != nil {
		return n.since
	}
	return 0
}

// own are the operations of this world.
func (c *clients) own() []*operation { return c.ops[c.since():] }

// byRequest is the operation that a request id names, or nil.
func (c *clients) byRequest(request string) *operation {
	if id := opOf(request); id != 0 {
		return c.ops[id-1]
	}
	return nil
}

func (c *clients) command(o *operation) []byte {
	cmd := c.commandOf(o)
	b, err := cmd.EncodeAs(c.versionAt(o.node))
	if err != nil {
		c.w.fail(JudgeInvariant, "a command does not encode: %w", err)
	}
	return b
}

// versionAt is of commands, as a node writes them: what the cluster uses, as far as the node knows.
func (c *clients) versionAt(r *replica) uint8 {
	if r.db == nil {
		return fsm.MinVersion
	}
	return max(r.db.State().Version, fsm.MinVersion)
}

func (c *clients) commandOf(o *operation) fsm.Command {
	if o.governs() && len(o.edict.denials) > 0 {
		return fsm.Command{AcceptedAt: c.w.now + int64(o.node.wall), Denials: o.edict.denials}
	}
	cmd := fsm.Command{
		RequestID: requestID(o.op.ID), AcceptedAt: c.w.now + int64(o.node.wall), Principal: principals[o.principal],
		Compares: slices.Clone(o.patch),
	}
	if o.op.ID%2 == 0 {
		cmd.Trace = fsm.Trace{ID: [16]byte{1, byte(o.op.ID)}, Span: [8]byte{1}, Flags: 1} // where the version has it
	}
	if o.key != "" {
		cmd.Idempotency = fsm.Idempotency{Key: o.key, Request: o.request, OnlyIfDone: o.patch != nil}
	}
	if o.governs() {
		cmd.Ops, cmd.Compares = o.edict.ops, o.edict.compares
		return cmd
	}
	steps := o.op.Steps
	if o.op.Kind != linearizability.Txn {
		steps = []linearizability.Step{{Kind: o.op.Kind, Key: o.op.Key, Value: o.op.Value}}
	}
	if cmd.Ops = o.stored; cmd.Ops == nil {
		cmd.Ops = opsOf(steps)
	}
	cmd.Else = opsOf(o.op.Else)
	switch {
	case o.op.IfAbsent:
		cmd.Compares = []fsm.Compare{{Kind: fsm.KeyAbsent, Key: o.op.Key}}
	case o.op.IfRevision != 0:
		cmd.Compares = []fsm.Compare{{Kind: fsm.RevisionIs, Key: o.op.Key, Revision: fsm.Revision(o.op.IfRevision)}}
	}
	for _, k := range o.op.Compares {
		cmd.Compares = append(cmd.Compares, compareOf(k))
	}
	return cmd
}

func opsOf(steps []linearizability.Step) (ops []fsm.Op) {
	for i := range steps {
		op := putOf(steps[i].Key, steps[i].Value)
		if steps[i].Kind == linearizability.Delete {
			op = fsm.Op{Kind: fsm.Delete, Key: steps[i].Key}
		}
		ops = append(ops, op)
	}
	return ops
}

func compareOf(k linearizability.Compare) fsm.Compare {
	switch {
	case k.Exists:
		return fsm.Compare{Kind: fsm.KeyExists, Key: k.Key}
	case k.Value != "":
		return fsm.Compare{Kind: fsm.ValueIs, Key: k.Key, Value: []byte(k.Value)}
	case k.Revision == 0:
		return fsm.Compare{Kind: fsm.KeyAbsent, Key: k.Key}
	}
	return fsm.Compare{Kind: fsm.RevisionIs, Key: k.Key, Revision: fsm.Revision(k.Revision)}
}

// proposed takes the core's word on a write.
func (c *clients) proposed(r *replica, e node.ProposeReply) {
	if !r.answer(e.Request) {
		c.w.fail(JudgeAnswer, "%s answers request %d twice, or without being asked", r.name, e.Request)
		return
	}
	o := c.ops[e.Request-1]
	if e.Err != nil {
		outcome := linearizability.Unknown
		if e.Err.Outcome == node.NotApplied {
			outcome = linearizability.NotApplied
		}
		c.w.judge.count("write: " + e.Err.Outcome.String() + ": " + e.Err.Err.Error())
		c.answered(o, func(op *linearizability.Op) { op.Outcome = outcome })
		return
	}
	if r.diverged {
		// It may say anything until it finds out: nothing follows from it.
		c.answered(o, o.failed(linearizability.Unknown))
		return
	}
	res := e.Result
	o.result = res.Outcome
	c.w.judge.acknowledged(r, requestID(o.op.ID), &res)
	switch res.Outcome {
	case fsm.Denied, fsm.AdminExists, fsm.LastAdmin, fsm.UnknownRole, fsm.RoleInUse, fsm.PolicyFull, fsm.SelfDenied:
		c.w.judge.count("write: " + res.Outcome.String())
		c.answered(o, o.failed(linearizability.NotApplied))
		return
	case fsm.MemberExists, fsm.UnknownMember, fsm.MemberPending, fsm.MembersFull, fsm.FewerFailures, fsm.VersionUnknown:
		c.w.judge.count("write: " + res.Outcome.String())
		c.answered(o, o.failed(linearizability.NotApplied))
		return
	case fsm.Recorded:
		c.answered(o, o.failed(linearizability.Applied))
		return
	case fsm.Compacted, fsm.FutureRevision, fsm.KeyReused:
		c.w.judge.count("write: " + res.Outcome.String())
		c.answered(o, o.failed(linearizability.NotApplied))
		return
	case fsm.CompareFailed:
		if o.patch != nil {
			c.w.judge.count("patch evaluated again")
			c.answered(o, func(op *linearizability.Op) {
				op.Outcome = linearizability.NotApplied
				o.patch = []fsm.Compare{compareOf(linearizability.Compare{Key: op.Key, Revision: uint64(res.Current)})}
			})
			return
		}
	default:
	}
	c.answered(o, func(op *linearizability.Op) {
		op.Revision, op.ElseDone = uint64(res.Revision), res.Else
		single := op.Kind != linearizability.Txn
		switch res.Outcome {
		case fsm.Applied:
			op.Outcome = linearizability.Applied
		case fsm.Unchanged:
			op.Outcome = linearizability.Unchanged
			if single {
				op.KeyRevision = uint64(res.Ops[0].Revision)
			}
		case fsm.CompareFailed:
			op.Outcome = linearizability.CompareFailed
			if single {
				op.KeyRevision = uint64(res.Current)
			}
		default:
			c.w.fail(JudgeAnswer, "%s answers %s with %v", r.name, requestID(op.ID), res.Outcome)
		}
	})
}

// confirmed takes the core's word that a read may be served.
func (c *clients) confirmed(r *replica, e node.ReadReply) {
	o := c.ops[e.Request-1]
	if o.checking {
		o.checking = false
		if e.Err == nil {
			c.w.after(0, event{kind: evChecked, node: r, life: r.life, n: e.Request})
			return
		}
		r.answer(e.Request)
		c.w.judge.count("write not checked: " + e.Err.Error())
		c.answered(o, o.failed(linearizability.NotApplied))
		return
	}
	if o.writes() || o.op.Kind == linearizability.Local {
		c.w.fail(JudgeAnswer, "%s answers request %d as a read", r.name, e.Request)
		return
	}
	if e.Err != nil {
		if !r.answer(e.Request) {
			c.w.fail(JudgeAnswer, "%s answers request %d twice, or without being asked", r.name, e.Request)
		}
		c.w.judge.count("read: " + e.Err.Error())
		c.answered(o, o.failed(linearizability.Unknown))
		return
	}
	c.readDone(r, o)
}

// readDone serves a read from what the node holds now: all its keys in one view.
func (c *clients) readDone(r *replica, o *operation) {
	if !r.answer(o.op.ID) {
		c.w.fail(JudgeAnswer, "%s answers request %d twice, or without being asked", r.name, o.op.ID)
		return
	}
	if r.core.Status().Damage != nil || r.diverged {
		c.answered(o, o.failed(linearizability.Unknown))
		return
	}
	view, err := r.db.View()
	if err != nil {
		c.w.fail(JudgeStop, "%s: %w", r.name, err)
		return
	}
	defer view.Close()
	c.mayRead(r, o, view)
	r.hold(o.keys()[0])
	s := view.State()
	var saw []linearizability.Step
	for _, key := range o.keys() {
		look := c.get
		if isSet(key) {
			look = c.scan
		}
		step, err := look(r, view, key)
		if err != nil {
			c.unread(r, o, key, err)
			return
		}
		saw = append(saw, step)
	}
	if o.slot < c.special {
		c.whole(r, saw)
	}
	c.answered(o, func(op *linearizability.Op) {
		op.Outcome = linearizability.ReadDone
		op.Revision = uint64(s.Revision)
		if op.Kind == linearizability.Txn {
			op.Steps = saw
			return
		}
		op.Found, op.Got, op.KeyRevision = saw[0].Found, saw[0].Got, saw[0].KeyRevision
	})
}

// errAbsent: a store that the world has damaged says that there is nothing. Checksums
// cannot prove absence (protocol.md §4): the scrub will find it.
var errAbsent = errors.New("nothing is there, says a damaged store")

// unread answers a read that found damage.
func (c *clients) unread(r *replica, o *operation, key string, err error) {
	switch {
	case errors.Is(err, fsm.ErrDamaged):
		r.damage(err)
	case errors.Is(err, errAbsent):
		c.w.judge.count("absence read from a damaged store")
	default:
		c.w.fail(JudgeState, "%s: reading %s: %w", r.name, key, err)
	}
	c.answered(o, o.failed(linearizability.Unknown))
}

// get reads one key.
func (c *clients) get(r *replica, view *fsm.View, key string) (linearizability.Step, error) {
	rec, found, err := view.Get(key)
	if err == nil && r.tainted && !found {
		err = errAbsent
	}
	if err != nil {
		return linearizability.Step{}, err
	}
	c.w.judge.read(r, view.State(), key, rec, found)
	if !r.tainted {
		if err := c.w.judge.listed(r, view, key); err != nil {
			return linearizability.Step{}, err
		}
	}
	return linearizability.Step{
		Kind: linearizability.Read, Key: key, Found: found, Got: string(rec.Value), KeyRevision: uint64(rec.Revision),
	}, nil
}

// scan reads a set: its elements in the order of their revisions.
func (c *clients) scan(r *replica, view *fsm.View, key string) (linearizability.Step, error) {
	if r.tainted {
		return linearizability.Step{}, errAbsent
	}
	var recs []fsm.Record
	hi := key + string(rune(elementOf[0]+1))
	err := view.Scan(key+elementOf, hi, func(rec fsm.Record) bool {
		c.w.judge.read(r, view.State(), rec.Key, rec, true)
		rec.Value = slices.Clone(rec.Value)
		recs = append(recs, rec)
		return true
	})
	slices.SortFunc(recs, func(a, b fsm.Record) int { return cmp.Compare(a.Revision, b.Revision) })
	step := linearizability.Step{Kind: linearizability.Read, Key: key, Found: len(recs) > 0}
	var elements []string
	for i := range recs {
		elements = append(elements, string(recs[i].Value))
		step.KeyRevision = uint64(recs[i].Revision)
	}
	step.Got = strings.Join(elements, " ")
	return step, err
}

// whole: all keys of a batch have the value and the revision of one write.
func (c *clients) whole(r *replica, saw []linearizability.Step) {
	first := saw[0]
	for _, s := range saw[1:] {
		if s.Found != first.Found || s.Got != first.Got || s.KeyRevision != first.KeyRevision {
			c.w.fail(JudgeState, "%s shows half a transaction: %s is %q at revision %d, %s is %q at revision %d",
				r.name, first.Key, first.Got, first.KeyRevision, s.Key, s.Got, s.KeyRevision)
		}
	}
}

// local serves a read without asking anybody, with the proof of its freshness.
func (c *clients) local(r *replica, o *operation) {
	status := r.core.Status()
	if status.Fresh {
		o.op.Claims, o.op.FreshAt = true, r.clock.world(status.FreshAt)
	}
	if old := !status.Fresh || r.age(status.FreshAt) > time.Duration(o.op.MaxStaleness); old && o.op.MaxStaleness != 0 && !c.w.opts.hooks.anyAge {
		c.w.judge.count("read: older than asked")
		r.answer(o.op.ID)
		c.answered(o, o.failed(linearizability.Unknown))
		return
	}
	c.readDone(r, o)
}

// age is the most that has passed since r's clock read at.
func (r *replica) age(at time.Duration) time.Duration {
	d, drift := int64(r.now()-at), max(r.w.setup.drift, 1)
	return time.Duration(d + (d/(1_000_000-drift)+1)*drift)
}

// answered sends an answer on its way to the client.
func (c *clients) answered(o *operation, answer func(*linearizability.Op)) {
	o.answer = answer
	c.w.after(hop(o.rng), event{kind: evReply, n: o.op.ID})
}

// reply brings an answer to its client, who may have given up.
func (c *clients) reply(id uint64) {
	o := c.ops[id-1]
	if o.done {
		return
	}
	o.answer(&o.op)
	if h := c.w.opts.hooks.answer; h != nil {
		h(&o.op)
	}
	if o.op.Kind == linearizability.Local && o.op.Outcome == linearizability.ReadDone && o.op.Revision < o.op.MinRevision && !c.w.opts.hooks.behind {
		// The node promised nothing; the session does not take it.
		c.w.judge.count("session: the node is behind")
		o.op.Outcome, o.op.Claims = linearizability.ReadFailed, false
	}
	o.op.Return = c.w.now
	c.w.judge.count("outcome: " + string(o.op.Outcome))
	c.finish(o)
}

// timeout is when a client gives up: what it asked for may still happen.
func (c *clients) timeout(id uint64) {
	o := c.ops[id-1]
	if o.done {
		return
	}
	c.w.judge.count("client gives up")
	o.failed(linearizability.Unknown)(&o.op)
	o.op.Return = c.w.now
	c.finish(o)
}

// dropped: the node's process is gone, and its clients notice.
func (c *clients) dropped(r *replica) {
	for _, id := range r.pending {
		if o := c.ops[id-1]; !o.done && o.answer == nil {
			c.answered(o, o.failed(linearizability.Unknown))
		}
	}
	r.pending = r.pending[:0]
}

// finish is the client's turn after an operation.
func (c *clients) finish(o *operation) {
	o.done = true
	o.answer = nil
	c.open--
	c.w.trace.op(&o.op)
	if o.closing {
		return
	}
	if o.governs() {
		c.ruled(o)
		return
	}
	if o.op.Outcome == linearizability.Unknown && c.current(o) && !o.again {
		c.keys[o.slot].unknown++
	}
	if o.op.Outcome == linearizability.Applied {
		c.took = time.Duration(o.op.Return - o.op.Call)
		c.follow(o)
	}
	if o.lone {
		return
	}
	cl := &c.clients[o.op.Client]
	c.learn(cl, o)
	c.maySend(cl, o)
	think := cl.rng.about(c.w.setup.think)
	switch {
	case o.op.Outcome == linearizability.Unknown && o.op.Kind == linearizability.Put && cl.rng.chance(c.w.setup.retries) && o.key == "":
		cl.retry = o
		think = cl.rng.between(0, 10*time.Millisecond)
	case o.op.Outcome == linearizability.Applied && cl.session != 0 && cl.rng.chance(c.w.setup.readBacks):
		cl.back = o
		think = cl.rng.between(0, time.Millisecond)
	}
	c.w.after(think, event{kind: evClient, n: uint64(o.op.Client)})
}

// learn is what a client knows after an operation.
func (c *clients) learn(cl *client, o *operation) {
	switch o.op.Outcome {
	case linearizability.ReadDone, linearizability.Unchanged, linearizability.CompareFailed, linearizability.Applied:
		cl.least = max(cl.least, o.op.Revision)
	default:
	}
	c.keys[o.slot].load.complete(cl, o)
}

// idle tells whether no operation is without an outcome.
func (c *clients) idle() bool { return c.open == 0 }
