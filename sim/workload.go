package sim

import (
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

// workload is a way to use the keys of a slot. It holds nothing: what clients know is
// theirs, and gone with them.
type workload interface {
	// draw makes o, which cl is going to call, an operation on the keys of its slot.
	draw(c *clients, cl *client, o *operation)
	// complete tells cl what follows from o's outcome, if anything does.
	complete(cl *client, o *operation)
}

// sight is what a client knows of a key.
type sight struct {
	rev   uint64 // 0: there was no record
	value string // of workloads that go by it
}

// memory is what a client knows that a key, or all keys of a batch, were at a revision.
type memory struct {
	rev   uint64 // of the store
	found bool
	value string
}

// maxPast bounds what a client remembers of one key's past.
const maxPast = 6

func (cl *client) keep(key string, m memory) {
	past := append(cl.past[key], m)
	cl.past[key] = past[max(0, len(past)-maxPast):]
}

// longAgo is something that the client knows of the past of a key, or a revision that is
// not there yet: what is to be there then is not either.
func (cl *client) longAgo(key string, o *operation) (m memory, ok bool) {
	past := cl.past[key]
	if len(past) == 0 {
		return m, false
	}
	m = past[cl.ways.IntN(len(past))]
	if cl.ways.IntN(16) == 0 {
		m = memory{rev: m.rev + 1<<40, found: true, value: "x" + strconv.FormatUint(o.op.ID, 10)}
	}
	return m, true
}

// loads are the workloads that a world has one of besides registers and batches, for
// a history has room for one: each has a judge of its own, by whose name it goes.
var loads = map[string]struct {
	slot  keySlot
	slots int
}{
	linearizability.Bank:       {keySlot{prefix: "bank", load: bank{}, width: 4, maxOps: maxBankOps, maxUnknown: maxBatchUnknown, single: true}, 1},
	linearizability.Set:        {keySlot{prefix: setPrefix, load: set{}, maxOps: maxBatchOps, maxUnknown: maxBatchUnknown}, 2},
	linearizability.ListAppend: {keySlot{prefix: "list", load: lists{}, width: 2, maxOps: maxBatchOps, maxUnknown: maxBatchUnknown}, 2},
}

// registers are single keys that are put, removed and read, on conditions or not.
type registers struct{}

// maxBound is the most that a bounded read may be asked to be old.
const maxBound = 5 * time.Second

func (registers) draw(c *clients, cl *client, o *operation) {
	g, s := o.rng, &c.w.setup
	o.op.Key = o.name
	switch share := g.IntN(100); {
	case share < s.putShare:
		o.op.Kind = linearizability.Put
		o.op.Value = c.value(g, o.op.ID)
		o.condition(cl)
	case share < s.putShare+s.delShare:
		o.op.Kind = linearizability.Delete
		o.condition(cl)
	case share < s.putShare+s.delShare+s.getShare:
		o.op.Kind = linearizability.Read
	default:
		o.op.Kind = linearizability.Local
		if g.chance(s.bounded) {
			c.w.judge.count("bounded read")
			o.op.MaxStaleness = int64(g.between(time.Millisecond, g.between(0, maxBound)))
		}
	}
}

func (registers) complete(cl *client, o *operation) {
	key := o.keys()[0]
	did := linearizability.Step{
		Kind: o.op.Kind, Value: o.op.Value, Found: o.op.Found, Got: o.op.Got, KeyRevision: o.op.KeyRevision,
	}
	if txn := o.op.Kind == linearizability.Txn; txn {
		did = o.branch()[0]
	}
	switch o.op.Outcome {
	case linearizability.ReadDone:
		cl.seen[key] = sight{rev: did.KeyRevision, value: did.Got}
		cl.keep(key, memory{rev: o.op.Revision, found: did.Found, value: did.Got})
	case linearizability.Unchanged, linearizability.CompareFailed:
		if o.op.Kind != linearizability.Txn {
			cl.seen[key] = sight{rev: o.op.KeyRevision}
		}
	case linearizability.Applied:
		cl.seen[key] = sight{}
		if did.Kind == linearizability.Put {
			cl.seen[key] = sight{rev: o.op.Revision, value: did.Value}
		}
		cl.keep(key, memory{rev: o.op.Revision, found: did.Kind == linearizability.Put, value: did.Value})
	default:
	}
}

// orElse makes a write depend on the value of its key, and mostly do another in its place.
func (registers) orElse(c *clients, cl *client, o *operation) {
	g, key := cl.ways, o.op.Key
	step := linearizability.Step{Kind: o.op.Kind, Key: key, Value: o.op.Value}
	o.op.Kind, o.op.Key, o.op.Value, o.op.IfRevision, o.op.IfAbsent = linearizability.Txn, "", "", 0, false
	o.op.Steps = []linearizability.Step{step}
	o.op.Compares = []linearizability.Compare{cl.valueOf(key)}
	if g.IntN(4) != 0 {
		o.op.Else = []linearizability.Step{otherStep(g, o, key)}
	}
	c.w.judge.count("else branch")
}

// bringBack makes a write a rollback of its key: to the history the put, or the delete, of
// what was there.
func (registers) bringBack(c *clients, cl *client, o *operation) {
	m, ok := cl.longAgo(o.op.Key, o)
	if !ok {
		return
	}
	c.w.judge.count("rollback")
	o.op.Kind, o.op.Value, o.op.IfRevision, o.op.IfAbsent = linearizability.Put, m.value, 0, false
	if !m.found {
		o.op.Kind = linearizability.Delete
	}
	o.stored = []fsm.Op{{Kind: fsm.Restore, Key: o.op.Key, Revision: fsm.Revision(m.rev)}}
}

// valueOf is a condition on what a client knows of a key, by its value if it knows one.
func (cl *client) valueOf(key string) linearizability.Compare {
	compare := linearizability.Compare{Key: key, Value: cl.seen[key].value}
	if compare.Value == "" {
		compare.Exists = cl.ways.IntN(2) == 0
	}
	return compare
}

// otherStep is what else may be done to a key: its value is no other operation's, and not that
// of the first branch.
func otherStep(g generator, o *operation, key string) linearizability.Step {
	if g.IntN(4) == 0 {
		return linearizability.Step{Kind: linearizability.Delete, Key: key}
	}
	return linearizability.Step{Kind: linearizability.Put, Key: key, Value: "w" + strconv.FormatUint(o.op.ID, 10)}
}

// batches are keys that are written together, all with one value, or removed
// together, so that whoever reads them together sees one value.
type batches struct{}

func (batches) draw(c *clients, cl *client, o *operation) {
	g, s := o.rng, &c.w.setup
	c.w.judge.count("batch")
	keys := c.keys[o.slot].keys()
	step := linearizability.Step{Kind: linearizability.Put, Value: "v" + strconv.FormatUint(o.op.ID, 10)}
	o.op.Kind = linearizability.Txn
	switch share := g.IntN(100); {
	case share >= s.putShare+s.delShare+s.getShare:
		o.op.Kind, o.op.Key = linearizability.Local, keys[g.IntN(len(keys))]
		return
	case share >= s.putShare+s.delShare:
		step = linearizability.Step{Kind: linearizability.Read}
	case g.chance(s.removals):
		c.w.judge.count("batch removed")
		step = linearizability.Step{Kind: linearizability.Delete}
		if o.op.ID%2 == 0 {
			// To the history a subtree is the keys that can be in it.
			c.w.judge.count("subtree removed")
			o.stored = []fsm.Op{{Kind: fsm.DeleteTree, Key: o.name + "/"}}
		}
	}
	for _, key := range keys {
		step.Key = key
		o.op.Steps = append(o.op.Steps, step)
	}
	if seen, ok := cl.seen[keys[0]]; ok && o.writes() && g.IntN(3) == 0 {
		last := keys[len(keys)-1]
		o.op.Compares = []linearizability.Compare{
			{Key: keys[0], Revision: seen.rev},
			{Key: last, Revision: seen.rev, Exists: seen.rev != 0 && g.IntN(2) == 0},
		}
		if o.op.Compares[1].Exists {
			o.op.Compares[1].Revision = 0
		}
	}
}

func (batches) complete(cl *client, o *operation) {
	key, now := o.keys()[0], sight{}
	switch {
	case o.op.Outcome == linearizability.ReadDone && o.op.Kind == linearizability.Local:
		now = sight{rev: o.op.KeyRevision, value: o.op.Got}
	case o.op.Outcome == linearizability.ReadDone:
		first := &o.op.Steps[0]
		now = sight{rev: first.KeyRevision, value: first.Got}
		cl.keep(o.name, memory{rev: o.op.Revision, found: first.Found, value: first.Got})
	case o.op.Outcome != linearizability.Applied:
		return
	default:
		did := &o.branch()[0]
		if did.Kind == linearizability.Put {
			now = sight{rev: o.op.Revision, value: did.Value}
		}
		cl.keep(o.name, memory{rev: o.op.Revision, found: did.Kind == linearizability.Put, value: did.Value})
	}
	cl.seen[key] = now
}

// orElse makes a write of the batch depend on the value of one key, and mostly do another
// write of the whole batch in its place.
func (batches) orElse(c *clients, cl *client, o *operation) {
	g, keys := cl.ways, o.keys()
	o.op.Compares = []linearizability.Compare{cl.valueOf(keys[0])}
	if g.IntN(4) != 0 {
		other := otherStep(g, o, "")
		for _, other.Key = range keys {
			o.op.Else = append(o.op.Else, other)
		}
	}
	c.w.judge.count("else branch")
}

// bringBack makes a write a rollback of the batch: to the history the put, or the delete, of
// what each of its keys was.
func (batches) bringBack(c *clients, cl *client, o *operation) {
	m, ok := cl.longAgo(o.name, o)
	if !ok {
		return
	}
	c.w.judge.count("rollback")
	for i := range o.op.Steps {
		s := &o.op.Steps[i]
		if s.Kind, s.Value = linearizability.Put, m.value; !m.found {
			s.Kind = linearizability.Delete
		}
	}
	o.op.Compares = nil
	o.stored = []fsm.Op{{Kind: fsm.Restore, Key: o.name + "/", Revision: fsm.Revision(m.rev)}}
}

// bank is accounts between which money is moved; there is none to begin with, and
// some have debts. Its accounts are the same throughout, since the judge must know them all.
type bank struct{}

const (
	maxTransfer = 9
	// maxBankOps is the accounts' share of what Porcupine can take.
	maxBankOps = 400
)

func (bank) draw(c *clients, cl *client, o *operation) {
	g, keys := o.rng, c.keys[o.slot].keys()
	c.w.judge.count("bank")
	if !cl.knows(keys) || g.IntN(3) == 0 {
		o.readAll(keys)
		return
	}
	way, amount := g.Perm(len(keys)), 1+g.IntN(maxTransfer)
	o.replace(cl, keys[way[0]], strconv.Itoa(cl.balance(keys[way[0]])-amount))
	o.replace(cl, keys[way[1]], strconv.Itoa(cl.balance(keys[way[1]])+amount+c.w.opts.hooks.minted))
}

func (bank) complete(cl *client, o *operation) { cl.remember(o) }

// balance is what a client believes to be in an account.
func (cl *client) balance(account string) int {
	n, _ := strconv.Atoi(cl.seen[account].value) // a missing one holds 0
	return n
}

// lists are values that clients add elements to: they read, and put what they read
// with one element more, if the key is still as it was.
type lists struct{}

func (lists) draw(c *clients, cl *client, o *operation) {
	g, keys := o.rng, c.keys[o.slot].keys()
	c.w.judge.count("list append")
	switch {
	case g.IntN(8) == 0:
		o.op.Kind, o.op.Key = linearizability.Local, keys[g.IntN(len(keys))]
		return
	case !cl.knows(keys) || g.IntN(4) == 0:
		o.readAll(keys)
		return
	}
	g.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys[:1+g.IntN(len(keys))] {
		element := "e" + strconv.FormatUint(o.op.ID, 10)
		o.replace(cl, key, strings.TrimSpace(cl.seen[key].value+" "+element))
		o.op.Steps[len(o.op.Steps)-1] = linearizability.Step{Kind: linearizability.Append, Key: key, Value: element}
	}
}

func (lists) complete(cl *client, o *operation) { cl.remember(o) }

// set is elements that are added and never removed. In the store each is a key of its
// own under the set's; in the history the set is one key, a list of them in the order
// of their revisions, which is what a scan in one view shows.
type set struct{}

const setPrefix = "set"

func (set) draw(c *clients, _ *client, o *operation) {
	c.w.judge.count("set")
	switch o.rng.IntN(10) {
	case 0, 1:
		o.op.Kind, o.op.Key = linearizability.Local, o.name
	case 2, 3, 4:
		o.op.Kind, o.op.Key = linearizability.Read, o.name
	default:
		element := "e" + strconv.FormatUint(o.op.ID, 10)
		o.op.Kind = linearizability.Txn
		o.op.Steps = []linearizability.Step{{Kind: linearizability.Append, Key: o.name, Value: element}}
		o.stored = []fsm.Op{putOf(o.name+elementOf+element, element)}
	}
}

func (set) complete(*client, *operation) {}

// elementOf is between the key of a set and the name of an element.
const elementOf = "/"

// isSet tells whether a key of the history is that of a set.
func isSet(key string) bool { return strings.HasPrefix(key, setPrefix) }

// historyKey is the key under which the history has a key of the store.
func historyKey(key string) string {
	if isSet(key) {
		key = key[:strings.LastIndex(key, elementOf)]
	}
	return key
}

// readAll makes o a read of several keys in one view.
func (o *operation) readAll(keys []string) {
	o.op.Kind = linearizability.Txn
	for _, key := range keys {
		o.op.Steps = append(o.op.Steps, linearizability.Step{Kind: linearizability.Read, Key: key})
	}
}

// replace makes o put another value in place of the one that cl knows, if it is
// still there.
func (o *operation) replace(cl *client, key, value string) {
	o.op.Kind = linearizability.Txn
	o.op.Compares = append(o.op.Compares, linearizability.Compare{Key: key, Revision: cl.seen[key].rev})
	o.op.Steps = append(o.op.Steps, linearizability.Step{Kind: linearizability.Put, Key: key, Value: value})
	o.stored = append(o.stored, putOf(key, value))
}

func putOf(key, value string) fsm.Op {
	return fsm.Op{Kind: fsm.Put, Key: key, Value: []byte(value), ContentType: "text/plain"}
}

// knows tells whether a client knows what all these keys hold.
func (cl *client) knows(keys []string) bool {
	for _, key := range keys {
		if _, ok := cl.seen[key]; !ok {
			return false
		}
	}
	return true
}

// remember keeps the values that o read or wrote, and forgets those of which it is
// not certain any more.
func (cl *client) remember(o *operation) {
	switch {
	case o.op.Kind != linearizability.Txn:
	case o.op.Outcome == linearizability.ReadDone:
		for _, s := range o.op.Steps {
			cl.seen[s.Key] = sight{rev: s.KeyRevision, value: s.Got}
		}
	case o.op.Outcome == linearizability.Applied:
		for i := range o.stored {
			cl.seen[o.stored[i].Key] = sight{rev: o.op.Revision, value: string(o.stored[i].Value)}
		}
	default:
		for _, key := range o.keys() {
			delete(cl.seen, key)
		}
	}
}

// workloads is what the history says of the world's workload: nothing, if it was not
// come to.
func (c *clients) workloads() []linearizability.Workload {
	out := linearizability.Workload{Name: c.w.setup.load}
	known := map[string]bool{}
	for _, o := range c.own() {
		if o.slot < c.special || o.governs() {
			continue
		}
		for _, key := range o.keys() {
			if !known[key] {
				known[key] = true
				out.Keys = append(out.Keys, key)
			}
		}
	}
	if len(out.Keys) == 0 {
		return nil
	}
	return []linearizability.Workload{out}
}
