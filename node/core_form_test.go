package node

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// forming is a handful of nodes that form a cluster, and the messages between them.
type forming struct {
	names []string
	disk  map[string]Identity // what each node made durable
	up    map[string]*Formation
	errs  map[string]error
	wire  []transport.Message
	now   time.Duration
	lives int
}

func newForming(names ...string) *forming {
	return &forming{names: names, disk: map[string]Identity{}, up: map[string]*Formation{}, errs: map[string]error{}}
}

func (f *forming) start(name string) {
	f.lives++
	f.up[name] = NewFormation(f.names, name, f.disk[name], fsm.ClusterID{byte(f.lives)})
	delete(f.errs, name)
}

func (f *forming) name(id uint64) string { return f.names[id-1] }

func (f *forming) do(name string, step FormStep) {
	if step.Persist != nil {
		f.disk[name] = *step.Persist
	}
	f.wire = append(f.wire, step.Send...)
	if step.Err != nil {
		f.errs[name] = step.Err
		delete(f.up, name)
	}
}

func (f *forming) tick() {
	f.now += formInterval
	for _, name := range f.names {
		if n := f.up[name]; n != nil {
			f.do(name, n.Tick(f.now))
		}
	}
}

func (f *forming) deliver(i int) {
	m := f.wire[i]
	f.wire = append(f.wire[:i], f.wire[i+1:]...)
	if m.To > uint64(len(f.names)) {
		return // reconfigured: a node that does not exist
	}
	if to := f.up[f.name(m.To)]; to != nil {
		f.do(f.name(m.To), to.Receive(m))
	}
}

func (f *forming) String() string {
	var b strings.Builder
	for _, name := range f.names {
		n, err := f.up[name], f.errs[name]
		switch {
		case err != nil:
			fmt.Fprintf(&b, "%s: stopped: %v\n", name, err)
		case n == nil:
			fmt.Fprintf(&b, "%s: down\n", name)
		case n.Identity().Formed:
			fmt.Fprintf(&b, "%s: member of %x\n", name, n.id.Cluster[:1])
		case n.prepared():
			fmt.Fprintf(&b, "%s: prepared %x, waits for %q\n", name, n.id.Cluster[:1], n.Waiting())
		default:
			fmt.Fprintf(&b, "%s: empty, waits for %q\n", name, n.Waiting())
		}
	}
	return b.String()
}

func TestFormationConversations(t *testing.T) {
	datadriven.Walk(t, "testdata/formation", func(t *testing.T, path string) {
		var f *forming
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var name string
			if d.HasArg("node") {
				d.ScanArgs(t, "node", &name)
			}
			switch d.Cmd {
			case "members":
				f = newForming(strings.Fields(d.Input)...)
				return ""
			case "start":
				f.start(name)
			case "kill":
				delete(f.up, name)
			case "lose-disk":
				delete(f.up, name)
				delete(f.disk, name)
			case "reconfigure": // the node's file names other members
				names := f.names
				f.names = strings.Fields(d.Input)
				f.start(name)
				f.names = names
			case "run": // until nothing changes any more
				for range 10 {
					f.tick()
					for len(f.wire) > 0 {
						f.deliver(0)
					}
				}
			case "tick":
				f.tick()
				var b strings.Builder
				for _, m := range f.wire {
					fmt.Fprintf(&b, "%s to %s: %s, is %s\n", f.name(m.From), f.name(m.To),
						[]string{"", "hello", "reply", "prepare", "commit"}[m.Form.Kind], []string{"", "empty", "prepared", "member"}[m.Form.State])
				}
				return b.String()
			case "deliver":
				for n := len(f.wire); n > 0; n-- {
					f.deliver(0)
				}
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return f.String()
		})
	})
}

// TestFormationNeverSplits runs formations under loss, repetition and delay of
// messages (beyond the life of their sender), crashes and a lost disk: at most
// one cluster ever has a quorum of members, and a node that lost its disk never
// is a member of the same cluster again.
func TestFormationNeverSplits(t *testing.T) {
	formed := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newForming([]string{"a", "b", "c", "d", "e"}[:1+2*r.IntN(3)]...)
		type membership struct {
			name    string
			cluster fsm.ClusterID
		}
		ever := map[membership]bool{}
		lost := map[membership]bool{}
		for range 400 {
			name := f.names[r.IntN(len(f.names))]
			switch k := r.IntN(40); {
			case f.up[name] == nil && f.errs[name] == nil && k < 20:
				f.start(name)
			case k == 0:
				delete(f.up, name)
			case k == 1 && len(lost) == 0 && len(f.names) > 1:
				lost[membership{name, f.disk[name].Cluster}] = f.disk[name].Formed
				delete(f.up, name)
				delete(f.disk, name)
			case k < 10:
				f.tick()
			case k < 14 && len(f.wire) > 0:
				i := r.IntN(len(f.wire))
				f.wire = append(f.wire[:i], f.wire[i+1:]...)
			case k < 18 && len(f.wire) > 0:
				f.wire = append(f.wire, f.wire[r.IntN(len(f.wire))])
			case len(f.wire) > 0:
				f.deliver(r.IntN(len(f.wire)))
			}
			if len(f.wire) > 200 {
				f.wire = f.wire[100:]
			}
			for _, name := range f.names {
				if id := f.disk[name]; id.Formed {
					m := membership{name, id.Cluster}
					require.False(t, lost[m], "seed %d: %s lost its disk and is a member of %x again", seed, name, id.Cluster[:1])
					ever[m] = true
				}
			}
		}
		members := map[fsm.ClusterID]int{}
		for m := range ever {
			members[m.cluster]++
		}
		quorums := 0
		for _, n := range members {
			if n > len(f.names)/2 {
				quorums++
			}
		}
		require.LessOrEqual(t, quorums, 1, "seed %d: two clusters had a quorum of members: %v", seed, ever)
		formed += quorums
	}
	require.Greater(t, formed, 1000, "too few of the runs formed a cluster to prove anything")
}
