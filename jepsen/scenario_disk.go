package jepsen

import (
	"context"
	"fmt"
	"strings"

	"github.com/confman/confman/linearizability"
)

func init() {
	for _, d := range []struct {
		name  string
		kind  DamageKind
		finds string // in the log of a node that found it
	}{
		{"flip-log-then-lead", FlipLog, replaceIt},
		{"truncate-log-then-lead", TruncateLog, replaceIt},
		{"flip-database-then-lead", FlipDatabase, "rebuilt from a peer"},
		{"truncate-database-then-lead", TruncateDatabase, "rebuilt from a peer"},
		{"lose-database-then-lead", LoseDatabase, " revision=0 "}, // it begins with nothing, and makes it anew of its log or of a peer
	} {
		scenario(&Scenario{
			Name: d.name, Number: 6, Needs: []Capability{Damages, Spares}, Lost: true,
			About:  "a follower is down, and damaged is: " + string(d.kind) + "; it finds that out, is rebuilt or replaced, and is made leader",
			Script: func(ctx context.Context, s *Stage) { damagedThenLead(ctx, s, d.kind, d.finds) },
		})
	}
	scenario(&Scenario{
		Name: "disk-lost", Number: 7, Needs: []Capability{LostDisks, Spares}, Lost: true,
		About:  "a follower loses all of its disk and is started under its old name, when its vote would make a majority: it must not take part; then it is replaced",
		Script: diskLost,
	})
	scenario(&Scenario{
		Name: "disk-full", Number: 14, Needs: []Capability{DiskSizes}, Lost: true,
		About:  "the leader's disk is full, then a follower's: nothing acknowledged is lost, and writes go on once there is room",
		Ground: func(o *LocalOptions) { o.Set("Data", "MinFreeBytes", 0) },
		Script: diskFull,
	})
	for _, d := range []struct {
		name, about string
		state       DiskState
		words       string
	}{
		{"sync-error", "syncs of the leader's disk fail with EIO: it stops, and says why", DiskState{SyncError: true}, saysEIO},
		{"read-only", "the leader's disk takes no writes any more: it stops, and says why", DiskState{ReadOnly: true}, saysEROFS},
	} {
		scenario(&Scenario{
			Name: d.name, Number: 14, Needs: []Capability{DiskFaults}, Lost: true, About: d.about,
			Script: func(ctx context.Context, s *Stage) { diskFails(ctx, s, d.state, d.words) },
		})
	}
	scenario(&Scenario{
		Name: "descriptors", Number: 14, Needs: []Capability{Descriptors}, Lost: true,
		About:  "the leader can open no more files or connections: it stays what it is, or another one leads; when it can again, all is as before",
		Script: descriptors,
	})
}

// damages bounds how often damage is done until the node notices: some of what a file holds is not in use.
const damages = 6

func damagedThenLead(ctx context.Context, s *Stage, kind DamageKind, finds string) {
	s.ready(ctx)
	who := s.others(s.leader(ctx))[0]
	s.writes(ctx, who, 200)
	log := kind == FlipLog || kind == TruncateLog
	if log {
		s.bulk(ctx, segment, s.Members()...)
	}
	revoke := s.Excuse(who, replaceIt)
	for n := 0; ; n++ {
		s.shown(n < damages, "of %d damages none was noticed", n)
		s.ok(s.StopNode(ctx, who)) // in order: all that it has is on its disk
		before, err := s.Run.logOf(ctx, who)
		s.ok(err)
		what, err := s.Damage(ctx, who, Damage{Kind: kind, Seed: s.Seed + uint64(n)})
		s.ok(err)
		s.Log("%s is down: %s", who, what)
		s.shown(!log || strings.Contains(what, closed), "no segment was closed: %s", what)
		if !s.Claim(membership) {
			s.shown(false, "the members are not the script's")
		}
		wait, cancel := context.WithTimeout(ctx, 2*stepTime)
		err = s.restore(wait, who)
		cancel()
		s.Release(membership)
		s.promised(err == nil, "%s does not come back: %v", who, err)
		if noticed(ctx, s, who, len(before), finds) {
			break
		}
	}
	revoke()
	s.Log("%s noticed", who)
	s.ready(ctx)
	s.lead(ctx, who)
	s.writes(ctx, who, 20)
}

// lead has a node be the leader.
func (s *Stage) lead(ctx context.Context, who string) {
	s.until(ctx, who+" leads", func(ctx context.Context) bool {
		leader := s.leads(ctx, s.Members()...)
		if leader == who {
			return true
		}
		if leader != "" {
			_, _ = s.At(leader).TransferLeadership(ctx, who) // if it does not, it is asked again
		}
		return false
	})
}

// noticed tells whether a node has said something since its log was so long; it may take a while until it looks there.
func noticed(ctx context.Context, s *Stage, who string, from int, says string) bool {
	const looks = 40
	for range looks {
		log, err := s.Run.logOf(ctx, who)
		s.ok(err)
		if from <= len(log) && strings.Contains(string(log[from:]), says) {
			return true
		}
		s.lasts(ctx, lookEvery)
	}
	return false
}

func diskLost(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	lost, other := s.others(leader)[0], s.others(leader)[1]
	s.writes(ctx, leader, 20)
	s.ok(s.KillNode(ctx, lost))
	s.writes(ctx, leader, 20) // these the lost one does not even have
	what, err := s.Damage(ctx, lost, Damage{Kind: LoseDirectory})
	s.ok(err)
	s.Log("%s is down: %s", lost, what)
	up := s.killed(ctx, other)
	revoke := s.Excuse(lost, "data directory was lost or replaced")
	s.ok(s.StartNode(ctx, lost))
	// The two would be a majority, if the one that has forgotten what it promised counted.
	for range 2 {
		op := s.put(ctx, leader, s.newKey())
		s.promised(op.Outcome != linearizability.Applied, "%s acknowledged a write with nobody but %s, whose disk was lost", leader, lost)
	}
	s.promised(s.leads(ctx, lost) == "", "%s leads, and its disk was lost", lost)
	up(ctx)
	s.until(ctx, lost+" refuses to take part", func(context.Context) bool { return s.last(lost).isOver() })
	s.writes(ctx, leader, 5)
	wait, cancel := context.WithTimeout(ctx, 2*stepTime)
	defer cancel()
	err = s.ReplaceNode(wait, lost)
	s.promised(err == nil, "%s cannot be replaced: %v", lost, err)
	revoke()
	s.ready(ctx)
	s.writes(ctx, lost, 10)
}

func diskFull(ctx context.Context, s *Stage) {
	s.aside(func() { s.mind(ctx) }) // who lacked room may end only when there is some again
	for _, follower := range []bool{false, true} {
		s.ready(ctx)
		who := s.leader(ctx)
		if follower {
			who = s.others(who)[0]
		}
		revoke, felt := s.Excuse(who, saysENOSPC), s.hitDisk(who)
		st, err := s.Standing(ctx, who)
		s.ok(err)
		s.shown(s.Claim(who), "%s is not the script's", who)
		s.ok(s.SetDisk(ctx, who, DiskState{Bytes: st.StoreBytes + st.LogBytes + 1<<20}))
		room := s.begin(Fault{Text: "there is 1 MiB left on the disk of " + who, Nodes: []string{who}, Undo: func(ctx context.Context) error {
			defer s.Release(who)
			return s.SetDisk(ctx, who, DiskState{})
		}})
		for round := 0; round == 0 || felt != nil && !felt(); round++ { // what is refused is refused, and is nowhere
			s.shown(round < fullRounds, "%s never lacked room", who)
			s.some(ctx, 20)
		}
		room(ctx)
		revoke()
		for _, name := range s.Members() {
			s.writes(ctx, name, 10)
		}
	}
}

// Of the scenario "disk-full": so much is written that a segment of the log is full, whose room was taken before, and a new one is due.
const (
	fullBytes  = 512 << 10
	fullRounds = 20
)

// some asks for n writes of fullBytes, of which as many may be refused as there are.
func (s *Stage) some(ctx context.Context, n int) {
	c, acknowledged := s.bulkClient(s.Members()...), 0
	for i := range n {
		if ctx.Err() != nil {
			return
		}
		asking, cancel := context.WithTimeout(ctx, attemptTime)
		if s.bulkPut(asking, c, i%bulkKeys, fullBytes) == nil {
			acknowledged++
		}
		cancel()
	}
	s.Log("%d of %d writes of %d KiB were acknowledged", acknowledged, n, fullBytes>>10)
}

func diskFails(ctx context.Context, s *Stage, state DiskState, words string) {
	for range 2 {
		s.ready(ctx)
		who := s.leader(ctx)
		others := s.others(who)
		revoke := s.Excuse(who, words)
		s.ok(s.SetDisk(ctx, who, state))
		sound := s.begin(Fault{Text: fmt.Sprintf("the disk of %s: %v", who, state), Nodes: []string{who}, Undo: func(ctx context.Context) error {
			return s.SetDisk(ctx, who, DiskState{})
		}})
		s.queue(ctx, 4, func(ctx context.Context) *linearizability.Op { return s.put(ctx, who, s.newKey()) })()
		s.until(ctx, who+" stops", func(context.Context) bool { return s.last(who).isOver() })
		s.promised(s.last(who).excuse != "", "%s does not say why it stopped: %s", who, s.last(who).words)
		s.writes(ctx, s.leader(ctx, others...), 20)
		sound(ctx)
		revoke()
		s.ok(s.StartNode(ctx, who))
		s.ready(ctx)
		s.writes(ctx, who, 10)
	}
}

func descriptors(ctx context.Context, s *Stage) {
	limits := s.Ground.(limiter)
	leader := s.leader(ctx)
	_ = s.Excuse(leader, "too many open files")
	const few, many = 8, 4096
	s.ok(limits.LimitFiles(leader, few))
	enough := s.begin(Fault{Text: leader + " can open nothing", Nodes: []string{leader}, Undo: func(context.Context) error {
		if !s.Ground.Runs(leader) {
			return nil
		}
		return limits.LimitFiles(leader, many)
	}})
	// New connections are not taken, and the log needs new segments.
	asked := s.queue(ctx, 4, func(ctx context.Context) *linearizability.Op {
		op := s.keyedOp(leader, s.newKey(), nil)
		s.Ask(ctx, s.impatient(leader, attemptTime), op, nil)
		return op
	})()
	refused := 0
	for _, op := range asked {
		if op.Outcome != linearizability.Applied {
			refused++
		}
	}
	s.Log("%d of %d writes over new connections were not answered", refused, len(asked))
	s.bulk(ctx, behind, s.others(leader)...)
	said, err := s.Run.logOf(ctx, leader)
	s.ok(err)
	s.shown(refused > 0 || strings.Contains(string(said), "too many open files"), "nobody noticed that %s can open nothing", leader)
	enough(ctx)
	s.ok(s.Revive(ctx, leader))
	s.ready(ctx)
	for _, name := range s.Members() {
		s.writes(ctx, name, 10)
	}
}
