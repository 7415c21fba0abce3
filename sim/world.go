package sim

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// World is one cluster, its clients and its faults, in virtual time.
type World struct {
	opts  Options
	setup setup
	now   int64 // ns of virtual time
	queue queue
	trace trace
	ends  int64 // when clients and faults stop
	// ticksOff: the nodes' clocks say nothing any more.
	ticksOff bool

	entropy  entropy
	net      network
	all      []*replica // every machine that there may ever be, by raft id - 1
	nodes    []*replica // those that take part, or did and have not stopped for good
	operator operator
	dir      string   // of the stores
	photos   []*photo // of all images that were opened, by id - 1
	noted    []linearizability.Event
	faults   uint64 // that were noted
	clients  clients
	nemesis  nemesis
	judge    judge
	events   uint64
	err      error
	judged   Judge // who found err
	rngNodes generator
	archive  *archive // nil: the world is not restored
	renewal  *renewal // nil: it was not
}

// Result is what a run did, whether it failed or not.
type Result struct {
	Trace   uint64
	Events  uint64
	Virtual time.Duration
	Setup   string
	// Fired counts what happened, by name: faults, tender points, outcomes.
	Fired map[string]uint64
	// History is what the clients saw.
	History linearizability.History
}

// Failure is what a run found. Its text ends with the command that finds it again.
type Failure struct {
	// Judge is who found it; empty in the summary of several.
	Judge  Judge
	Err    error
	Replay string
}

func (f *Failure) Error() string {
	if f.Judge == "" {
		return fmt.Sprintf("%v\n%s", f.Err, f.Replay)
	}
	return fmt.Sprintf("%s: %v\n%s", f.Judge, f.Err, f.Replay)
}

// Unwrap returns what was found.
func (f *Failure) Unwrap() error { return f.Err }

// Run runs the world that o describes. The error is a *Failure if the world is
// not as it should be; any other says that it could not be run. One at a time:
// it waits for another one in this process to end.
func Run(o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	o = o.withDefaults()
	w := &World{opts: o, setup: newSetup(o), trace: newTrace(), ends: int64(o.Time)}
	if err := w.makeDir(); err != nil {
		return Result{}, err
	}
	dir := w.dir
	w.pass()
	events, virtual := w.events, w.now
	next, err := w.restored()
	if next != nil {
		w = next
		w.pass()
		events, virtual = events+w.events, virtual+w.now
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return Result{}, fmt.Errorf("sim: %w", err)
	}
	result := Result{
		Trace: w.trace.sum(), Events: events, Virtual: time.Duration(virtual),
		Setup: w.setup.String(), Fired: w.judge.fired, History: *w.judge.history(),
	}
	if w.err != nil {
		return result, &Failure{Judge: w.judged, Err: w.err, Replay: o.Replay()}
	}
	return result, nil
}

// pass builds a world and runs it, to the end of all of its nodes.
func (w *World) pass() {
	defer w.entropy.install()()
	w.build()
	w.live()
	for _, r := range w.all {
		r.abandon()
	}
}

// makeDir makes the stores' directory.
func (w *World) makeDir() error {
	dir, err := os.MkdirTemp(storesBase(), fmt.Sprintf("%s%d-", storesPrefix, os.Getpid()))
	if err != nil {
		return fmt.Errorf("sim: directory for the stores: %w", err)
	}
	w.dir = dir
	return nil
}

func (w *World) build() {
	seed := w.opts.Seed
	w.rngNodes = newGenerator(seed, "nodes")
	w.judge.init(w)
	w.setup.node.Mark = func(name string) { w.judge.count(markPrefix + name) }
	var names []string
	for i := range w.setup.nodes {
		names = append(names, fmt.Sprintf("node%d", i+1))
	}
	for i := range w.setup.machines() {
		w.all = append(w.all, newReplica(w, uint64(i+1), fmt.Sprintf("node%d", i+1), names))
	}
	w.nodes = w.all[:w.setup.nodes:w.setup.nodes]
	w.net.init(w)
	w.clients.init(w)
	w.nemesis.init(w)
	w.keepArchive()
	w.renew()
	w.operator.init(w)
	if w.setup.mixed {
		w.judge.count(versionsMix)
	}
	for _, r := range w.nodes {
		w.at(w.rngNodes.between(0, 500*time.Millisecond), event{kind: evStart, node: r, life: r.life})
	}
}

// live runs the world to its end. A panic in it is what it found.
func (w *World) live() {
	defer func() {
		if p := recover(); p != nil {
			w.fail(JudgeInvariant, "panic: %v\n%s", p, ownStack())
		}
	}()
	w.run(w.ends)
	w.finish()
}

// ownStack is the stack of a panic without the lines of the machine it ran on.
func ownStack() string {
	var out []string
	for line := range strings.SplitSeq(string(debug.Stack()), "\n") {
		if strings.HasPrefix(line, "github.com/confman/") || strings.HasPrefix(line, "go.etcd.io/") {
			name, _, _ := strings.Cut(line, "({") // arguments are pointers: they differ from run to run
			name, _, _ = strings.Cut(name, "(0x")
			out = append(out, "\t"+name)
		}
	}
	return strings.Join(out[:min(len(out), 25)], "\n")
}

// run lets happen what is due until the given time.
func (w *World) run(until int64) {
	for w.err == nil && len(w.queue.heap) > 0 && w.queue.heap[0].at <= until {
		e := w.queue.pop()
		w.now = e.at
		w.happen(&e)
	}
	if w.err == nil {
		w.now = max(w.now, until)
	}
}

// after schedules e in d from now.
func (w *World) after(d time.Duration, e event) {
	e.at = w.now + int64(max(d, 0))
	w.queue.push(e)
}

func (w *World) at(t time.Duration, e event) {
	e.at = int64(t)
	w.queue.push(e)
}

// A world has some thousand events in a virtual second, and at times some more. Many
// times that is a storm: something is sent or done again and again.
const (
	stormRate   = 30_000
	stormEvents = 300_000
)

func (w *World) happen(e *event) {
	r := e.node
	if r != nil && e.life != r.life {
		return // of a life that is over
	}
	w.events++
	if w.events > stormEvents+stormRate*uint64(w.now/int64(time.Second)) {
		w.fail(JudgeLive, "not live: %d events by now: the nodes keep each other busy with nothing", w.events)
		return
	}
	id := uint64(0)
	if r != nil {
		id = r.id
	}
	w.trace.add(uint64(e.at), uint64(e.kind), id, e.n)
	switch e.kind {
	case evTick:
		r.tick()
	case evDeliver:
		w.net.deliver(e.mail)
	case evGone:
		r.take(node.Gone{Peer: e.n})
	case evUnreachable:
		r.unreachable(e.n)
	case evLoop:
		r.loop()
	case evAppended:
		r.appended()
	case evApply:
		r.apply()
	case evApplied:
		r.applied()
	case evFlushed:
		r.flushed(e.n)
	case evLingered:
		r.take(node.Lingered{})
	case evScrubbed:
		r.scrubbed(int(e.n))
	case evRepacked:
		r.repacked(int(e.n))
	case evSwapped:
		r.swapped(e.n)
	case evImage:
		r.image()
	case evVerified:
		r.verified()
	case evDamaged:
		r.owe(0)
		r.take(node.Damaged{Err: r.storage.damage})
	case evRequest:
		w.clients.arrive(e.n)
	case evReply:
		w.clients.reply(e.n)
	case evTimeout:
		w.clients.timeout(e.n)
	case evClient:
		w.clients.wake(int(e.n))
	case evLeave:
		w.clients.leave(e.n)
	case evPlan:
		w.clients.carryOut(e.n)
	case evWatch:
		w.clients.watch(int(e.n))
	case evGovern:
		w.clients.govern(int(e.n))
	case evOperate:
		w.operator.turn()
	case evDismissed:
		r.take(node.Dismissed{Peer: e.n})
	case evReport:
		w.clients.report(int(e.n))
	case evChecked:
		w.clients.checked(r, e.n)
	case evStart:
		r.start()
	case evResume:
		r.resume()
	case evOverdue:
		r.overdue(e.n)
	case evView:
		r.look()
	case evFault:
		w.nemesis.strike(faultKind(e.n))
	case evHeal:
		w.nemesis.heal(e.n)
	default:
		panic(fmt.Sprintf("sim: unhandled event %d", e.kind))
	}
}

// fail ends the run; the first failure is the one that counts.
func (w *World) fail(j Judge, format string, args ...any) {
	if w.err == nil {
		w.judged = j
		w.err = fmt.Errorf("at %v: %w", time.Duration(w.now), fmt.Errorf(format, args...))
	}
}

// machine is the one that has, or would have, a raft id.
func (w *World) machine(id uint64) *replica { return w.all[id-1] }

// leader is the node that leads in the newest term, or nil.
func (w *World) leader() *replica {
	var best *replica
	for _, r := range w.nodes {
		if r.leads() && (best == nil || r.core.Status().Term > best.core.Status().Term) {
			best = r
		}
	}
	return best
}
