package jepsen

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "retry-elsewhere", Number: 11, Lost: true,
		About:  "writes under idempotency keys time out at a leader that cannot commit; they are sent again, to the same node and to others, while it leads, after another one leads, and after all were restarted",
		Script: retryElsewhere,
	})
	scenario(&Scenario{
		Name: "retry-after-image", Number: 11, Lost: true,
		Ground: keepNoLog,
		About:  "writes time out at the leader, and are committed after that; they are sent again to a node that took another one's database meanwhile: it is one effect",
		Script: retryAfterImage,
	})
	scenario(&Scenario{
		Name: "retry-after-retention", Number: 11, Needs: []Capability{Programs}, Lost: true,
		Ground: func(o *LocalOptions) { o.Program = o.Variants[Forgetful] },
		About:  "a write times out, and is committed after that; it is sent again before its idempotency key is forgotten, which is one effect, and after, which is another write; the program remembers keys for " + ForgetfulRetention.String() + " only",
		Script: retryAfterRetention, Variant: Forgetful,
	})
	scenario(&Scenario{
		Name: "answer-lost", Number: 12, Lost: true,
		About:  "the client goes away before the answer to a write comes, which is committed all the same, and asks again at another node",
		Script: answerLost,
	})
	scenario(&Scenario{
		Name: "forwarded-twice", Number: 12, Lost: true,
		About:  "writes are at followers while the leader is stopped: they forward them again and again, to it and then to the next leader, and the old one goes on with all that it got; none carries an idempotency key",
		Script: forwardedTwice,
	})
}

// done tells whether an attempt is known to have had its effect.
func done(op *linearizability.Op) bool {
	return op.Outcome == linearizability.Applied || op.Outcome == linearizability.Unchanged
}

func retryElsewhere(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	others := s.others(leader)

	s.Log("the same one leads")
	goOn := s.stopped(ctx, others...)
	first := s.queue(ctx, 3, func(ctx context.Context) *linearizability.Op { return s.keyed(ctx, leader, s.newKey(), nil) })()
	goOn(ctx)
	s.retried(ctx, first, others[0], leader)

	s.Log("another one leads")
	leader = s.leader(ctx)
	others = s.others(leader)
	goOn = s.stopped(ctx, others...)
	first = s.queue(ctx, 3, func(ctx context.Context) *linearizability.Op { return s.keyed(ctx, leader, s.newKey(), nil) })()
	old := s.stopped(ctx, leader)
	goOn(ctx)
	next := s.leader(ctx, others...)
	s.retried(ctx, first, next, others[0], others[1])
	old(ctx)
	s.retried(ctx, first, leader)

	s.Log("all were restarted")
	up := s.killed(ctx, s.Members()...)
	up(ctx)
	s.ready(ctx)
	s.retried(ctx, first, s.Members()...)
}

// retried sends what timed out again, to each of nodes in turn: all attempts that are answered are one effect.
func (s *Stage) retried(ctx context.Context, first []*linearizability.Op, nodes ...string) {
	for _, op := range first {
		s.shown(op.Outcome == linearizability.Unknown || op.Revision != 0, "the first attempt was answered: %s", op.String())
		for _, node := range nodes {
			var again *linearizability.Op
			s.until(ctx, fmt.Sprintf("%s answers what is sent again", node), func(ctx context.Context) bool {
				again = s.keyed(ctx, node, op.Key, op)
				return done(again)
			})
			s.promised(op.Revision == 0 || op.Revision == again.Revision, "one write has the revisions %d and %d", op.Revision, again.Revision)
			op.Revision = again.Revision
		}
	}
}

// keepNoLog has nodes keep no more of the log than they must.
func keepNoLog(o *LocalOptions) { o.Set("Data", "CatchUpBytes", 1) }

func retryAfterImage(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	late := s.others(leader)[0]
	var first []*linearizability.Op
	for range 5 {
		first = append(first, s.timedOut(ctx, s.newKey()))
	}
	s.imageFor(ctx, late, nil)
	s.ready(ctx)
	s.retried(ctx, first, late, leader)
}

// timedOutTries bounds how often a write is asked for that is to be committed after its client has gone: elections come between.
const timedOutTries = 20

// timedOut is a write whose client waited for as long as the leader could not commit it, and left without an answer, and which was
// committed then. Its revision is that of which others know.
func (s *Stage) timedOut(ctx context.Context, key string) *linearizability.Op {
	for range timedOutTries {
		leader := s.leader(ctx)
		goOn := s.stopped(ctx, s.others(leader)...)
		op := s.keyedOp(leader, key, nil)
		s.Ask(ctx, s.impatient(leader, electionTimeout/3), op, nil)
		goOn(ctx)
		if op.Outcome != linearizability.Unknown {
			s.ready(ctx)
			key = s.newKey()
			continue
		}
		const looks = 10
		for range looks {
			if read := s.read(ctx, leader, key); read.Outcome == linearizability.ReadDone && read.Found && read.Got == op.Value {
				op.Revision = read.KeyRevision
				s.Log("a write timed out at %s, and was committed at revision %d", leader, op.Revision)
				return op
			}
			s.lasts(ctx, pollEvery)
		}
		s.ready(ctx)
		key = s.newKey()
	}
	s.shown(false, "of %d writes that timed out none was committed", timedOutTries)
	return nil
}

// Forgetful is the program that forgets idempotency keys after ForgetfulRetention.
const (
	Forgetful          = "forgetful"
	ForgetfulRetention = 5 * time.Second
)

func retryAfterRetention(ctx context.Context, s *Stage) {
	nodes := s.Members()
	first := s.timedOut(ctx, s.newKey())
	key := first.Key
	again := s.keyed(ctx, nodes[1], key, first)
	late := s.Recorder.Now() - first.Call
	s.shown(late < int64(ForgetfulRetention*4/5), "it was sent again after %v, when its key may be forgotten", time.Duration(late))
	s.promised(done(again) && again.Revision == first.Revision, "sent again in time it is another write: revision %d, not %d", again.Revision, first.Revision)
	between := s.put(ctx, nodes[2], key)
	s.shown(done(between), "%s does not write", nodes[2])
	// From here on the key means nothing any more: what is sent is a write of its own, that repeats the value.
	s.lasts(ctx, ForgetfulRetention)
	s.broughtAbout(ctx, "the key is forgotten", func(ctx context.Context) bool {
		id := s.Recorder.ID()
		op := &linearizability.Op{ID: id, Client: scriptClient + int(id), Node: nodes[1], Kind: linearizability.Put, Key: key, Value: first.Value, RetryOf: first.ID, IdempotencyKey: first.IdempotencyKey + "/later"}
		s.send(ctx, op, first.IdempotencyKey)
		return done(op) && op.Revision > between.Revision
	})
}

// send asks for op under another idempotency key than the one that it has in the history. As long as the servers remember that, they refuse
// it: it has another comment, by which the change log tells whose it is.
func (s *Stage) send(ctx context.Context, op *linearizability.Op, key string) {
	if !s.Recorder.Call(op) {
		return
	}
	defer s.Recorder.Return(op)
	wrote, meta, err := s.At(op.Node).Put(ctx, op.Key, []byte(op.Value), "text/plain", client.WriteOptions{IdempotencyKey: key, Comment: remark(op)})
	if op.Outcome = outcomeOf(err); err == nil {
		op.Revision, op.KeyRevision = meta.Revision, wrote.Revision
	}
}

func answerLost(ctx context.Context, s *Stage) {
	nodes := s.Members()
	replayed, tries := 0, 0
	for replayed < 5 {
		s.shown(tries < 500, "of %d writes only %d were committed without an answer", tries, replayed)
		tries++
		key, patience := s.newKey(), time.Duration(1+tries%40)*100*time.Microsecond
		first := s.keyedOp(nodes[tries%len(nodes)], key, nil)
		s.Ask(ctx, s.impatient(first.Node, patience), first, nil)
		if first.Outcome != linearizability.Unknown {
			continue
		}
		// Was it done? Whoever asks now may see it or not; the one who sends it again gets the one answer there is.
		before := s.read(ctx, nodes[(tries+1)%len(nodes)], key)
		var again *linearizability.Op
		for again = s.keyed(ctx, nodes[(tries+1)%len(nodes)], key, first); !done(again); again = s.keyed(ctx, nodes[(tries+2)%len(nodes)], key, first) {
			s.shown(ctx.Err() == nil, "ended")
		}
		if before.Outcome == linearizability.ReadDone && before.Found {
			replayed++
			s.promised(again.Revision == before.KeyRevision, "a write that was done at revision %d is done again at %d", before.KeyRevision, again.Revision)
		}
	}
	s.Log("of %d writes %d were committed and their answers lost", tries, replayed)
}

// impatient is a client that goes away when it has waited so long.
func (s *Stage) impatient(node string, patience time.Duration) *client.Client {
	c, err := client.New(client.Options{
		Endpoints: []string{s.Machine(node).URL}, MaxAttempts: 1, AttemptTimeout: patience,
		HTTP: &http.Client{Transport: listener{&http.Transport{DialContext: s.Ground.Dial, DisableKeepAlives: true}}},
	})
	s.ok(err)
	return c
}

// forwardedAgain is how many of the writes that were answered at a node, whose leader was stopped, it sent to a leader more than once: those that
// had no place in the log for longer than 250 ms, for they were sent to the stopped one first, and then to the one that gave it to them.
func (s *Stage) forwardedAgain(ctx context.Context, node string) float64 {
	const stage = "confman_node_proposal_stage_duration_seconds"
	all, ok := s.sample(ctx, node, stage+`_count{stage="forward"}`)
	soon, has := s.sample(ctx, node, stage+`_bucket{stage="forward",le="0.25"}`)
	s.shown(ok && has, "%s does not say how long it forwards", node)
	return all - soon
}

func forwardedTwice(ctx context.Context, s *Stage) {
	again := 0.0
	for range 2 {
		leader := s.leader(ctx)
		others := s.others(leader)
		before := map[string]float64{}
		for _, name := range others {
			before[name] = s.forwardedAgain(ctx, name)
		}
		goOn := s.stopped(ctx, leader)
		// At once: the followers have not missed the leader yet, and forward to it.
		asked := s.queue(ctx, 12, func(ctx context.Context) *linearizability.Op {
			return s.put(ctx, others[int(s.Recorder.ID())%len(others)], s.newKey())
		})
		next := s.leader(ctx, others...)
		s.writes(ctx, next, 5)
		goOn(ctx)
		answered := 0
		for _, op := range asked() {
			if op.Outcome == linearizability.Applied {
				answered++
			}
		}
		s.shown(answered > 0, "none of the writes that were forwarded to a stopped leader was answered")
		// At the one that follows both: the other one may have led itself.
		for _, name := range without(others, []string{next}) {
			again += s.forwardedAgain(ctx, name) - before[name]
		}
		s.Log("%d of 12 writes were answered that had been forwarded to a leader that was stopped; %.0f so far had been sent again", answered, again)
		s.ready(ctx)
	}
	s.shown(again > 0, "no write was forwarded twice")
}
