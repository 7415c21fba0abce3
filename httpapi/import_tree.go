package httpapi

import (
	"strings"

	"github.com/confman/confman/fsm"
)

// treeReader walks a JSON tree and hands out its leaves.
type treeReader struct {
	scanner
	escape   string
	maxValue int
	check    bool // look for duplicate members: the first walk does
	leaf     func(key string, text []byte) error
}

// tree imports a tree in JSON.
func (l *loader) tree(b *body, src source) error {
	text, err := b.all(MaxTreeBytes)
	if err != nil {
		return err
	}
	return l.leaves(text, src, func(fault *syntaxError) *problem { return fault.problem(text, src.file) })
}

// leaves checks the whole tree, then adds its leaves: a fault anywhere in it, which place makes a
// problem of, means that nothing is written.
func (l *loader) leaves(text []byte, src source, place func(*syntaxError) *problem) error {
	r := treeReader{scanner: scanner{b: text}, escape: src.escape, maxValue: l.c.api.MaxValueBytes, check: true}
	r.leaf = func(string, []byte) error { return nil }
	if fault, _ := r.walk(src.target.key); fault != nil {
		return place(fault)
	}
	r.check = false
	r.leaf = func(key string, text []byte) error { return l.add(put(key, text, typeJSON)) }
	_, err := r.walk(src.target.key)
	return err
}

// walk goes through the text once. It returns the text's fault, or leaf's error.
func (r *treeReader) walk(root string) (*syntaxError, error) {
	r.i = 0
	if fault := r.begin(); fault != nil {
		return fault, nil
	}
	depth := 0
	if root != "" {
		depth = strings.Count(root, "/") + 1
	}
	fault, err := r.value(root, depth, r.i)
	if fault != nil || err != nil {
		return fault, err
	}
	return r.end(), nil
}

// value takes the value here as the one at key, or as what is below it. at is
// where its name begins.
func (r *treeReader) value(key string, depth, at int) (*syntaxError, error) {
	if r.peek() != '{' {
		return r.leafHere(key, at)
	}
	r.i++
	var (
		seen map[string]struct{}
		err  error
	)
	fault := r.members('}', func() *syntaxError {
		at := r.i
		name, fault := r.memberName()
		if fault != nil {
			return fault
		}
		if r.check {
			if seen == nil {
				seen = make(map[string]struct{})
			}
			if _, ok := seen[name]; ok {
				return r.fault(at, "member %q is there twice", name)
			}
			seen[name] = struct{}{}
		}
		if name == "" { // the value of the object's own path
			fault, err = r.leafHere(key, at)
		} else {
			below := name
			if key != "" {
				below = key + "/" + name
			}
			if depth == fsm.MaxKeyDepth {
				return r.fault(at, "path %q has more than %d segments", below, fsm.MaxKeyDepth)
			}
			fault, err = r.value(below, depth+1, at)
		}
		if err != nil && fault == nil {
			fault = errStop
		}
		return fault
	})
	if err != nil {
		return nil, err
	}
	return fault, nil
}

// errStop ends a walk because of leaf's error.
var errStop = &syntaxError{reason: "stopped"}

// memberName reads a member's name, as a segment or "", up to its value.
func (r *treeReader) memberName() (string, *syntaxError) {
	at := r.i
	if r.peek() != '"' {
		return "", r.unexpected("a member name in quotes")
	}
	name, fault := r.unquote()
	if fault != nil {
		return "", fault
	}
	r.space()
	if fault = r.expect(':', "a colon"); fault != nil {
		return "", fault
	}
	r.space()
	if strings.Contains(name, "/") {
		if r.escape == "" {
			return "", r.fault(at, "member %q holds a slash, which separates segments; escape=... replaces it", name)
		}
		name = strings.ReplaceAll(name, "/", r.escape)
	}
	if name != "" && r.check {
		if reason := checkKey(name); reason != "" {
			return "", r.fault(at, "member is no path segment: %s", reason)
		}
	}
	return name, nil
}

func (r *treeReader) leafHere(key string, at int) (*syntaxError, error) {
	if r.check {
		if key == "" {
			return r.fault(at, "value has no path: import it below one, or wrap it in an object"), nil
		}
		if reason := checkKey(key); reason != "" {
			return r.fault(at, "%s", reason), nil
		}
	}
	text, fault := r.raw()
	if fault != nil {
		return fault, nil
	}
	if len(text) > r.maxValue {
		fault = r.fault(at, "value of %q has %d bytes, at most %d are allowed", key, len(text), r.maxValue)
		fault.kind, fault.limit = kindTooLarge, int64(r.maxValue)
		return fault, nil
	}
	return nil, r.leaf(key, text)
}
