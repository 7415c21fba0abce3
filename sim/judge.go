package sim

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// judge holds the world to its promises while it runs.
type judge struct {
	w       *World
	fired   map[string]uint64
	cluster fsm.ClusterID
	leaders map[uint64]uint64 // by term
	terms   terms
	slots   []slot // by index - 1
	model   model
	acks    []acknowledgment      // in order of time
	rulings []ruling              // in order of time
	log     map[fsm.Index]decided // what a sound store said first of each
	where   map[uint64]fsm.Index  // at which index the write of an operation changed something
	told    *linearizability.History
	views   generator // which of them stay open
	lived   int       // how many changes the model had when the world was over; 0: it is not
}

// slot is what an index of the log means to all.
type slot struct {
	term   uint64
	digest uint64
	conf   *fsm.ConfChange // what the entry is in place of a command
	result modelResult
	state  modelState // afterwards
	hashed bool
	hash   [32]byte
}

// acknowledgment is a write that was acknowledged, and the greatest revision so far.
type acknowledgment struct {
	at  int64
	rev fsm.Revision
}

func (j *judge) init(w *World) {
	j.w = w
	j.fired = map[string]uint64{}
	j.leaders = map[uint64]uint64{}
	j.terms.init()
	j.model = newModel()
	j.log = map[fsm.Index]decided{}
	j.where = map[uint64]fsm.Index{}
	j.views = newGenerator(w.opts.Seed, "views")
}

func (j *judge) count(what string) { j.fired[what]++ }

// joined: there is one cluster.
func (j *judge) joined(r *replica, id node.Identity) {
	if j.cluster == (fsm.ClusterID{}) {
		j.cluster = id.Cluster
		if len(j.model.memberships) == 0 { // what is restored begins otherwise
			j.model.formed(id.Cluster, id.Members, id.Version)
		}
	}
	if j.model.genesis == ([32]byte{}) {
		j.model.genesis = firstHead(id.Cluster, id.Members)
	}
	if id.Cluster != j.cluster || id.RaftID != r.id {
		j.w.fail(JudgeSplit, "split: %s joins cluster %x as %d, others are in %x", r.name, id.Cluster[:4], id.RaftID, j.cluster[:4])
	}
}

// opened: a store comes back at what it last wrote, and nothing else.
func (j *judge) opened(r *replica, s fsm.State) error {
	if s.Applied != r.lastDurable {
		return fmt.Errorf("the store comes back at index %d, it had written %d", s.Applied, r.lastDurable)
	}
	return j.state(r, s)
}

// state: equal index, equal state.
func (j *judge) state(r *replica, s fsm.State) error {
	if s.Applied == 0 {
		return nil
	}
	if int(s.Applied) > len(j.slots) {
		return fmt.Errorf("the store is at index %d, nobody applied more than %d", s.Applied, len(j.slots))
	}
	k := &j.slots[s.Applied-1]
	if s.Revision != k.state.revision || s.Term != k.term {
		return fmt.Errorf("at index %d the store of %s is at revision %d and term %d, want %d and %d", s.Applied, r.name, s.Revision, s.Term, k.state.revision, k.term)
	}
	if have := (modelState{s.Revision, s.Floor, s.Time, int(s.Answers), k.state.ring}); have != k.state || int(s.Denials) != k.state.ring.rows {
		return fmt.Errorf("at index %d the store of %s has floor %d, replicated time %v, %d answers and %d denials, want %d, %v, %d and %d",
			s.Applied, r.name, have.floor, have.time, have.answers, s.Denials, k.state.floor, k.state.time, k.state.answers, k.state.ring.rows)
	}
	if err := j.model.memberships.at(s.Applied).is(&s); err != nil {
		return fmt.Errorf("at index %d the store of %s %w", s.Applied, r.name, err)
	}
	if want := j.model.head(s.Floor); s.FloorChain != want {
		return fmt.Errorf("at index %d the change log of %s has the chain %x at its floor %d, want %x", s.Applied, r.name, s.FloorChain[:6], s.Floor, want[:6])
	}
	if want := j.model.head(s.Revision); s.Chain != want {
		return fmt.Errorf("at index %d the change log of %s has the chain %x, want %x", s.Applied, r.name, s.Chain[:6], want[:6])
	}
	if k.hashed && s.Hash != k.hash {
		return fmt.Errorf("states differ at index %d: %s has hash %.12x, another had %.12x", s.Applied, r.name, s.Hash, k.hash)
	}
	k.hashed, k.hash = true, s.Hash
	return nil
}

// stepped looks at the core after each step.
func (j *judge) stepped(r *replica) {
	s := r.core.Status()
	if s.Role == node.Leader {
		j.leads(r, s.Term)
	}
	if l := j.leaders[s.Term]; s.Leader != 0 && s.Leader != l {
		j.w.fail(JudgeSplit, "%s holds node%d for the leader of term %d, which node%d leads (0: nobody)", r.name, s.Leader, s.Term, l)
	}
	if s.Damage != nil && !r.gaveUp && !r.tainted {
		j.w.fail(JudgeState, "%s gives up a store that is whole: %w", r.name, s.Damage)
	}
	if r.gaveUp = s.Damage != nil; r.gaveUp {
		return // nothing is served, and the image may be older than what was
	}
	switch {
	case s.Applied < r.lastApplied:
		j.w.fail(JudgeInvariant, "%s: the applied index went back from %d to %d", r.name, r.lastApplied, s.Applied)
	case s.Applied > s.Commit:
		j.w.fail(JudgeInvariant, "%s applied %d and has committed %d", r.name, s.Applied, s.Commit)
	case s.Durable > s.Applied:
		j.w.fail(JudgeInvariant, "%s has %d in its database and applied %d", r.name, s.Durable, s.Applied)
	}
	r.lastApplied = s.Applied
	if s.Fresh && s.FreshAt != r.claimed {
		r.claimed = s.FreshAt
		j.fresh(r, s.FreshAt)
	}
}

// leads: a term has one leader.
func (j *judge) leads(r *replica, term uint64) {
	switch other, ok := j.leaders[term]; {
	case !ok:
		j.leaders[term] = r.id
		j.terms.begins(term, j.w.now)
		j.count("leader elected")
		j.w.note(linearizability.Event{Kind: linearizability.Leads, Node: r.name, Term: term})
	case other != r.id:
		j.w.fail(JudgeSplit, "two leaders in term %d: node%d and %s", term, other, r.name)
	}
}

// fresh: the node has every write that was acknowledged before the instant it claims.
func (j *judge) fresh(r *replica, at time.Duration) {
	j.count("fresh claim")
	if r.diverged {
		return
	}
	when := r.clock.world(at)
	n := sort.Search(len(j.acks), func(i int) bool { return j.acks[i].at >= when })
	if n == 0 {
		return
	}
	if need, have := j.acks[n-1].rev, r.db.State().Revision; need > have {
		j.w.fail(JudgeFresh, "stale: %s claims to hold all that was acknowledged before %v, is at revision %d, and revision %d was acknowledged by %v",
			r.name, time.Duration(when), have, need, time.Duration(j.acks[n-1].at))
	}
}

// truncated: what bbolt may fall back to is where the log still goes on from.
func (j *judge) truncated(r *replica) {
	if first := r.log.FirstIndex(); first > uint64(r.prevDurable)+1 {
		j.w.fail(JudgeDurable, "%s truncates its log up to %d, and the commit before the last one of its database is of index %d", r.name, first-1, r.prevDurable)
	}
}

// sent: nothing is said that rests on what is not durable.
func (j *judge) sent(r *replica, m *transport.Message) {
	raft := m.Raft
	if raft == nil || raft.GetReject() {
		return
	}
	j.rests(r, raft)
	s := &r.shadow
	switch raft.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		j.leads(r, raft.GetTerm()) // it may have led for a part of a step only
	case raftpb.MsgVoteResp:
		j.count("vote granted")
		if s.durableTerm < raft.GetTerm() || (s.durableTerm == raft.GetTerm() && s.durableVote != raft.GetTo()) {
			j.w.fail(JudgeDurable, "%s tells node %d that it has its vote in term %d; durable are term %d and a vote for %d",
				r.name, raft.GetTo(), raft.GetTerm(), s.durableTerm, s.durableVote)
		}
	case raftpb.MsgAppResp:
		if s.durableTerm < raft.GetTerm() {
			j.w.fail(JudgeDurable, "%s answers node %d in term %d; durable is term %d", r.name, raft.GetTo(), raft.GetTerm(), s.durableTerm)
		}
		// In a newer term what was durable may be replaced already.
		if s.durableTerm == raft.GetTerm() && raft.GetIndex() > uint64(s.durable) {
			j.w.fail(JudgeDurable, "%s tells node %d that it has all up to %d; durable are %d entries", r.name, raft.GetTo(), raft.GetIndex(), s.durable)
		}
	default:
	}
}

// appliedEntries holds what a store did with entries against what others and the
// model did with them.
func (j *judge) appliedEntries(r *replica, ents []fsm.Entry, results []fsm.Result) {
	if len(results) != len(ents) {
		j.w.fail(JudgeInvariant, "%s has %d results for %d entries", r.name, len(results), len(ents))
		return
	}
	for i := range ents {
		j.versionOf(r, &ents[i])
		if err := j.appliedEntry(&ents[i], &results[i]); err != nil {
			j.differs(r, fmt.Errorf("%s: %w", r.name, err))
		} else if !r.tainted {
			j.said(&results[i])
		}
	}
	if r.diverged {
		return
	}
	if err := j.state(r, r.db.State()); err != nil {
		j.differs(r, err)
	}
}

// differs: a state may differ from the others' only where the world has damaged it,
// so that a record seemed absent: then the node must find out.
func (j *judge) differs(r *replica, err error) {
	if !r.tainted {
		j.w.fail(JudgeState, "%w", err)
		return
	}
	r.diverged = true
	r.strays(r.db.State().Applied)
}

func (j *judge) appliedEntry(e *fsm.Entry, r *fsm.Result) error {
	switch n := fsm.Index(len(j.slots)); {
	case e.Index == n+1:
		before := j.model.time
		j.slots = append(j.slots, slot{term: e.Term, digest: digest(e.Data), conf: e.Conf, result: j.model.apply(e.Index, e.Data, e.Conf), state: j.model.state()})
		j.w.archive.applied(e)
		j.w.trace.add(e.Term, digest(e.Data))
		j.became(&j.slots[n], before)
	case e.Index == 0 || e.Index > n+1:
		return fmt.Errorf("index %d is applied, nobody applied more than %d", e.Index, n)
	}
	k := &j.slots[e.Index-1]
	if e.Term != k.term || digest(e.Data) != k.digest || !sameStep(e.Conf, k.conf) {
		return fmt.Errorf("logs differ: the entry applied at index %d is of term %d, another was of term %d", e.Index, e.Term, k.term)
	}
	want := k.result
	if r.Index != e.Index || r.Term != e.Term || r.Outcome != want.outcome || r.Revision != want.revision {
		return fmt.Errorf("the entry at index %d did %v at revision %d (index %d, term %d), want %v at %d", e.Index, r.Outcome, r.Revision, r.Index, r.Term, want.outcome, want.revision)
	}
	if err := sameResult(r, &want); err != nil {
		return fmt.Errorf("the entry at index %d %w", e.Index, err)
	}
	return nil
}

// sameResult: what is said of an entry beside its outcome and revision is what the model says.
func sameResult(r *fsm.Result, want *modelResult) error {
	conditional := r.Outcome == fsm.CompareFailed || r.Else
	switch had := (first{r.First, r.FirstRevision}); {
	case r.Replayed != want.replayed:
		return fmt.Errorf("is a replay: %v, want %v", r.Replayed, want.replayed)
	case r.Else != want.instead:
		return fmt.Errorf("did its else branch: %v, want %v", r.Else, want.instead)
	case conditional && r.FailedCompare != want.failed:
		return fmt.Errorf("had compare %d fail, want %d", r.FailedCompare+1, want.failed+1)
	case conditional && r.Current != want.current:
		return fmt.Errorf("has a compare that found revision %d, want %d", r.Current, want.current)
	case r.Missing != want.missing:
		return fmt.Errorf("lacks %v on %q, want %v on %q", r.Missing.Verbs, r.Missing.Path, want.missing.Verbs, want.missing.Path)
	case r.Floor != want.floor:
		return fmt.Errorf("says that revision %d can be restored, want %d", r.Floor, want.floor)
	case r.Busy != want.busy || r.Behind != want.behind:
		return fmt.Errorf("says that there is more to do: %v, at once: %v, want %v, %v", r.Busy, r.Behind, want.busy, want.behind)
	case r.Outcome == fsm.Repeated && had != want.first:
		return fmt.Errorf("repeats one that did %v at revision %d, want %v at %d", had.outcome, had.revision, want.first.outcome, want.first.revision)
	case len(r.Ops) != len(want.ops):
		return fmt.Errorf("has results for %d operations, want %d", len(r.Ops), len(want.ops))
	}
	for i := range r.Ops {
		if have, want := r.Ops[i], want.ops[i]; have != want {
			return fmt.Errorf("left key %d at revision %d (%+v), want %d (%+v)", i+1, have.Revision, have, want.Revision, want)
		}
	}
	return nil
}

// became takes note of what an entry did that nobody has applied before.
func (j *judge) became(k *slot, before time.Duration) {
	r := &k.result
	switch {
	case r.replayed:
		j.count("answer replayed")
	case r.outcome == fsm.Applied:
		j.where[opOf(j.model.changes[len(j.model.changes)-1].request)] = fsm.Index(len(j.slots))
	case r.outcome == fsm.ConfChanged || r.outcome == fsm.ConfRefused || r.outcome == fsm.Reported:
		j.memberStep(r.outcome)
	case r.outcome == fsm.Maintained && j.lived == 0:
		j.count("maintained")
		last := j.stateAt(fsm.Index(len(j.slots) - 1))
		if k.state.floor > last.floor {
			j.count("compaction by age")
		}
		if k.state.answers < last.answers {
			j.count("answers expired")
		}
		switch trimmed := j.model.gapped == fsm.Index(len(j.slots)); {
		case trimmed && j.w.setup.node.KeepVersions > 0:
			j.count("compaction by count")
		case trimmed:
			j.count("compaction as a namespace has it")
		}
		if err := j.terms.passes(k.term, j.model.time-before, j.w); err != nil {
			j.w.fail(JudgeTime, "%w", err)
		}
	}
	if r.instead && !r.replayed {
		j.count("else branch done")
	}
	if r.cmd != nil && j.lived == 0 {
		j.authorized(r)
	}
	if r.outcome == fsm.Repeated && r.first.outcome == fsm.Recorded {
		j.count("report of denials repeated")
	}
}

// authorized takes note of what came of a command because of who may do what.
func (j *judge) authorized(r *modelResult) {
	o := j.w.clients.byRequest(r.cmd.RequestID)
	switch {
	case r.replayed && j.model.policy().refused(r.cmd).Verbs != 0:
		j.count("answer replayed to one who lost the permission")
	case r.outcome == fsm.Denied:
		j.count("denied where it was applied")
		if o != nil && o.accepted {
			j.count("denied where it was applied, allowed where it was accepted")
		}
	case r.outcome == fsm.AdminExists && o != nil && o.edict.by >= 0 && j.w.clients.governors[o.edict.by].first:
		j.count("bootstrap race lost")
	}
}

// acknowledged: what is acknowledged is durable at a quorum, and what it was said to be.
func (j *judge) acknowledged(r *replica, request string, res *fsm.Result) {
	if int(res.Index) > len(j.slots) || res.Index == 0 {
		j.w.fail(JudgeAnswer, "%s acknowledges index %d, nobody applied more than %d", r.name, res.Index, len(j.slots))
		return
	}
	k := &j.slots[res.Index-1]
	j.quorum(r, request, res.Index, k.term)
	if err := sameResult(res, &k.result); err != nil || res.Outcome != k.result.outcome || res.Revision != k.result.revision {
		j.w.fail(JudgeAnswer, "%s acknowledges %s as %v at revision %d, and at index %d it was %v at %d (%v)",
			r.name, request, res.Outcome, res.Revision, res.Index, k.result.outcome, k.result.revision, err)
	}
	if res.Outcome != fsm.Applied {
		return
	}
	if made := j.model.made(res.Revision); made == nil || !j.w.clients.same(made.request, request) {
		j.w.fail(JudgeAnswer, "%s acknowledges %s at revision %d, which another write made", r.name, request, res.Revision)
	}
	rev := res.Revision
	if n := len(j.acks); n > 0 {
		rev = max(rev, j.acks[n-1].rev)
	}
	j.acks = append(j.acks, acknowledgment{at: j.w.now, rev: rev})
	if o := j.w.clients.byRequest(request); o != nil && o.governs() && !res.Replayed {
		j.ruling(res.Index)
	}
}

// ruling: a change of who may do what was acknowledged.
func (j *judge) ruling(index fsm.Index) {
	if n := len(j.rulings); n > 0 {
		index = max(index, j.rulings[n-1].index)
	}
	j.rulings = append(j.rulings, ruling{at: j.w.now, index: index})
}

// read: what a view shows is what the model had at its index.
func (j *judge) read(r *replica, s fsm.State, key string, rec fsm.Record, found bool) {
	j.shows(r, "reads", key, s.Revision, s.Applied, rec, found)
	if err := j.state(r, s); err != nil {
		j.w.fail(JudgeState, "%w", err)
	}
}

// shows: a key is what the model had at an index, at which the store was at revision rev.
func (j *judge) shows(r *replica, verb, key string, rev fsm.Revision, index fsm.Index, rec fsm.Record, found bool) {
	want := j.model.at(key, index)
	if found != (want.rev != 0) || rec.Revision != want.rev || (found && rec.ContentType+"\n"+string(rec.Value) != want.value) {
		j.w.fail(JudgeState, "%s %s %s at revision %d as %q of revision %d, want %q of revision %d", r.name, verb, key, rev, rec.Value, rec.Revision, want.value, want.rev)
	}
}

// history is what clients saw, with the change log: asked for when the world is over.
func (j *judge) history() *linearizability.History {
	if j.told != nil {
		return j.told
	}
	h := linearizability.History{HasChanges: true, Events: j.w.noted, Watches: j.w.clients.watches(), Workloads: j.w.clients.workloads()}
	h.Ops = make([]linearizability.Op, 0, len(j.w.clients.ops))
	for _, o := range j.w.clients.own() {
		if !o.governs() {
			h.Ops = append(h.Ops, o.op)
		}
	}
	changes := j.model.changes
	if j.lived > 0 {
		changes = changes[:j.lived]
	}
	for i, c := range changes {
		id := opOf(c.request)
		if id != 0 && (j.w.clients.ops[id-1].governs() || id <= uint64(j.w.clients.since())) {
			id = 0
		}
		for _, op := range c.ops {
			if op.ofKey() {
				h.Changes = append(h.Changes, linearizability.Change{Revision: uint64(j.model.number(i)), Op: id, Key: historyKey(op.key)})
			}
		}
	}
	if change := j.w.opts.hooks.history; change != nil {
		change(&h)
	}
	j.told = &h
	return &h
}

// verdict judges the history when the world has come to rest. Of the judges that
// complain the first is who found it; the error has what all of them say.
func (j *judge) verdict() (Judge, error) {
	if err := j.traffic(); err != nil {
		return JudgeTraffic, err
	}
	if err := lawful(j.before(), j.whole()); err != nil {
		return JudgePolicy, err
	}
	h := j.history()
	verdict := linearizability.Check(h, j.w.opts.Budget)
	if caught := verdict.Caught(); len(caught) > 0 {
		return Judge(caught[0]), complaints(verdict)
	}
	for i := range verdict {
		f := &verdict[i]
		j.fired["judged: "+f.Judge] += uint64(f.Count)
		if f.Judge == linearizability.Porcupine {
			j.fired["key without an answer"] += uint64(unanswered(f))
		}
		if err := silent(f); err != nil {
			return Judge(f.Judge), fmt.Errorf("%w in %v each", err, j.w.opts.Budget)
		}
	}
	return "", nil
}

// unanswered counts the keys without an answer, also those that were judged together.
func unanswered(f *linearizability.Finding) int {
	n := 0
	for _, keys := range f.NoAnswer {
		n += 1 + strings.Count(keys, "+")
	}
	return n
}

// silent: a judge had no answer for so much that nothing is proven.
func silent(f *linearizability.Finding) error {
	n := unanswered(f)
	if n*maxNoAnswer <= f.Count {
		return nil
	}
	return fmt.Errorf("nothing is proven: no answer for %d of %d keys (%s)", n, f.Count, strings.Join(f.NoAnswer, ", "))
}

// complaints is the first violation, with the numbers of the operations at odds, and
// what else was found, a line each.
func complaints(verdict linearizability.Verdict) error {
	var err error
	for i := range verdict {
		v := verdict[i].Violation
		switch {
		case v == nil:
		case err == nil:
			err = v
			if len(v.Ops) > 0 {
				err = fmt.Errorf("%w\noperations: %s", v, strings.Trim(fmt.Sprint(v.Ops), "[]"))
			}
		default:
			err = fmt.Errorf("%w\nalso %s: %s", err, verdict[i].Judge, v.Text)
		}
	}
	return err
}

// maxNoAnswer: if Porcupine has no answer for more than one in so many keys, a run proves too little.
const maxNoAnswer = 10

// errThin means that a run proves nothing.
var errThin = errors.New("too little traffic to prove anything")

// traffic refuses a run in which next to nothing happened.
func (j *judge) traffic() error {
	writes, reads, unknown, all := 0, 0, 0, 0
	for _, o := range j.w.clients.own() {
		if o.closing || o.governs() {
			continue
		}
		all++
		switch o.op.Outcome {
		case linearizability.Applied:
			writes++
		case linearizability.NotApplied:
			if o.result == fsm.Denied { // which is judged like what was done
				writes++
			}
		case linearizability.ReadDone:
			reads++
		case linearizability.Unknown:
			unknown++
		default:
		}
	}
	if j.w.renewal != nil {
		return nil // the world before it had enough
	}
	least := 2 + int(j.w.opts.Time/(30*time.Second))
	if writes < least || reads < least {
		return fmt.Errorf("%w: %d writes acknowledged or denied, %d reads answered in %v, want %d of each", errThin, writes, reads, j.w.opts.Time, least)
	}
	if j.w.setup.mix == Calm && unknown > 0 {
		return fmt.Errorf("%d of %d operations ended unknown without any fault", unknown, all)
	}
	return nil
}
