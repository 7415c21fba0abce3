package jepsen

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "overload", Number: 17, Lost: true,
		About:  "more is asked for than a node takes on: some is refused, with 503 and when to come back, and all is answered in time; what is asked for afterwards is taken",
		Script: overload,
	})
	scenario(&Scenario{
		Name: "minority-fails-fast", Number: 17, Lost: true,
		About:  "two of three nodes are down: the one that is left refuses writes and linearizable reads, soon, and at once when it knows; it still reads what it has",
		Script: minorityFailsFast,
	})
	scenario(&Scenario{
		Name: "cold-start", Number: 18, Lost: true, Forms: true,
		About:  "nodes start one after the other, with time between; then after all were down with one of them stopped as soon as it runs, and with links that take 100 ms, where those can be had",
		Script: coldStart,
	})
	scenario(&Scenario{
		Name: "healthy", Number: 18,
		Workloads: []string{"register", "bank", "set", "list-append", "watch"},
		About:     "nothing is broken: at least 99.9% of what is asked for is answered",
		Script:    healthy,
	})
}

// Of the scenario "overload": more bytes at once than a node has in flight (64 MiB), from so many clients.
const (
	overloadClients = 240
	overloadBytes   = 512 << 10
	// answerTime bounds an answer, whatever it is: the longest that the API waits, and what a busy machine adds.
	answerTime = 20 * time.Second
)

func overload(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	var (
		mu      sync.Mutex
		taken   int
		noTime  int // refused, and not told when to come back
		refused = map[string]int{}
		silent  []error
		longest time.Duration
	)
	c, err := client.New(client.Options{
		Endpoints: []string{s.Machine(leader).URL}, MaxAttempts: 1, AttemptTimeout: answerTime,
		HTTP: &http.Client{Transport: listener{&http.Transport{DialContext: s.Ground.Dial, MaxIdleConnsPerHost: overloadClients}}},
	})
	s.ok(err)
	var all sync.WaitGroup
	for i := range overloadClients {
		all.Go(func() {
			value := strings.Repeat(fmt.Sprintf("%016d", i), overloadBytes/16)
			began := time.Now()
			ctx, h := listening(ctx)
			_, _, err := c.Put(ctx, fmt.Sprintf("bulk/%d", i), []byte(value), textType, client.WriteOptions{NoIdempotencyKey: true})
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(began))
			var p *client.Problem
			switch {
			case err == nil:
				taken++
			case errors.As(err, &p):
				refused[fmt.Sprintf("%d %s", p.Status, p.Name())]++
				if !h.Again {
					noTime++
				}
			default:
				silent = append(silent, err)
			}
		})
	}
	all.Wait()
	s.Log("of %d writes of %d KiB at once %d were taken, and refused: %v; the longest took %.1f s", overloadClients, overloadBytes>>10, taken, refused, longest.Seconds())
	s.promised(len(silent) == 0, "%d writes had no answer within %v: %v", len(silent), answerTime, errors.Join(silent...))
	s.shown(refused["503 overloaded"] > 0, "nothing was refused for overload: %v", refused)
	s.promised(noTime == 0, "%d writes were refused without a word of when to come back", noTime)
	for why := range refused {
		s.promised(why == "503 overloaded" || why == "503 no-quorum" || why == "503 leader-changed" || strings.HasPrefix(why, "503 "), "a write was refused with %s", why)
	}
	s.ready(ctx)
	for _, name := range s.Members() {
		s.writes(ctx, name, 10)
	}
}

func minorityFailsFast(ctx context.Context, s *Stage) {
	key := s.newKey()
	s.shown(done(s.put(ctx, s.leader(ctx), key)), "the leader does not write")
	s.ready(ctx)
	left := s.others(s.leader(ctx))[0]
	up := s.killed(ctx, s.others(left)...)
	c, err := client.New(client.Options{
		Endpoints: []string{s.Machine(left).URL}, MaxAttempts: 1, AttemptTimeout: answerTime,
		HTTP: &http.Client{Transport: listener{&http.Transport{DialContext: s.Ground.Dial}}},
	})
	s.ok(err)
	// What was there to know for long, it knows at once.
	quick := 0
	for n := range 6 {
		op := &linearizability.Op{ID: s.Recorder.ID(), Client: scriptClient, Node: left, Kind: linearizability.Put, Key: key}
		if op.Value = scriptValue(op.ID); n%2 == 1 {
			op.Kind, op.Value = linearizability.Read, ""
		}
		began := time.Now()
		s.Ask(ctx, c, op, nil)
		took := time.Since(began)
		s.Log("%s at %s: %s after %.1f s", op.Kind, left, op.Outcome, took.Seconds())
		s.promised(op.Outcome != linearizability.Applied && op.Outcome != linearizability.ReadDone, "%s served alone", left)
		s.promised(took < answerTime, "%s took %v to refuse", left, took)
		if took < 2*time.Second {
			quick++
		}
	}
	s.promised(quick >= 4, "only %d of 6 refusals took less than two seconds", quick)
	local := &linearizability.Op{ID: s.Recorder.ID(), Client: scriptClient, Node: left, Kind: linearizability.Local, Key: key}
	s.Ask(ctx, c, local, nil)
	s.promised(local.Outcome == linearizability.ReadDone && local.Found, "%s does not read what it has", left)
	up(ctx)
	s.ready(ctx)
}

func coldStart(ctx context.Context, s *Stage) {
	nodes := s.Members()
	for i, name := range nodes {
		s.ok(s.StartNode(ctx, name))
		if i < len(nodes)-1 {
			s.lasts(ctx, time.Second)
			s.promised(s.leads(ctx, nodes[:i+1]...) == "", "a cluster of three formed without all of them")
		}
	}
	s.until(ctx, "a cluster forms, and all nodes serve", func(ctx context.Context) bool { return s.unready(ctx) == "" })
	s.writes(ctx, nodes[0], 10)

	if s.Ground.Can(Delays) == nil {
		slow := map[Link]Condition{}
		for _, l := range s.between(nodes, nodes) {
			if l.From != l.To {
				slow[l] = Condition{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond}
			}
		}
		restore, err := s.BreakLinks(ctx, slow)
		s.ok(err)
		_ = s.begin(Fault{Text: "all links between nodes take 50 ms each way", Undo: restore})
	}
	_ = s.killed(ctx, nodes...)
	s.ok(s.StartNode(ctx, nodes[0]))
	goOn := s.stopped(ctx, nodes[0])
	s.ok(s.StartNode(ctx, nodes[1]))
	s.lasts(ctx, 2*electionTimeout)
	s.promised(s.leads(ctx, nodes[1]) == "", "%s leads alone", nodes[1])
	s.ok(s.StartNode(ctx, nodes[2]))
	s.writes(ctx, nodes[2], 10)
	goOn(ctx)
	s.writes(ctx, nodes[0], 10)
	s.until(ctx, "all nodes serve", func(ctx context.Context) bool { return s.unready(ctx) == "" })
}

// Of the scenario "healthy".
const (
	healthyTime  = 20 * time.Second
	healthyShare = 0.999
)

func healthy(ctx context.Context, s *Stage) {
	s.lasts(ctx, healthyTime)
	h, _ := s.Recorder.History()
	asked, answered := 0, 0
	for i := range h.Ops {
		op := &h.Ops[i]
		if op.Return == linearizability.Never && s.Recorder.Now()-op.Call < int64(attemptTime) {
			continue // it is under way
		}
		asked++
		switch op.Outcome {
		case linearizability.Unknown, linearizability.NotApplied, linearizability.ReadFailed:
			s.Log("not answered: %s", op.String())
		default:
			answered++
		}
	}
	s.Log("%d of %d were answered", answered, asked)
	s.shown(asked >= 1000, "%d operations were asked for in %v", asked, healthyTime)
	s.promised(float64(answered) >= healthyShare*float64(asked), "%d of %d were answered: that is less than 99.9%%", answered, asked)
}
