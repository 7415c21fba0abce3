package jepsen

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

func init() {
	partition("partition-halves", "the network falls into two halves, as near as may be", func(_ context.Context, r *Run, rng *rand.Rand) ([]Link, string) {
		all := r.Members()
		side := some(rng, all, len(all)/2)
		return apart(side, without(all, side)), fmt.Sprintf("cut %v from %v", side, without(all, side))
	})
	partition("isolate-one", "one node is cut from all others", func(_ context.Context, r *Run, rng *rand.Rand) ([]Link, string) {
		all := r.Members()
		side := some(rng, all, 1)
		return apart(side, without(all, side)), fmt.Sprintf("cut %s from all others", side[0])
	})
	partition("isolate-leader", "the node that leads is cut from all others; clients reach it", func(ctx context.Context, r *Run, _ *rand.Rand) ([]Link, string) {
		leader := r.Leader(ctx)
		if leader == "" {
			return nil, ""
		}
		side := []string{leader}
		return apart(side, without(r.Members(), side)), fmt.Sprintf("cut the leader %s from all others", leader)
	})
	partition("one-way", "links are cut one way: a node is not heard, or hears nobody, or one link of it", oneWay)
	partition("bridge", "two halves reach each other over one node only", func(_ context.Context, r *Run, rng *rand.Rand) ([]Link, string) {
		all := r.Members()
		via := some(rng, all, 1)
		rest := without(all, via)
		side := some(rng, rest, len(rest)/2)
		return apart(side, without(rest, side)), fmt.Sprintf("cut %v from %v, but for %s", side, without(rest, side), via[0])
	})
	partition("ring", "each node reaches its neighbours in a ring only; of three nodes, one of them", ring)
	enlist(&Nemesis{Name: "flapping", About: "links of a node, or all, are cut and whole again every 50 to 500 ms", Needs: []Capability{Cuts}, Strike: flap})
	enlist(&Nemesis{Name: "clients-cut", About: "clients do not reach one node", Needs: []Capability{Cuts}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		who := one(rng, r.Members())
		return r.cut(ctx, []Link{{Clients, who}, {who, Clients}}, "cut clients from "+who)
	}})
	quality("slow-network", "packets take 10 to 200 ms longer", Delays, func(rng *rand.Rand) Condition {
		d := between(rng, 10*time.Millisecond, 200*time.Millisecond)
		return Condition{Delay: d, Jitter: between(rng, 0, d/2)}
	})
	quality("lossy-network", "some packets are lost, 1 to 30 of 100", Losses, func(rng *rand.Rand) Condition {
		return Condition{Loss: float64(1+rng.IntN(30)) / 100}
	})
	quality("reordering", "some packets overtake others", Reorders, func(rng *rand.Rand) Condition {
		return Condition{Reorder: float64(5+rng.IntN(45)) / 100, Delay: between(rng, 2*time.Millisecond, 20*time.Millisecond)}
	})
	quality("corruption", "some packets between nodes are damaged, up to 5 of 100", Corruption, func(rng *rand.Rand) Condition {
		return Condition{Corrupt: float64(1+rng.IntN(50)) / 1000}
	})
	quality("narrow-network", "links take 16 to 256 KiB a second", Bandwidth, func(rng *rand.Rand) Condition {
		return Condition{BytesPerSecond: (16 << 10) << rng.IntN(5)}
	})
}

// apart are the links between two sides, both ways.
func apart(a, b []string) (links []Link) {
	for _, x := range a {
		for _, y := range b {
			links = append(links, Link{x, y}, Link{y, x})
		}
	}
	return links
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(some, name) })
}

// partition is a nemesis that cuts links; none: there is nothing to cut just now.
func partition(name, about string, draw func(ctx context.Context, r *Run, rng *rand.Rand) (links []Link, text string)) {
	enlist(&Nemesis{Name: name, About: about, Needs: []Capability{Cuts}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		links, text := draw(ctx, r, rng)
		if len(links) == 0 {
			return nil, nil
		}
		return r.cut(ctx, links, text)
	}})
}

// cut cuts links, and says who has no majority then.
func (r *Run) cut(ctx context.Context, links []Link, text string) (*Fault, error) {
	rule := map[Link]Condition{}
	for _, l := range links {
		rule[l] = Condition{Cut: true}
	}
	members, felt := r.Members(), r.hitOn(links, isCut)
	restore, err := r.BreakLinks(ctx, rule)
	if err != nil {
		return nil, err
	}
	return &Fault{Text: text, Nodes: ends(links), Links: links, Minority: cutOff(members, links), Felt: felt, Undo: restore}, nil
}

// ends are the nodes at links.
func ends(links []Link) []string {
	at := map[string]bool{}
	for _, l := range links {
		at[l.From], at[l.To] = true, true
	}
	delete(at, Clients)
	return sortedKeys(at)
}

func oneWay(ctx context.Context, r *Run, rng *rand.Rand) ([]Link, string) {
	all := r.Members()
	who, kind := one(rng, all), rng.IntN(3)
	if rng.IntN(2) == 0 { // the leader is who it hurts
		if leader := r.Leader(ctx); leader != "" {
			who = leader
		}
	}
	rest := without(all, []string{who})
	if len(rest) == 0 {
		return nil, ""
	}
	var links []Link
	for _, other := range rest {
		l := Link{who, other}
		if kind == 1 {
			l = Link{other, who}
		}
		links = append(links, l)
	}
	switch kind {
	case 0:
		return links, who + " is not heard by the others"
	case 1:
		return links, who + " does not hear the others"
	default:
		l := one(rng, links)
		return []Link{l}, fmt.Sprintf("%s is not heard by %s", l.From, l.To)
	}
}

func ring(_ context.Context, r *Run, rng *rand.Rand) (links []Link, text string) {
	all := r.Members()
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	n := len(all)
	for i := range all {
		for k := range all {
			ahead := (k - i + n) % n
			if ahead == 0 || ahead == 1 || n > 3 && ahead == n-1 {
				continue
			}
			links = append(links, Link{all[i], all[k]})
		}
	}
	way := " and back"
	if n <= 3 {
		way = ", one way"
	}
	return links, "a ring is left: " + strings.Join(append(all, all[0]), " to ") + way
}

// Links that flap do so often, each time for so long.
const (
	flaps                     = 100
	flapBriefest, flapLongest = 50 * time.Millisecond, 500 * time.Millisecond
	flapTime                  = 8 * time.Second
)

func flap(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	all := r.Members()
	links, text := apart(all, all), "all links flap"
	if who := some(rng, all, 1); rng.IntN(2) == 0 {
		links, text = apart(who, without(all, who)), who[0]+"'s links flap"
	}
	links = slices.DeleteFunc(links, func(l Link) bool { return l.From == l.To })
	slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.From+" "+a.To, b.From+" "+b.To) })
	links = slices.Compact(links)
	var steps []time.Duration
	for range flaps {
		steps = append(steps, between(rng, flapBriefest, flapLongest))
	}
	rule := map[Link]Condition{}
	for _, l := range links {
		rule[l] = Condition{Cut: true}
	}
	felt := r.hitOn(links, isCut)
	flapping, calm := context.WithCancel(context.WithoutCancel(ctx))
	once, end := job(ctx, func(ctx context.Context) error {
		for i := 0; i+1 < len(steps); i += 2 {
			restore, err := r.BreakLinks(ctx, rule)
			if err != nil {
				return err
			}
			pause(flapping, steps[i])
			if err := restore(ctx); err != nil {
				return err
			}
			if !pause(flapping, steps[i+1]) {
				break
			}
		}
		return nil
	})
	undo := func(ctx context.Context) error {
		calm()
		return end(ctx)
	}
	return &Fault{Text: text, Nodes: ends(links), Links: links, Hold: between(rng, flapTime/4, flapTime), Until: once, Felt: felt, Undo: undo}, nil
}

// quality is a nemesis that makes links worse: one, all of one node, or all. Damage is done between nodes only: what a client is
// told has nothing to prove itself by, without TLS.
func quality(name, about string, needs Capability, draw func(rng *rand.Rand) Condition) {
	enlist(&Nemesis{Name: name, About: about, Needs: []Capability{needs}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		c, all := draw(rng), r.Members()
		links, where := apart(all, all), "everywhere"
		switch who := some(rng, all, 1); rng.IntN(3) {
		case 0:
			links, where = apart(who, without(all, who)), "at "+who[0]
		case 1:
			l := one(rng, apart(who, without(all, who)))
			links, where = []Link{l}, "from "+l.From+" to "+l.To
		}
		if where == "everywhere" && needs != Corruption {
			links = append(links, apart(all, []string{Clients})...)
		}
		rule := map[Link]Condition{}
		for _, l := range links {
			if l.From != l.To {
				rule[l] = c
			}
		}
		felt := r.hitOn(slices.Collect(maps.Keys(rule)), isFelt[needs])
		restore, err := r.BreakLinks(ctx, rule)
		if err != nil {
			return nil, err
		}
		hit := slices.SortedFunc(maps.Keys(rule), func(a, b Link) int { return strings.Compare(a.From+" "+a.To, b.From+" "+b.To) })
		return &Fault{Text: fmt.Sprintf("%v %s", c, where), Nodes: ends(hit), Links: hit, Felt: felt, Undo: restore}, nil
	}})
}

// String is a condition in words.
func (c Condition) String() string {
	var words []string
	add := func(is bool, format string, args ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(c.Cut, "cut")
	add(c.Delay != 0 || c.Jitter != 0, "%v (+%v) late", c.Delay.Round(time.Millisecond), c.Jitter.Round(time.Millisecond))
	add(c.Loss != 0, "%.1f%% lost", 100*c.Loss)
	add(c.Reorder != 0, "%.1f%% out of order", 100*c.Reorder)
	add(c.Corrupt != 0, "%.1f%% damaged", 100*c.Corrupt)
	add(c.BytesPerSecond != 0, "%d KiB/s", c.BytesPerSecond>>10)
	return strings.Join(words, ", ")
}
