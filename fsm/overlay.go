package fsm

import (
	"cmp"
	"slices"

	"github.com/tidwall/btree"
)

// overlay is what was applied since a commit of the database: the base knows
// nothing of it yet. Its trees are copy-on-write: a reader's copy costs nothing
// and never changes.
type overlay struct {
	// trees are those of records, by position there.
	trees [len(records)]*btree.BTreeG[*entry]
	// copies are those of trees as snapshot took them; nil: the tree has changed since. Most
	// commands change one or two of them.
	copies [len(records)]*btree.BTreeG[*entry]
	// changes are the change log's new records in order of revision. Appended
	// only: a reader's slice never changes.
	changes []changeEntry
	// bytes is what all of it takes in memory.
	bytes int
}

// entry is one key's newest state. It never changes once it is in a tree; a
// change puts another in its place.
type entry struct {
	key string
	// value is as the database stores it; nil if the key has no record.
	value []byte
	// delta is what the range of key gains by this entry over what the base has.
	delta tally
}

// changeEntry is one record of the change log, as the database stores it.
type changeEntry struct {
	revision Revision
	value    []byte
}

// What the structures take beside keys and values, measured by
// TestOverlayBytesAreHonest: an entry with its slot in a tree's node and its
// share of what copying nodes leaves behind.
const (
	entryBytes  = 160
	changeBytes = 64
)

func newOverlay() *overlay {
	less := func(a, b *entry) bool { return a.key < b.key }
	opts := btree.Options{NoLocks: true}
	o := &overlay{}
	for i := range o.trees {
		o.trees[i] = btree.NewBTreeGOptions(less, opts)
	}
	return o
}

// snapshot returns o as it is now. Called by the goroutine that changes o.
func (o *overlay) snapshot() *overlay {
	out := &overlay{changes: o.changes, bytes: o.bytes}
	for i, tree := range o.trees {
		if o.copies[i] == nil {
			o.copies[i] = tree.Copy()
		}
	}
	out.trees = o.copies
	return out
}

// tree returns the tree that shadows bucket in.
func (o *overlay) tree(in bucket) *btree.BTreeG[*entry] {
	must(in.hasTally(), "the overlay has no tree of bucket %s", in)
	return o.trees[in-current]
}

// put takes e in. hint is where a similar key was, and then where e is.
func (o *overlay) put(in bucket, e *entry, hint *btree.PathHint) {
	o.bytes += e.size()
	o.copies[in-current] = nil
	if before, replaced := o.tree(in).SetHint(e, hint); replaced {
		o.bytes -= before.size()
	}
}

func (e *entry) size() int { return entryBytes + len(e.key) + len(e.value) }

// size is what o takes; o may be nil.
func (o *overlay) size() int {
	if o == nil {
		return 0
	}
	return o.bytes
}

func (o *overlay) log(rev Revision, value []byte) {
	o.changes = append(o.changes, changeEntry{rev, value})
	o.bytes += changeBytes + len(value)
}

// changesFrom are the records of the change log from revision from on. Whoever follows the
// log asks for the last few of many.
func (o *overlay) changesFrom(from Revision) []changeEntry {
	i, _ := slices.BinarySearchFunc(o.changes, from, func(ch changeEntry, rev Revision) int { return cmp.Compare(ch.revision, rev) })
	return o.changes[i:]
}
