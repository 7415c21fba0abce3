package jepsen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

// Bounds of a run's waits.
const (
	readyTime   = 60 * time.Second // for a cluster to form and elect
	healTime    = 60 * time.Second // for all to serve again after the last fault
	attemptTime = 3 * time.Second  // for one answer
	settleTime  = 60 * time.Second // to read everything back
	pollEvery   = 50 * time.Millisecond
	lookEvery   = 100 * time.Millisecond // at what each node says of itself
)

// Options are what a run is made of. The zero value of a field means its default.
type Options struct {
	Seed      uint64
	Workloads []string      // default: register
	Nemeses   []string      // none: a healthy cluster
	Time      time.Duration // of faults (default 30 s); what is before and after comes on top
	Clients   int           // of each workload (default 5)
	// Pace is the least time between two operations of a client (default 10 ms).
	Pace time.Duration
	// Quiet and Held are how long, at least, nothing is broken between two faults of a nemesis, and a fault lasts (default 1 s each); up to
	// three times as long.
	Quiet, Held time.Duration
	// Budget bounds the time that Porcupine may take for one key (default 10 s).
	Budget time.Duration
	// EndsAtViolation ends the faults, and what clients ask, as soon as a judge of histories finds something wrong: what
	// was recorded is judged every few seconds.
	EndsAtViolation bool
	// Log is told what happens, a line each; nil: nobody is.
	Log func(format string, args ...any)

	loads []Workload // that Sections made
}

func (o Options) withDefaults() Options {
	if len(o.Workloads) == 0 {
		o.Workloads = []string{"register"}
	}
	for _, d := range []struct {
		at *time.Duration
		to time.Duration
	}{{&o.Time, 30 * time.Second}, {&o.Pace, 10 * time.Millisecond}, {&o.Quiet, time.Second}, {&o.Held, time.Second}, {&o.Budget, 10 * time.Second}} {
		if *d.at == 0 {
			*d.at = d.to
		}
	}
	if o.Clients == 0 {
		o.Clients = 5
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o
}

// Run is a cluster under test: what nemeses and workloads work with.
type Run struct {
	Options
	Ground   Ground
	Recorder *Recorder

	machines map[string]Machine
	clients  map[string]*client.Client
	http     *http.Client // which all of them have
	who      client.TokenSource

	// attend waits for a process to end, beside; nil: nobody minds.
	attend func(l *life)
	// blind: what nodes say of themselves is not noted, since they are of one cluster after the other.
	blind bool
	// compacts: the change log may not be whole.
	compacts bool
	// alone: no workload must have been asked anything; loses: what became of any number of operations need not be known.
	alone, loses bool
	// unsure: who is a member may change, and so who has a majority is not known.
	unsure bool

	// reviving: mind is at work on a node; healing: it is to leave that to heal.
	reviving, healing bool

	breaking sync.Mutex
	rules    map[int]map[Link]Condition // of each fault that breaks links
	nextID   int                        // of rules

	mu      sync.Mutex
	members []string                         // the names of the nodes that clients ask
	claimed map[string]bool                  // machines that a fault has to itself
	leads   map[string]linearizability.Event // the newest Leads that was noted of each node
	fired   map[string]int                   // faults made, by nemesis
	wrong   []Wrong                          // what ended the faults early
	wrongAt time.Time
	began   time.Time            // of the faults
	lives   map[string]*life     // the last one of each node
	excuses map[string][]*excuse // for which a node may end by itself
	args    map[string][]string  // that each node is started with
	paused  map[string]bool
	disks   map[string]DiskState
	clocks  map[string]Clock
	damaged map[string]bool // whose disks were changed, or could not be read
	mended  []string        // what was left broken
	blames  []blame         // what nemeses and ends of processes had to say
}

// Result is what came of a run.
type Result struct {
	History linearizability.History
	Verdict linearizability.Verdict
	Fired   map[string]int // faults made, by nemesis
	// Wrong is what the judges found; After how long after the first client had begun to ask, if it was found while they asked,
	// else how long they asked.
	Wrong  []Wrong
	After  time.Duration
	Mended []string // what nemeses left broken: it was mended before the cluster had to serve
	// Err is what is wrong: a judge's violation, a node that does not serve in the end, or that the run proves nothing.
	Err error
	// Troubles are what is wrong by the workload that it is about.
	Troubles []Trouble
}

// Errors of a run that is over, beside those of the judges.
var (
	// ErrNotLive: not all nodes served again after the last fault.
	ErrNotLive = errors.New("the cluster does not serve as it should although nothing is broken any more")
	// ErrLeftBroken: what a nemesis broke could not be undone by it, or was not. What else was seen was judged.
	ErrLeftBroken = errors.New("something was left broken")
	// ErrProvesNothing: there was too little traffic, or a fault was never made.
	ErrProvesNothing = errors.New("the run proves nothing")
)

// Execute runs a cluster on ground, which has nothing running, and judges what was seen. It ends early, with everything undone, if
// ctx does. The ground is not closed. The error is about the run itself; what is wrong with the cluster is Result.Err.
func Execute(ctx context.Context, ground Ground, o Options) (*Result, error) {
	r, err := newRun(ground, o)
	if err != nil {
		return nil, err
	}
	loads, err := r.workloads()
	if err != nil {
		return nil, err
	}
	chosen, err := r.nemeses()
	if err != nil {
		return nil, err
	}
	up := make(chan struct{})
	defer r.minded(ctx, func(ctx context.Context) {
		select {
		case <-up:
			r.mind(ctx)
		case <-ctx.Done():
		}
	})()
	if err := r.begin(ctx, loads); err != nil {
		return nil, err
	}
	close(up)
	r.stress(ctx, loads, chosen)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.conclude(ctx, loads, chosen)
}

func newRun(ground Ground, o Options) (*Run, error) {
	r := &Run{
		Options: o.withDefaults(), Ground: ground, Recorder: NewRecorder(),
		machines: map[string]Machine{}, clients: map[string]*client.Client{},
		claimed: map[string]bool{}, rules: map[int]map[Link]Condition{}, leads: map[string]linearizability.Event{}, fired: map[string]int{},
		lives: map[string]*life{}, excuses: map[string][]*excuse{}, args: map[string][]string{},
		paused: map[string]bool{}, disks: map[string]DiskState{}, clocks: map[string]Clock{},
	}
	identity, err := o.identity()
	if err != nil {
		return nil, err
	}
	r.who = identity
	r.http = &http.Client{Transport: listener{&http.Transport{DialContext: ground.Dial, MaxIdleConnsPerHost: 64}}}
	for _, m := range ground.Machines() {
		r.machines[m.Name] = m
		c, err := r.client(m.Name, r.who)
		if err != nil {
			return nil, err
		}
		r.clients[m.Name] = c
		if !m.Spare {
			r.members = append(r.members, m.Name)
		}
	}
	return r, nil
}

// identity is whom the clients of a run are; nil: nobody asks.
func (o *Options) identity() (client.TokenSource, error) {
	for _, w := range o.loads {
		if i, ok := w.(Identifier); ok {
			return i.Identity()
		}
	}
	return nil, nil
}

// client is one that asks one node, once, as somebody.
func (r *Run) client(node string, who client.TokenSource) (*client.Client, error) {
	return client.New(client.Options{
		Endpoints: []string{r.machines[node].URL}, MaxAttempts: 1, AttemptTimeout: attemptTime, HTTP: r.http, Token: who, PlainTextToken: true,
	})
}

func (r *Run) workloads() (loads []Workload, err error) {
	loads, err = r.made()
	r.loads = loads
	return loads, err
}

// rng is a source of its own for each purpose: what one draws does not change what another one does.
func (r *Run) rng(purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose)) // a hash never fails
	return rand.New(rand.NewPCG(r.Seed, h.Sum64()))
}

// begin starts all nodes, waits until they serve, and lets the workloads prepare.
func (r *Run) begin(ctx context.Context, loads []Workload) error {
	for _, w := range loads {
		if h, ok := w.(Hoster); ok {
			if err := h.Host(ctx, r); err != nil {
				return err
			}
		}
	}
	for _, name := range r.Members() {
		if err := r.StartNode(ctx, name); err != nil {
			return err
		}
	}
	if err := r.comesUp(ctx); err != nil {
		return fmt.Errorf("jepsen: the cluster does not come up: %w", err)
	}
	for _, w := range loads {
		if err := w.Prepare(ctx, r); err != nil {
			return fmt.Errorf("jepsen: preparing the workload: %w", err)
		}
	}
	return nil
}

// stress has clients and nemeses at work until the time is over, and undoes all faults.
func (r *Run) stress(ctx context.Context, loads []Workload, chosen []*Nemesis) {
	during, cancel := context.WithTimeout(ctx, r.Time)
	defer cancel()
	r.work(ctx, loads, func(context.Context) {
		var breaking sync.WaitGroup
		if r.EndsAtViolation {
			breaking.Go(func() { r.watchFor(during, cancel) })
		}
		for _, n := range chosen {
			breaking.Go(func() { r.torment(during, n) })
		}
		<-during.Done()
		breaking.Wait()
	})
}

// work has clients of loads at work until during returns.
func (r *Run) work(ctx context.Context, loads []Workload, during func(context.Context)) {
	clients, stopClients := context.WithCancel(ctx)
	r.began = time.Now()
	var asking sync.WaitGroup
	for i, w := range loads {
		for n := range r.Clients {
			c := &Caller{Run: r, ID: i*r.Clients + n}
			c.Rng = r.rng(fmt.Sprintf("client %d", c.ID))
			asking.Go(func() { r.ask(clients, w, c) })
		}
	}
	asking.Go(func() { r.look(clients) })
	during(ctx)
	stopClients()
	asking.Wait()
	if r.wrongAt.IsZero() {
		r.wrongAt = time.Now()
	}
}

// ask has one client at work.
func (r *Run) ask(ctx context.Context, w Workload, c *Caller) {
	tick := time.NewTicker(r.Pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.Step(ctx, c)
		}
	}
}

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// look notes what the nodes say of themselves.
func (r *Run) look(ctx context.Context) {
	for pause(ctx, lookEvery) {
		var all sync.WaitGroup
		for _, name := range r.Members() {
			all.Go(func() { r.lookAt(ctx, name) })
		}
		all.Wait()
	}
}

func (r *Run) lookAt(ctx context.Context, name string) {
	if r.blind {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := r.Standing(ctx, name)
	if err != nil || s.StateHash == "" || s.AppliedIndex == 0 {
		return
	}
	r.Recorder.Note(linearizability.Event{Kind: linearizability.AppliedEntry, Node: name, Index: s.AppliedIndex, Digest: s.StateHash})
	if s.Role != "leader" {
		return
	}
	e := linearizability.Event{Kind: linearizability.Leads, Node: name, Term: s.Term}
	r.mu.Lock()
	known := r.leads[name].Term == e.Term
	r.leads[name] = e
	r.mu.Unlock()
	if !known {
		r.Recorder.Note(e)
	}
}

// awaitReady waits until all members say that they are ready and know one leader.
func (r *Run) awaitReady(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	why := ""
	for {
		if why = r.unready(ctx); why == "" {
			return nil
		}
		if !pause(ctx, pollEvery) {
			return fmt.Errorf("after %v %s", d, why)
		}
	}
}

// comesUp waits until all serve for the first time. A node that ends meanwhile would not do better if it were started again.
func (r *Run) comesUp(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, name := range r.Members() {
		l := r.last(name)
		if l == nil {
			continue
		}
		go func() {
			if l.await(ctx) == nil {
				cancel(fmt.Errorf("%s ended: %s", name, l.words))
			}
		}()
	}
	err := r.awaitReady(ctx, readyTime)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (r *Run) unready(ctx context.Context) string {
	leader := ""
	for _, name := range r.Members() {
		if !r.Ground.Runs(name) {
			return name + " does not run"
		}
		s, err := r.Standing(ctx, name)
		switch {
		case err != nil:
			return fmt.Sprintf("%s does not answer: %v", name, err)
		case !s.Ready:
			return name + " is not ready"
		case s.Leader == "":
			return name + " knows no leader"
		case leader != "" && leader != s.Leader:
			return fmt.Sprintf("%s and %s are both said to lead", leader, s.Leader)
		}
		leader = s.Leader
	}
	return ""
}

// conclude is finish; if ctx ends, what is wrong may be wrong because of that, and there is no result.
func (r *Run) conclude(ctx context.Context, loads []Workload, chosen []*Nemesis) (*Result, error) {
	res := r.finish(ctx, loads, chosen)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return res, nil
}

// finish undoes everything, demands that all serve, reads all back and judges.
func (r *Run) finish(ctx context.Context, loads []Workload, chosen []*Nemesis) *Result {
	res := &Result{Fired: r.fired, After: r.wrongAt.Sub(r.began)}
	var errs []error
	of := "" // the workload that is asked
	wrong := func(judge string, err error) {
		if err != nil {
			res.Wrong = append(res.Wrong, Wrong{judge, err.Error()})
			errs = append(errs, about(of, err))
		}
	}
	early := len(r.wrong) > 0 // what is to be found was found
	if !early {
		if err := r.heal(ctx); err != nil {
			wrong(Liveness, fmt.Errorf("%w: %w", ErrNotLive, err))
		}
	}
	settle, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	live := !early && len(errs) == 0
	if live {
		for i, w := range loads {
			if err := w.Settle(settle, r); err != nil {
				of = r.nameOf(i)
				wrong(Liveness, fmt.Errorf("%w: reading back: %w", ErrNotLive, err))
			}
		}
		of = ""
		if err := r.writeAtAll(settle); err != nil {
			wrong(Liveness, fmt.Errorf("%w: writing at each node: %w", ErrNotLive, err))
		}
		if err := r.agree(settle); err != nil {
			wrong(Liveness, fmt.Errorf("%w: comparing what the nodes have: %w", ErrNotLive, err))
		}
	}
	h, full := r.history()
	if full {
		errs = append(errs, fmt.Errorf("%w: there was more than can be remembered", ErrProvesNothing))
	}
	if live {
		switch err := r.readChanges(settle, &h); {
		case errors.Is(err, errNotWhole) && !r.compacts:
			errs = append(errs, fmt.Errorf("%w: %w", ErrProvesNothing, err))
		case errors.Is(err, errNotWhole):
			r.Log("judged without the change log: %v", err)
		case errors.Is(err, ErrLog):
			wrong(Log, err)
		case err != nil:
			wrong(Liveness, fmt.Errorf("%w: %w", ErrNotLive, err))
		}
	}
	res.History = h
	res.Verdict = linearizability.Check(&res.History, r.Budget)
	res.Wrong = append(res.Wrong, wrongOf(res.Verdict)...)
	errs = append(errs, res.Verdict.Err())
	for i, w := range loads {
		of = r.nameOf(i)
		wrong(cmp.Or(of, Script), w.Judge(&res.History))
	}
	of = ""
	if early && len(res.Wrong) == 0 { // what came after it explains it
		wrong(r.wrong[0].Judge, errors.New(r.wrong[0].Text))
	}
	errs = append(errs, r.thin(&res.History, chosen)...)
	for _, err := range r.bugs(ctx) {
		if errors.Is(err, ErrAstray) {
			wrong(Replicas, err)
			continue
		}
		wrong(Stops, err)
	}
	res.Wrong = append(r.ended(), res.Wrong...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.blames {
		errs = append(errs, b.err)
	}
	res.Mended = r.mended
	for _, what := range r.mended {
		errs = append(errs, fmt.Errorf("%w: %s", ErrLeftBroken, what))
	}
	res.Err = errors.Join(errs...)
	res.Troubles = troubles(errs, res.Verdict, &res.History)
	return res
}

// nameOf is what a workload is called; "": it is a scenario's script.
func (r *Run) nameOf(i int) string {
	if i < len(r.Workloads) {
		return r.Workloads[i]
	}
	return ""
}

// history is what was recorded, with the rules that the workloads obey.
func (r *Run) history() (h linearizability.History, full bool) {
	h, full = r.Recorder.History()
	for _, w := range r.loads {
		if ruler, ok := w.(Ruler); ok {
			h.Workloads = append(h.Workloads, ruler.Rules()...)
		}
	}
	return h, full
}

// What a run must have had to prove something.
const (
	leastAnswers = 50   // operations with an answer
	mostUnknown  = 0.10 // share of operations with no known outcome
)

// errThin: a run proves nothing because of how little, or how much in vain, was asked.
var errThin = fmt.Errorf("%w, by its traffic", ErrProvesNothing)

// thin says why a run, or what a workload had of it, proves nothing.
func (r *Run) thin(h *linearizability.History, chosen []*Nemesis) (errs []error) {
	asked, answered, unknown := 0, 0, 0
	for i := range h.Ops {
		if h.Ops[i].Client == settler {
			continue // nothing was broken any more
		}
		asked++
		switch h.Ops[i].Outcome {
		case linearizability.Unknown:
			unknown++
		case linearizability.ReadFailed, linearizability.NotApplied:
		default:
			answered++
		}
	}
	if answered < leastAnswers && !r.alone {
		return []error{fmt.Errorf("%w: %d operations were answered", errThin, answered)}
	}
	if float64(unknown) > mostUnknown*float64(asked) && !r.alone && !r.loses {
		return []error{fmt.Errorf("%w: of %d operations %d have an unknown outcome", errThin, asked, unknown)}
	}
	for i, w := range r.loads {
		if t, ok := w.(Thinner); ok {
			errs = append(errs, about(r.nameOf(i), t.Thin(h)))
		}
	}
	for _, n := range chosen {
		if r.fired[n.Name] == 0 && !n.drawn {
			errs = append(errs, fmt.Errorf("%w: %q never struck", ErrProvesNothing, n.Name))
		}
	}
	if len(chosen) > 0 && len(r.fired) == 0 {
		errs = append(errs, fmt.Errorf("%w: none of %v ever struck", ErrProvesNothing, names(chosen)))
	}
	return errs
}

// Members are the nodes that clients ask, in order.
func (r *Run) Members() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.members)
}

// SetMembers says which nodes clients ask from now on.
func (r *Run) SetMembers(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.Sorted(slices.Values(names))
}

// Machine is the one of that name.
func (r *Run) Machine(name string) Machine { return r.machines[name] }

// Standing is what a node says of itself and of its cluster.
func (r *Run) Standing(ctx context.Context, name string) (client.Cluster, error) {
	return r.At(name).Cluster(ctx, r.machines[name].URL)
}

// Leader is the node that says it leads in the newest term; "": none does.
func (r *Run) Leader(ctx context.Context) (leader string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	term := uint64(0)
	for _, name := range r.Members() {
		if s, err := r.Standing(ctx, name); err == nil && s.Role == "leader" && s.Term > term {
			leader, term = name, s.Term
		}
	}
	return leader
}

func sortedKeys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
