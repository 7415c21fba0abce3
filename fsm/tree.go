package fsm

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
)

// tree is one bucket of a committed transaction. Safe for concurrent use.
type tree struct {
	pages *pages
	in    bucket
	root  uint64
	// inline is the root itself, if it lies in the root bucket's leaf.
	inline []byte
}

// names is the root bucket, which holds all others under their names.
func (p *pages) names() tree { return tree{pages: p, in: names, root: p.meta.root} }

// openTree finds the bucket in the transaction's root bucket.
func (p *pages) openTree(in bucket) (tree, error) {
	t := p.names()
	v, isBucket, found, err := t.lookup([]byte(in.String()))
	if err != nil {
		return tree{}, err
	}
	if !found || !isBucket || len(v) < bucketHeader {
		return tree{}, damaged("bucket %s is missing", in)
	}
	t = tree{pages: p, in: in, root: binary.LittleEndian.Uint64(v)}
	if t.root == 0 {
		t.inline = v[bucketHeader:]
	}
	return t, nil
}

func (t *tree) node(id uint64) (node, error) {
	if id == 0 && t.inline != nil {
		return parseNode(t.inline)
	}
	return t.pages.node(id)
}

// visit returns the page id, whose keys the page above says are from lo up to hi.
// All of it is checked the first time in this transaction, or always if strict.
func (t *tree) visit(id uint64, lo, hi []byte, strict bool) (node, error) {
	n, err := t.node(id)
	if err != nil {
		return node{}, err
	}
	if strict || !t.pages.seen(id) {
		if err := n.verify(t.in, lo, hi); err != nil {
			return node{}, err
		}
		atomic.OrUint64(&t.pages.verified[id/64], 1<<(id%64))
	}
	return n, nil
}

// lookup returns what the leaf that must hold key has under it. Not found, it has
// seen the key before and the key after where it would be, so a damaged key in a
// branch, which leads astray, hides no record.
func (t *tree) lookup(key []byte) (v []byte, isBucket, found bool, err error) {
	var lo, hi []byte
	var beside node // the lowest branch on the way with a child to the right
	var right int   // that child
	id := t.root
	for range maxTreeDepth {
		n, err := t.visit(id, lo, hi, false)
		if err != nil {
			return nil, false, false, err
		}
		if n.isLeaf {
			i, exact, err := n.search(key)
			if err != nil {
				return nil, false, false, err
			}
			if !exact {
				if err = n.within(lo, hi); err == nil && i == n.n && beside.n > 0 {
					err = t.startsAfter(beside.child(right), key)
				}
				return nil, false, false, err
			}
			v, isBucket, err = n.value(i)
			return v, isBucket, true, err
		}
		i, err := n.descend(key)
		if err != nil {
			return nil, false, false, err
		}
		if i+1 < n.n {
			beside, right = n, i+1
		}
		if lo, hi, err = n.bounds(i, lo, hi); err != nil {
			return nil, false, false, err
		}
		id = n.child(i)
	}
	return nil, false, false, damaged("bucket %s: deeper than %d pages", t.in, maxTreeDepth)
}

// startsAfter checks that the least key in page id and below is above key.
func (t *tree) startsAfter(id uint64, key []byte) error {
	for range maxTreeDepth {
		n, err := t.node(id)
		if err != nil {
			return err
		}
		if n.n > 0 {
			first, err := n.key(0)
			if err != nil {
				return err
			}
			if bytes.Compare(first, key) <= 0 {
				return damaged("page %d: key %q is not where the page above says", id, first)
			}
		}
		if n.isLeaf {
			return nil
		}
		id = n.child(0)
	}
	return damaged("bucket %s: deeper than %d pages", t.in, maxTreeDepth)
}

// bounds returns the keys that child i may hold, [lo, hi), given those of n.
func (n node) bounds(i int, lo, hi []byte) (childLo, childHi []byte, err error) {
	if childLo, err = n.key(i); err != nil {
		return nil, nil, err
	}
	if bytes.Compare(childLo, lo) < 0 {
		return nil, nil, damaged("page %d: keys are outside of what the page above says", n.id())
	}
	childHi = hi
	if i+1 < n.n {
		if childHi, err = n.key(i + 1); err != nil {
			return nil, nil, err
		}
		if bytes.Compare(childLo, childHi) >= 0 || hi != nil && bytes.Compare(childHi, hi) >= 0 {
			return nil, nil, damaged("page %d: element %d is out of order", n.id(), i+1)
		}
	}
	return childLo, childHi, nil
}

// stored returns the value under key, its checksum verified and in front. It
// aliases the mapping.
func (t *tree) stored(key string) (v []byte, found bool, err error) {
	// On the stack: keys are short, and this is the path of every read.
	var buf [MaxKeyBytes + endedBytes + 1]byte
	v, isBucket, found, err := t.lookup(append(buf[:0], key...))
	if err != nil || !found {
		return nil, false, err
	}
	if isBucket {
		return nil, false, damaged("record %q of bucket %s: is a bucket", key, t.in)
	}
	if _, err := unseal(t.in, key, v); err != nil {
		return nil, false, err
	}
	return v, true, nil
}

// cursor goes through a tree in order of key. It checks the order and the
// bounds of each page it enters.
type cursor struct {
	t     *tree
	stack []level
	key   []byte
	val   []byte
	// strict makes it check the whole of each page it enters, seen before or not.
	strict bool
	// read counts the bytes of keys and values gone over.
	read int
}

// level is a page on the way down, with the element taken.
type level struct {
	n      node
	i      int
	lo, hi []byte
}

// seek moves to the first key not below key; false at the end.
func (c *cursor) seek(key []byte) (bool, error) {
	c.stack = c.stack[:0]
	c.key = nil
	if err := c.down(c.t.root, nil, nil, key); err != nil {
		return false, err
	}
	top := &c.stack[len(c.stack)-1]
	i, _, err := top.n.search(key)
	if err != nil {
		return false, err
	}
	top.i = i - 1
	return c.next()
}

// down enters page id and its descendants to the leaf that may hold key; with
// key nil, the first.
func (c *cursor) down(id uint64, lo, hi, key []byte) error {
	for len(c.stack) < maxTreeDepth {
		n, err := c.t.visit(id, lo, hi, c.strict)
		if err != nil {
			return err
		}
		if err := n.within(lo, hi); err != nil {
			return err
		}
		l := level{n: n, lo: lo, hi: hi}
		if n.isLeaf {
			l.i = -1
			c.stack = append(c.stack, l)
			return nil
		}
		if key != nil {
			if l.i, err = n.descend(key); err != nil {
				return err
			}
		}
		c.stack = append(c.stack, l)
		if lo, hi, err = n.bounds(l.i, lo, hi); err != nil {
			return err
		}
		id = n.child(l.i)
	}
	return damaged("bucket %s: deeper than %d pages", c.t.in, maxTreeDepth)
}

// next moves to the next key; false at the end.
func (c *cursor) next() (bool, error) {
	for {
		top := &c.stack[len(c.stack)-1]
		if top.n.isLeaf && top.i+1 < top.n.n {
			top.i++
			return true, c.load(top)
		}
		// Up to the first branch with a child not gone into yet.
		c.stack = c.stack[:len(c.stack)-1]
		for len(c.stack) > 0 && c.stack[len(c.stack)-1].i+1 >= c.stack[len(c.stack)-1].n.n {
			c.stack = c.stack[:len(c.stack)-1]
		}
		if len(c.stack) == 0 {
			c.stack = append(c.stack, level{n: node{isLeaf: true}, i: -1}) // the end stays the end
			return false, nil
		}
		top = &c.stack[len(c.stack)-1]
		top.i++
		lo, hi, err := top.n.bounds(top.i, top.lo, top.hi)
		if err != nil {
			return false, err
		}
		if err := c.down(top.n.child(top.i), lo, hi, nil); err != nil {
			return false, err
		}
	}
}

func (c *cursor) load(l *level) error {
	k, err := l.n.key(l.i)
	if err != nil {
		return err
	}
	if c.key != nil && bytes.Compare(c.key, k) >= 0 {
		return damaged("bucket %s: key %q follows %q", c.t.in, k, c.key)
	}
	v, isBucket, err := l.n.value(l.i)
	if err != nil {
		return err
	}
	if isBucket != (c.t.in == names) {
		return damaged("record %q of bucket %s: is a bucket where none should be, or none where one should", k, c.t.in)
	}
	c.key, c.val = k, v
	c.read += len(k) + len(v)
	return nil
}
