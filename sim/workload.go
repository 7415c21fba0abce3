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
	switch o.op.Outcome {
	case linearizability.ReadDone, linearizability.Unchanged, linearizability.CompareFailed:
		cl.seen[o.op.Key] = sight{rev: o.op.KeyRevision}
	case linearizability.Applied:
		cl.seen[o.op.Key] = sight{}
		if o.op.Kind == linearizability.Put {
			cl.seen[o.op.Key] = sight{rev: o.op.Revision}
		}
	default:
	}
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
	key, rev := o.keys()[0], uint64(0)
	switch {
	case o.op.Outcome == linearizability.ReadDone && o.op.Kind == linearizability.Local:
		rev = o.op.KeyRevision
	case o.op.Outcome == linearizability.ReadDone:
		rev = o.op.Steps[0].KeyRevision
	case o.op.Outcome != linearizability.Applied:
		return
	case o.op.Steps[0].Kind == linearizability.Put:
		rev = o.op.Revision
	}
	cl.seen[key] = sight{rev: rev}
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

// workload is what the history says of the world's workload: nothing, if it was not
// come to.
func (c *clients) workload() linearizability.Workload {
	out := linearizability.Workload{Name: c.w.setup.load}
	known := map[string]bool{}
	for _, o := range c.ops {
		if o.slot < c.special {
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
		return linearizability.Workload{}
	}
	return out
}
