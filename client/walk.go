package client

import "strings"

// WalkOptions says how a tree is taken apart.
type WalkOptions struct {
	// Prefix is the path of the tree's root; "" if it is the root of all.
	Prefix string
	// Escape stands for each slash in a member name; "" refuses such names.
	Escape string
	// Trusted leaves out the search for duplicate members: the same text was
	// walked before with the same options.
	Trusted bool
}

// WalkStats is what a tree holds.
type WalkStats struct {
	// Leaves were handed out. EmptyObjects were not: they stand for no key.
	Leaves, EmptyObjects int
}

// WalkTree calls leaf for every leaf of a JSON tree, in its order. Objects nest
// paths; any other value, an array too, is a leaf, and so is member "" of an
// object, whatever it is: the value of the object's own path. A leaf's value is
// its text as it stands there, so no number loses a digit.
//
// path is valid until leaf returns. Whatever the servers would refuse is refused
// here. An error ends the walk: a *SyntaxError, leaf's own, or a *KeyError if
// Prefix is no key.
func WalkTree(text string, o WalkOptions, leaf func(path []byte, value string) error) (WalkStats, error) {
	w := walker{scanner: scanner{s: text}, opts: o, leaf: leaf, path: append(make([]byte, 0, MaxKeyBytes), o.Prefix...)}
	depth := 0
	if o.Prefix != "" {
		if err := CheckKey(o.Prefix); err != nil {
			return WalkStats{}, err
		}
		depth = strings.Count(o.Prefix, "/") + 1
	}
	if !w.begin() || !w.value(depth, w.i) || !w.end() {
		if w.leafErr != nil {
			return w.stats, w.leafErr
		}
		return w.stats, w.err()
	}
	return w.stats, nil
}

type walker struct {
	scanner
	opts    WalkOptions
	leaf    func([]byte, string) error
	leafErr error
	path    []byte // of the value here
	seen    [MaxKeyDepth + 1]names
	stats   WalkStats
}

// value takes the value here as the one at path, or as what is below it. at is
// where its name begins.
func (w *walker) value(depth, at int) bool {
	if w.peek() != '{' {
		return w.take(at)
	}
	w.i++
	more := w.first('}')
	if !more {
		w.stats.EmptyObjects++
	}
	seen := &w.seen[depth]
	seen.clear()
	length := len(w.path)
	for ; more; more = w.next('}') {
		at := w.i
		name, ok := w.memberName()
		if !ok {
			return false
		}
		if !w.opts.Trusted && !seen.add(name) {
			return w.fault(at, "member %q is there twice", name)
		}
		if name == "" {
			if !w.take(at) {
				return false
			}
			continue
		}
		if length > 0 {
			w.path = append(w.path, '/')
		}
		w.path = append(w.path, name...)
		if depth == MaxKeyDepth {
			return w.fault(at, "path %q has more than %d segments", w.path, MaxKeyDepth)
		}
		if !w.value(depth+1, at) {
			return false
		}
		w.path = w.path[:length]
	}
	return w.reason == ""
}

// memberName reads a member's name, as a segment or "", up to its value.
func (w *walker) memberName() (string, bool) {
	at := w.i
	if w.peek() != '"' {
		return "", w.unexpected("a member name in quotes")
	}
	name, ok := w.unquote()
	if !ok || !w.colon() {
		return "", false
	}
	if strings.IndexByte(name, '/') >= 0 {
		if w.opts.Escape == "" {
			return "", w.fault(at, "member %q holds a slash, which separates segments: --escape replaces it", name)
		}
		name = strings.ReplaceAll(name, "/", w.opts.Escape)
	}
	if name != "" {
		if reason := segmentFault(name); reason != "" {
			return "", w.fault(at, "member %q is no path segment: it %s", name, reason)
		}
	}
	return name, true
}

// take hands out the value here.
func (w *walker) take(at int) bool {
	value, ok := w.raw()
	switch {
	case !ok:
		return false
	case len(w.path) == 0:
		return w.fault(at, "value has no path: import it below one, or wrap it in an object")
	case len(w.path) > MaxKeyBytes:
		return w.fault(at, "path %q is longer than %d bytes", w.path[:80], MaxKeyBytes)
	case len(value) > MaxValueBytes:
		return w.fault(at, "value of %q has %d bytes, at most %d are allowed", w.path, len(value), MaxValueBytes)
	}
	w.stats.Leaves++
	w.leafErr = w.leaf(w.path, value)
	return w.leafErr == nil
}

// names are the member names of one object, kept for the next one.
type names struct {
	few  []string
	many map[string]struct{}
}

// fewNames is up to where comparing is faster than a map.
const fewNames = 12

func (n *names) clear() {
	n.few = n.few[:0]
	if len(n.many) > 0 {
		clear(n.many)
	}
}

// add tells whether name was not there yet.
func (n *names) add(name string) bool {
	if len(n.few) < fewNames {
		for _, s := range n.few {
			if s == name {
				return false
			}
		}
		n.few = append(n.few, name)
		return true
	}
	if n.many == nil {
		n.many = make(map[string]struct{})
	}
	if len(n.many) == 0 {
		for _, s := range n.few {
			n.many[s] = struct{}{}
		}
	}
	before := len(n.many)
	n.many[name] = struct{}{}
	return len(n.many) > before
}
