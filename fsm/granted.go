package fsm

import (
	"slices"
	"strings"
)

// Granted is what may be done to a key or prefix, and to all below it.
type Granted struct {
	Path  string // a prefix
	Verbs Verbs
}

// List is all that g allows, for people: one for each path, in their order.
func (g *Grants) List() []Granted {
	if g.all {
		return []Granted{{"", allVerbs &^ g.withheld}}
	}
	of := map[string]Verbs{}
	for i := range g.at {
		of[g.at[i].path] |= g.at[i].verbs &^ g.withheld
	}
	var list []Granted
	for path, verbs := range of {
		list = append(list, Granted{path, verbs})
	}
	slices.SortFunc(list, func(a, b Granted) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// Subjects are all that p can be bound or denied as, itself first.
func (p *Principal) Subjects() (all []string) {
	p.subjects(func(subject string) { all = append(all, subject) })
	return all
}
