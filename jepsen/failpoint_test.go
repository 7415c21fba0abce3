//go:build failpoints

package jepsen

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// module goes before the name of each point.
const module = "github.com/confman/confman/faultpoint/"

// where is what brings a node to a point, and which node that is.
type where int

const (
	atAnybody   where = iota // clients that ask; a leader and a follower by turns
	atLeader                 // clients that ask, at who leads
	atFollower               // clients that ask, at who does not
	atStarting               // a backup, which is due when there is none
	atRebuilt                // an image, at who needs one
	atRebuilder              // an image, at who sends one
	atLagging                // an image, at who lacks what the others' logs gave up
	atChanging               // a change of the members
	atPacking                // a database of which a copy is made
)

// points are all failpoints at which processes are ended. TestFailpointTable holds the table against the sources.
var points = []struct {
	name string
	at   where
}{
	{"wal/before-write", atAnybody},
	{"wal/after-write", atAnybody},
	{"wal/before-sync", atAnybody},
	{"wal/sync", atAnybody},
	{"wal/after-sync", atAnybody},
	{"wal/before-hard-state", atAnybody},
	{"wal/after-hard-state", atAnybody},
	{"wal/before-segment", atAnybody},
	{"wal/allocate", atAnybody},
	{"wal/before-segment-rename", atAnybody},
	{"wal/after-segment-rename", atAnybody},
	{"wal/before-dir-sync", atAnybody},
	{"wal/before-seal", atAnybody},
	{"wal/after-seal", atAnybody},
	{"wal/before-truncation", atAnybody},
	{"wal/before-segment-remove", atAnybody},
	{"wal/after-segment-remove", atAnybody},
	{"fsm/before-apply", atAnybody},
	{"fsm/after-apply", atAnybody},
	{"fsm/before-flush", atAnybody},
	{"fsm/inside-flush", atAnybody},
	{"fsm/inside-commit", atAnybody},
	{"fsm/after-flush", atAnybody},
	{"node/propose", atAnybody},
	{"node/before-answer", atAnybody},
	{"node/read-index", atAnybody},
	{"node/read-confirmed", atAnybody},
	{"node/send", atAnybody},
	{"node/receive", atAnybody},
	{"node/send-raft", atLeader},
	{"node/receive-raft", atFollower},
	{"node/send-forward", atFollower},
	{"node/receive-forward", atLeader},
	{"node/send-forward-reply", atLeader},
	{"node/receive-forward-reply", atFollower},
	{"transport/grpctransport/send", atAnybody},
	{"transport/grpctransport/sent", atAnybody},
	{"transport/grpctransport/receive", atAnybody},
	{"node/open-backup", atStarting},
	{"fsm/write-backup", atStarting},
	{"node/before-backup-rename", atStarting},
	{"node/send-image-request", atRebuilt},
	{"node/receive-image", atRebuilt},
	{"node/send-image-reply", atRebuilt},
	{"node/write-image", atRebuilt},
	{"node/before-image-sync", atRebuilt},
	{"fsm/before-verify", atRebuilt},
	{"fsm/after-verify", atRebuilt},
	{"node/before-image-rename", atRebuilt},
	{"node/before-dir-sync", atRebuilt},
	{"node/after-image-rename", atRebuilt},
	{"node/before-install", atRebuilt},
	{"node/inside-install", atRebuilt},
	{"node/after-install", atRebuilt},
	{"node/receive-image-request", atRebuilder},
	{"node/open-image", atRebuilder},
	{"node/read-image", atRebuilder},
	{"node/send-image", atRebuilder},
	{"node/receive-image-reply", atRebuilder},
	{"wal/before-marker", atLagging},
	{"wal/after-marker", atLagging},
	{"fsm/before-conf", atChanging},
	{"node/before-identity", atChanging},
	{"node/after-identity", atChanging},
	{"node/reconfigured", atChanging},
	{"fsm/before-repack-rename", atPacking},
	{"fsm/before-dir-sync", atPacking},
	{"fsm/after-repack-rename", atPacking},
}

// peerPoints are those that there are once more for each peer, with its name behind.
var peerPoints = []string{"transport/grpctransport/send", "transport/grpctransport/sent", "transport/grpctransport/receive"}

var pointLoad = pointOptions{
	Options:      Options{Workloads: []string{"register", "idempotent"}, Clients: 3, Pace: 15 * time.Millisecond},
	segmentBytes: 32 << 10, catchUpBytes: 64 << 10,
}

func pointsAt(at ...where) (names []string) {
	for _, x := range points {
		for _, w := range at {
			if x.at == w {
				names = append(names, x.name)
			}
		}
	}
	return names
}

// TestFailpointTable: the table has every point of the sources, and only these.
func TestFailpointTable(t *testing.T) {
	call := regexp.MustCompile(`\bfaultpoint\.(Hit|HitPeer|Unsynced)\("([a-z/-]+[a-z])"`)
	of := regexp.MustCompile(`\bfaultOf\(b, "([a-z]+)"`)
	own := regexp.MustCompile(`\b(?:[lr]\.fault|lost)\("([a-z-]+)"`)
	found := map[string]bool{}
	var peers []string
	for _, dir := range []string{"wal", "fsm", "node", "transport/grpctransport"} {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range call.FindAllStringSubmatch(string(src), -1) {
				require.Truef(t, strings.HasPrefix(m[2], dir+"/"), "%s is in %s", m[2], dir)
				if found[m[2]] = true; m[1] == "HitPeer" {
					peers = append(peers, m[2])
				}
			}
			for _, m := range own.FindAllStringSubmatch(string(src), -1) {
				found[dir+"/"+m[1]] = true
			}
			for _, m := range of.FindAllStringSubmatch(string(src), -1) {
				found[dir+"/"+m[1]+"-hard-state"], found[dir+"/"+m[1]+"-marker"] = true, true
			}
		}
	}
	assert.ElementsMatch(t, peerPoints, peers)
	require.Greater(t, len(found), 40)
	known := map[string]bool{}
	for _, x := range points {
		known[x.name] = true
		// Those of one kind of message are named where they are made.
		kind := strings.HasPrefix(x.name, "node/send-") || strings.HasPrefix(x.name, "node/receive-")
		assert.Truef(t, kind || found[x.name], "%s is in the table, and nowhere else", x.name)
	}
	for name := range found {
		assert.Truef(t, known[name], "%s is not in the table: nothing shows what a crash there does", name)
	}
}

// TestFailpointCrash ends a process at each point while clients ask, starts it again, and has what they saw judged.
func TestFailpointCrash(t *testing.T) {
	withPoints(t, pointLoad, func(p *pointRun) {
		ctx := t.Context()
		for i, point := range pointsAt(atAnybody, atLeader, atFollower) {
			node := p.follower(ctx, i)
			if at := points[i].at; at == atLeader || at == atAnybody && i%2 == 0 {
				node = p.leads(ctx)
			}
			term := "crash"
			if point == "fsm/inside-flush" {
				term = "crash soon" // within what the database does
			}
			p.enable(ctx, node, point, `return("`+term+`")`)
			p.ended(ctx, point, term, node)
			p.back(ctx, node)
			p.Log("%s ended at %s, and is back", node, point)
		}
		for i, point := range pointsAt(atStarting) {
			node := p.follower(ctx, i)
			require.NoError(t, p.KillNode(ctx, node))
			require.NoError(t, os.RemoveAll(p.backups(node)))
			p.startWith(ctx, node, point, `return("crash")`)
			p.ended(ctx, point, "crash", node)
			p.back(ctx, node)
			p.Log("%s ended at %s, and is back", node, point)
		}
		hits := p.hits()
		for _, point := range pointsAt(atAnybody, atLeader, atFollower, atStarting) {
			assert.NotZero(t, hits[point], point)
		}
		t.Logf("reached (counted up to 20 times in each life): %v", hits)
	})
}

// TestFailpointImage ends who receives an image, and who sends one, at each point of that.
func TestFailpointImage(t *testing.T) {
	o := pointLoad
	o.segmentBytes, o.catchUpBytes = 8<<10, 32<<10
	withPoints(t, o, func(p *pointRun) {
		ctx := t.Context()
		lose := func(node string) {
			require.NoError(t, p.KillNode(ctx, node))
			_, err := p.Damage(t.Context(), node, Damage{Kind: LoseDatabase})
			require.NoError(t, err)
		}
		// The log must have given up its first entries: as long as it has all of them, the database is made of them.
		p.truncated(ctx)
		for i, point := range pointsAt(atRebuilt) {
			node := p.follower(ctx, i)
			lose(node)
			p.startWith(ctx, node, point, `return("crash")`)
			p.ended(ctx, point, "crash", node)
			p.back(ctx, node)
			p.Log("%s ended at %s, and is back", node, point)
		}
		// The first directory that is synced has what came in under its name, the second one the store.
		for i, after := range []int{0, 1, 0, 1} {
			node := p.follower(ctx, i)
			lose(node)
			p.startWith(ctx, node, "node/before-dir-sync", fmt.Sprintf(`%d*off->return("power loss")`, after))
			p.ended(ctx, "node/before-dir-sync", "power loss", node)
			p.back(ctx, node)
			p.Log("%s lost power at rename %d, and is back", node, after)
		}
		for i, point := range pointsAt(atRebuilder) {
			node := p.follower(ctx, i)
			others := without(p.Members(), []string{node})
			lose(node)
			for _, other := range others {
				p.enable(ctx, other, point, `return("crash")`)
			}
			require.NoError(t, p.StartNode(ctx, node))
			sender := p.ended(ctx, point, "crash", others...)
			for _, other := range others {
				if other != sender && p.Ground.Runs(other) {
					p.enable(ctx, other, point, "off")
				}
			}
			for _, other := range others {
				p.back(ctx, other)
			}
			p.back(ctx, node)
			p.Log("%s ended at %s, and is back", sender, point)
		}
		hits := p.hits()
		for _, point := range pointsAt(atRebuilt, atRebuilder) {
			assert.NotZero(t, hits[point], point)
		}
	})
}

// TestFailpointLag ends who gets an image in place of what the others' logs have given up: its log goes on behind the
// image then, and the database has to follow.
func TestFailpointLag(t *testing.T) {
	o := pointLoad
	o.segmentBytes, o.catchUpBytes = 4<<10, 1
	withPoints(t, o, func(p *pointRun) {
		ctx := t.Context()
		for i, point := range append(pointsAt(atLagging), "node/before-install", "node/inside-install", "node/after-install") {
			node := p.follower(ctx, i)
			require.NoError(t, p.KillNode(ctx, node))
			p.passed(ctx, node)
			p.startWith(ctx, node, point, `return("crash")`)
			p.ended(ctx, point, "crash", node)
			p.back(ctx, node)
			p.Log("%s ended at %s, and is back", node, point)
		}
		hits := p.hits()
		for _, point := range pointsAt(atLagging) {
			assert.NotZero(t, hits[point], point)
		}
	})
}

// passed waits until the others have removed all segments of their logs that they have now: node, which does not run,
// has nothing of what comes then.
func (p *pointRun) passed(ctx context.Context, node string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, pointTime)
	defer cancel()
	for _, other := range without(p.Members(), []string{node}) {
		now, err := filepath.Glob(filepath.Join(p.dir, other+".data", "log", "wal-0*.log"))
		require.NoError(p.t, err)
		require.NotEmpty(p.t, now, "the log is elsewhere")
		for _, segment := range now {
			for {
				if _, err := os.Stat(segment); os.IsNotExist(err) {
					break
				}
				require.Truef(p.t, pause(ctx, pollEvery), "%s has %s still", other, segment)
			}
		}
	}
}

// truncated waits until all members have removed a segment of their log.
func (p *pointRun) truncated(ctx context.Context) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, pointTime)
	defer cancel()
	for _, node := range p.Members() {
		require.DirExists(p.t, filepath.Join(p.dir, node+".data", "log"))
		for {
			if _, err := os.Stat(filepath.Join(p.dir, node+".data", "log", "wal-0000000000000001.log")); os.IsNotExist(err) {
				break
			}
			require.Truef(p.t, pause(ctx, pollEvery), "%s has all of its log", node)
		}
	}
}

// TestFailpointMembers ends a member while the members change.
func TestFailpointMembers(t *testing.T) {
	withPoints(t, pointLoad, func(p *pointRun) {
		ctx := t.Context()
		spare := p.spares()[0]
		todo := pointsAt(atChanging)
		changes := []func(context.Context) error{
			func(ctx context.Context) error { return p.join(ctx, spare) },
			func(ctx context.Context) error { return p.promote(ctx, spare) },
			func(ctx context.Context) error { return p.leave(ctx, spare) },
			func(ctx context.Context) error { return p.join(ctx, p.spares()[1]) },
		}
		require.Len(t, changes, len(todo))
		members := p.Members()
		for i, point := range todo {
			node := p.leads(ctx)
			if i%2 == 0 {
				node = without(members, []string{node})[0]
			}
			if node == spare {
				node = without(members, []string{node})[0]
			}
			p.enable(ctx, node, point, `return("crash")`)
			changed := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 2*pointTime)
				defer cancel()
				changed <- changes[i](ctx)
			}()
			p.ended(ctx, point, "crash", node)
			p.back(ctx, node)
			require.NoError(t, <-changed)
			p.Log("%s ended at %s, and is back", node, point)
		}
	})
}

// TestFailpointPeers ends each node at what it says to, and hears of, each other one.
func TestFailpointPeers(t *testing.T) {
	withPoints(t, pointLoad, func(p *pointRun) {
		ctx := t.Context()
		for _, peer := range p.Members() {
			p.handTo(ctx, peer) // so that there is much to say
			for _, node := range without(p.Members(), []string{peer}) {
				for _, point := range peerPoints {
					point += "-" + peer
					p.enable(ctx, node, point, `return("crash")`)
					p.ended(ctx, point, "crash", node)
					p.back(ctx, node)
					p.Log("%s ended at %s, and is back", node, point)
				}
			}
		}
	})
}

// TestFailpointRepack ends a node where a copy takes its database's place, also so that the rename is lost.
func TestFailpointRepack(t *testing.T) {
	o := pointLoad
	o.terms = []string{"node/repack-soon=return(1)", "fsm/remember=return(1)"}
	withPoints(t, o, func(p *pointRun) {
		ctx := t.Context()
		for _, what := range []string{"crash", "power loss"} {
			for i, point := range pointsAt(atPacking) {
				for _, node := range []string{p.leads(ctx), p.follower(ctx, i)} {
					p.enable(ctx, node, point, `return("`+what+`")`)
					p.ended(ctx, point, what, node)
					p.back(ctx, node)
					p.Log("%s: %s at %s, and it is back", node, what, point)
				}
			}
		}
	})
}

// TestFailpointPowerLoss has nodes lose what was not synced when they end: of the log, of the database, and renames; or
// half of what they were writing.
func TestFailpointPowerLoss(t *testing.T) {
	o := pointLoad
	o.terms = []string{"fsm/remember=return(1)"}
	withPoints(t, o, func(p *pointRun) {
		ctx := t.Context()
		for i, x := range []struct{ point, what string }{
			{"wal/after-write", "power loss"},
			{"wal/before-sync", "power loss"},
			{"wal/before-write", "torn write"},
			{"wal/after-hard-state", "power loss"},
			{"wal/before-seal", "power loss"},
			{"wal/before-seal", "torn write"},
			{"wal/after-sync", "power loss"},
			{"wal/before-write", "power loss"},
			{"wal/after-segment-rename", "power loss"},
			{"wal/before-dir-sync", "power loss"},
			{"fsm/before-flush", "power loss"},
			{"fsm/inside-commit", "power loss"}, // what a disk may have of it is drawn
			{"fsm/inside-commit", "power loss"},
			{"fsm/inside-commit", "power loss"},
		} {
			for _, node := range []string{p.leads(ctx), p.follower(ctx, i)} {
				p.enable(ctx, node, x.point, `return("`+x.what+`")`)
				p.ended(ctx, x.point, x.what, node)
				p.back(ctx, node)
				t.Logf("%s: %s at %s, and it is back", node, x.what, x.point)
			}
		}
	})
}

// TestFailpointError: where the disk says no the node stops, with a reason, and goes on from what it had when it is
// started again. What can be tried again does not stop it.
func TestFailpointError(t *testing.T) {
	withPoints(t, pointLoad, func(p *pointRun) {
		ctx := t.Context()
		for _, m := range p.Ground.Machines() {
			p.Excuse(m.Name, "injected")
		}
		for i, point := range []string{"wal/sync", "wal/before-write", "fsm/before-flush", "fsm/inside-flush", "fsm/before-apply", "wal/before-segment-rename", "wal/before-segment-remove"} {
			node := p.follower(ctx, i)
			if i%2 == 0 {
				node = p.leads(ctx)
			}
			p.enable(ctx, node, point, `return("injected")`)
			wait, cancel := context.WithTimeout(ctx, pointTime)
			require.NoError(t, p.last(node).await(wait), point)
			cancel()
			assert.Contains(t, p.last(node).words, "injected", point)
			p.back(ctx, node)
		}
	})
}
