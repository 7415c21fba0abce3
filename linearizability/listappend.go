package linearizability

import (
	"fmt"
	"slices"
	"strings"
)

// CheckListAppend looks, in transactions that append unique elements to lists and
// read them, for the anomalies of Adya's theory as Elle does (Kingsbury and Alvaro,
// "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020). The
// order of a list's elements is the order of the transactions that wrote them; it
// believes no revision and no clock. In O(n log n) of the size of the file it finds
//
//   - reads that are not of one list: no prefix of each other, elements twice or of nobody;
//   - G1a, aborted read, and G1b, intermediate read;
//   - G0, a cycle of writes; G1c, one of writes and reads; G2, one of them and of reads of
//     what was overwritten.
//
// It returns how many transactions there were.
func CheckListAppend(h *History) (txns int, err error) {
	g := newListGraph(h)
	for n, o := range g.ops {
		if err := g.read(n, o); err != nil {
			return len(g.ops), err
		}
	}
	for n, o := range g.ops {
		if err := g.link(n, o); err != nil {
			return len(g.ops), err
		}
	}
	for _, a := range []struct {
		name  string
		kinds []edgeKind
	}{
		{"G0, a cycle of writes", []edgeKind{edgeWW}},
		{"G1c, a cycle of writes and reads", []edgeKind{edgeWW, edgeWR}},
		{"G2, a cycle with reads of what was overwritten", []edgeKind{edgeWW, edgeWR, edgeRW}},
	} {
		if err := g.cycle(a.name, a.kinds); err != nil {
			return len(g.ops), err
		}
	}
	return len(g.ops), nil
}

// edgeKind is why one transaction comes before another.
type edgeKind int

const (
	edgeWW edgeKind = iota // appended just before
	edgeWR                 // appended what the other read last
	edgeRW                 // read the list without what the other appended next
)

func (k edgeKind) String() string {
	return [...]string{"wrote before", "was read by", "did not see"}[k]
}

// edge is a transaction that must come before another, seen from the latter.
type edge struct {
	from int
	kind edgeKind
	key  string
}

// listGraph is the order of transactions that their lists tell.
type listGraph struct {
	of        ruled
	ops       []*Op
	appenders map[keyValue]int // to position in ops
	longest   map[string]listRead
	before    [][]edge // by position in ops
}

// listRead is what a read step saw of others.
type listRead struct {
	by       int // position in ops
	elements []string
}

func newListGraph(h *History) *listGraph {
	g := &listGraph{of: h.ruled(ListAppend), appenders: map[keyValue]int{}, longest: map[string]listRead{}}
	all, _ := h.operations()
	for _, o := range all {
		if o.Kind == Local || !slices.ContainsFunc(o.keys(), g.of.has) {
			continue
		}
		for _, s := range o.steps() {
			if s.Kind == Append {
				g.appenders[keyValue{s.Key, s.Value}] = len(g.ops)
			}
		}
		g.ops = append(g.ops, o)
	}
	g.before = make([][]edge, len(g.ops))
	return g
}

// reads are the lists that a transaction saw, without what it appended itself.
func (g *listGraph) reads(n int, o *Op) (map[string]listRead, error) {
	if !o.sawSteps() {
		return nil, nil
	}
	out := map[string]listRead{}
	own := map[string][]string{}
	for _, s := range o.steps() {
		if !g.of.has(s.Key) {
			continue
		}
		if s.Kind == Append {
			own[s.Key] = append(own[s.Key], s.Value)
		}
		if s.Kind != Read {
			continue
		}
		elements := strings.Fields(s.Got)
		mine := own[s.Key]
		others := len(elements) - len(mine)
		if others < 0 || !slices.Equal(elements[others:], mine) {
			return nil, violation([]*Op{o}, "own appends not read: %v", o)
		}
		out[s.Key] = listRead{by: n, elements: elements[:others]}
	}
	return out, nil
}

// read checks what a transaction read by itself, and that it is the same list that
// others read.
func (g *listGraph) read(n int, o *Op) error {
	reads, err := g.reads(n, o)
	if err != nil {
		return err
	}
	for _, s := range o.steps() { // in the order of steps: maps have none
		r, ok := reads[s.Key]
		if !ok || s.Kind != Read {
			continue
		}
		if err := g.checkElements(o, s.Key, r.elements); err != nil {
			return err
		}
		l, ok := g.longest[s.Key]
		short, long := r.elements, l.elements
		if len(short) > len(long) {
			short, long = long, short
		}
		if !slices.Equal(short, long[:len(short)]) {
			return violation([]*Op{g.ops[l.by], o}, "two orders of one list: %v and %v", g.ops[l.by], o)
		}
		if !ok || len(r.elements) > len(l.elements) {
			g.longest[s.Key] = r
		}
	}
	return nil
}

// checkElements: each was appended, once, by one that was not refused; and the last
// is not the middle of what a transaction appended.
func (g *listGraph) checkElements(o *Op, key string, elements []string) error {
	in := map[string]bool{}
	for i, e := range elements {
		n, ok := g.appenders[keyValue{key, e}]
		switch {
		case !ok:
			return violation([]*Op{o}, "element %s, which nobody appended, is in %s: %v", e, key, o)
		case in[e]:
			return violation([]*Op{g.ops[n], o}, "element %s is in %s twice: %v, and %v", e, key, g.ops[n], o)
		case !g.ops[n].mayApply():
			return violation([]*Op{g.ops[n], o}, "G1a, aborted read: %v was read by %v", g.ops[n], o)
		}
		in[e] = true
		if last := g.ops[n].lastAppend(key); i == len(elements)-1 && last != e && g.ops[n] != o {
			return violation([]*Op{g.ops[n], o}, "G1b, intermediate read: %v was read by %v before its element %s", g.ops[n], o, last)
		}
	}
	return nil
}

// lastAppend is the last element that a transaction appends to a key.
func (o *Op) lastAppend(key string) string {
	last := ""
	for _, s := range o.Steps {
		if s.Kind == Append && s.Key == key {
			last = s.Value
		}
	}
	return last
}

// link adds the edges that a transaction's appends and reads tell.
func (g *listGraph) link(n int, o *Op) error {
	reads, err := g.reads(n, o)
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, s := range o.steps() {
		r, ok := reads[s.Key]
		if s.Kind != Read || !ok || done[s.Key] {
			continue
		}
		done[s.Key] = true
		if k := len(r.elements); k > 0 {
			g.edge(edge{g.appenders[keyValue{s.Key, r.elements[k-1]}], edgeWR, s.Key}, n)
		}
		all := g.longest[s.Key]
		if k := len(r.elements); k < len(all.elements) {
			g.edge(edge{n, edgeRW, s.Key}, g.appenders[keyValue{s.Key, all.elements[k]}])
		}
		if all.by == n {
			for i := 1; i < len(all.elements); i++ {
				from, to := keyValue{s.Key, all.elements[i-1]}, keyValue{s.Key, all.elements[i]}
				g.edge(edge{g.appenders[from], edgeWW, s.Key}, g.appenders[to])
			}
		}
	}
	return nil
}

func (g *listGraph) edge(e edge, to int) {
	if e.from != to {
		g.before[to] = append(g.before[to], e)
	}
}

// cycle finds a cycle of edges of some kinds.
func (g *listGraph) cycle(name string, kinds []edgeKind) error {
	inside := g.peel(kinds)
	start := slices.Index(inside, true)
	if start < 0 {
		return nil
	}
	// Whatever is left has something before it that is left too: going back comes
	// round.
	visited := map[int]int{} // to position in path
	var path []edge          // path[i] leads from what was visited as i+1 to what was visited as i
	for n := start; ; {
		if at, ok := visited[n]; ok {
			return g.describe(name, path[at:])
		}
		visited[n] = len(path)
		i := slices.IndexFunc(g.before[n], func(e edge) bool { return inside[e.from] && slices.Contains(kinds, e.kind) })
		path = append(path, g.before[n][i])
		n = g.before[n][i].from
	}
}

// peel takes away, again and again, what nothing comes before. It returns what is left.
func (g *listGraph) peel(kinds []edgeKind) []bool {
	after := make([][]int, len(g.ops))
	waits := make([]int, len(g.ops))
	for to, edges := range g.before {
		for _, e := range edges {
			if slices.Contains(kinds, e.kind) {
				after[e.from] = append(after[e.from], to)
				waits[to]++
			}
		}
	}
	inside := make([]bool, len(g.ops))
	var free []int
	for n := range inside {
		inside[n] = true
		if waits[n] == 0 {
			free = append(free, n)
		}
	}
	for len(free) > 0 {
		n := free[len(free)-1]
		free = free[:len(free)-1]
		inside[n] = false
		for _, to := range after[n] {
			if waits[to]--; waits[to] == 0 {
				free = append(free, to)
			}
		}
	}
	return inside
}

// describe tells a cycle, in the order in which its transactions come before each other.
func (g *listGraph) describe(name string, back []edge) error {
	var ops []*Op
	var text strings.Builder
	for i := len(back) - 1; i >= 0; i-- {
		o := g.ops[back[i].from]
		ops = append(ops, o)
		fmt.Fprintf(&text, "%v %v (%s) ", o, back[i].kind, back[i].key)
	}
	return violation(ops, "%s: %sop %d again", name, text.String(), ops[0].ID)
}
