package client

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tree puts records together to one JSON tree, as an export does: what WalkTree
// took apart comes back leaf by leaf, its members in the order in which they were
// added. The zero value is an empty tree. Not safe for concurrent use.
type Tree struct {
	root treeNode
	size int
}

type treeNode struct {
	name     string
	value    string // as it appears in the tree
	hasValue bool
	object   bool // the value is an object, and so can only be a member ""
	children []*treeNode
	index    map[string]*treeNode // of the children, once there are many
}

// Len is how many records were added.
func (t *Tree) Len() int { return t.size }

// Add puts rec at path, which is relative to the tree's root; "" is the root
// itself. It refuses a path that it has.
//
// Values of a JSON type go in as they are, other text as a string, the rest as an
// object {"encoding": "base64", "value": "..."}; the last two do not come back
// under the type they had.
func (t *Tree) Add(path string, rec *Record) error {
	n := &t.root
	if path != "" {
		for name := range strings.SplitSeq(path, "/") {
			n = n.child(name)
		}
	}
	if n.hasValue {
		return fmt.Errorf("path %q is there twice", rec.Path)
	}
	n.hasValue = true
	switch {
	case IsJSONType(rec.ContentType):
		n.value = strings.TrimSpace(string(rec.Value))
	case rec.ContentType != typeOctets && utf8.Valid(rec.Value):
		n.value = string(appendString(nil, string(rec.Value)))
	default:
		n.value = `{"encoding":"base64","value":"` + base64.StdEncoding.EncodeToString(rec.Value) + `"}`
	}
	n.object = strings.HasPrefix(n.value, "{")
	t.size++
	return nil
}

// child returns the child of that name, made if there is none.
func (n *treeNode) child(name string) *treeNode {
	if n.index != nil {
		if c := n.index[name]; c != nil {
			return c
		}
	} else if i := slices.IndexFunc(n.children, func(c *treeNode) bool { return c.name == name }); i >= 0 {
		return n.children[i]
	}
	c := &treeNode{name: name}
	n.children = append(n.children, c)
	if n.index == nil && len(n.children) > fewNames {
		n.index = make(map[string]*treeNode, 2*len(n.children))
		for _, c := range n.children {
			n.index[c.name] = c
		}
	}
	if n.index != nil {
		n.index[name] = c
	}
	return c
}

// AppendJSON appends the tree, indented by two spaces, without a line break at its end.
func (t *Tree) AppendJSON(b []byte) []byte { return t.root.append(b, 0) }

func (n *treeNode) append(b []byte, depth int) []byte {
	if n.hasValue && len(n.children) == 0 && !n.object {
		return append(b, n.value...)
	}
	if !n.hasValue && len(n.children) == 0 {
		return append(b, '{', '}')
	}
	b = append(b, '{')
	if n.hasValue {
		b = indent(b, depth+1)
		b = append(b, `"": `...)
		b = append(b, n.value...)
	}
	for i, c := range n.children {
		if i > 0 || n.hasValue {
			b = append(b, ',')
		}
		b = indent(b, depth+1)
		b = appendString(b, c.name)
		b = append(b, ": "...)
		b = c.append(b, depth+1)
	}
	b = indent(b, depth)
	return append(b, '}')
}

func indent(b []byte, depth int) []byte {
	b = append(b, '\n')
	for range depth {
		b = append(b, "  "...)
	}
	return b
}
