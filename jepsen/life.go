package jepsen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/linearizability"
)

// ErrCrashed: a node's process ended although nobody ended it, nor did a fault give it a reason to; or it said that it has a bug.
var ErrCrashed = errors.New("a process ended that nobody ended")

// ErrAstray: a node's state is not that of the others, or damaged, although nobody did anything to its disk.
var ErrAstray = errors.New("a node says that its state is not as it should be, and nobody did anything to its disk")

const (
	stopTime  = 60 * time.Second // for a process to end in order
	lastBytes = 64 << 10         // of a log, in which its last words are
	lastLines = 20               // of which at most so many are its last words
)

// life is one process of a node.
type life struct {
	node    string
	excuses []string
	told    telling
	over    chan struct{} // closed when it has ended
	// What is known once it is over.
	words  string // the last ones of a process that ended by itself; "": it was ended
	excuse string // the one of its excuses that is in words
}

// telling is what a process was told to do.
type telling int

const (
	toRun  telling = iota
	toStop         // in order
	toEnd          // in whatever way
)

// excuse is one fault's reason for a node to end by itself.
type excuse struct{ words []string }

// Excuse allows a node to end by itself with these words, in the life that it has and in those that begin until revoke is called, or, for
// [replaceIt], until it begins with an empty directory.
func (r *Run) Excuse(name string, words ...string) (revoke func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &excuse{words}
	r.excuses[name] = append(r.excuses[name], e)
	if l := r.lives[name]; l != nil {
		l.excuses = slices.Concat(l.excuses, words)
	}
	return func() { r.revoke(name, func(x *excuse) bool { return x == e }) }
}

// revoke takes excuses back, from the next life on.
func (r *Run) revoke(name string, which func(*excuse) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.excuses[name] = slices.DeleteFunc(r.excuses[name], which)
}

// afresh takes back what a node is excused for because of what its directory holds: that is gone.
func (r *Run) afresh(name string) {
	r.revoke(name, func(e *excuse) bool { return slices.Contains(e.words, replaceIt) })
}

// StartNode starts a machine's node and notes it. If it ends, and nobody told it to, that is a violation, unless it has an excuse.
func (r *Run) StartNode(ctx context.Context, name string, args ...string) error {
	r.mu.Lock()
	last, line := r.lives[name], slices.Concat(r.args[name], args)
	r.mu.Unlock()
	if last != nil {
		if r.Ground.Runs(name) {
			return fmt.Errorf("jepsen: starting %s: %w", name, errRuns)
		}
		if err := last.await(ctx); err != nil {
			return err
		}
	}
	l := &life{node: name, over: make(chan struct{})}
	r.mu.Lock()
	for _, e := range r.excuses[name] {
		l.excuses = append(l.excuses, e.words...)
	}
	if r.attend != nil {
		r.lives[name] = l
	}
	r.mu.Unlock()
	if err := r.Ground.Start(ctx, name, line...); err != nil {
		r.tell(name, toEnd)
		close(l.over)
		return fmt.Errorf("jepsen: starting %s: %w", name, err)
	}
	r.Recorder.Note(linearizability.Event{Kind: linearizability.Started, Node: name})
	if r.attend != nil {
		r.attend(l)
	}
	return nil
}

// replaceIt is in what a node says whose data directory it cannot use.
const replaceIt = "replace the node"

func (l *life) await(ctx context.Context) error {
	select {
	case <-l.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("jepsen: waiting until %s has ended: %w", l.node, ctx.Err())
	}
}

// minded has ends of processes be noted, and mind be at work, unless it is nil, until rest is called.
func (r *Run) minded(ctx context.Context, mind func(context.Context)) (rest func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	r.attend = func(l *life) { beside.Go(func() { r.attending(ctx, l) }) }
	if mind != nil {
		beside.Go(func() { mind(ctx) })
	}
	return func() {
		cancel()
		beside.Wait()
	}
}

// attending waits for ends of processes, until ctx ends.
func (r *Run) attending(ctx context.Context, l *life) {
	defer close(l.over)
	err := r.Ground.Ended(ctx, l.node)
	if ctx.Err() != nil {
		return // the run is over
	}
	r.mu.Lock()
	delete(r.paused, l.node)
	told := l.told
	r.mu.Unlock()
	var exit *exec.ExitError
	itself := errors.As(err, &exit) && exit.ExitCode() > 0 // it was not a signal that ended it
	if told == toEnd && !itself || told == toStop && err == nil {
		return
	}
	if told != toEnd {
		r.Recorder.Note(linearizability.Event{Kind: linearizability.Crashed, Node: l.node})
	}
	l.words = fmt.Sprintf("%v: %s", err, r.lastWords(ctx, l.node))
	r.mu.Lock()
	for _, e := range l.excuses {
		if strings.Contains(l.words, e) {
			l.excuse = e
		}
	}
	r.mu.Unlock()
	if l.excuse != "" {
		r.Log("%s stopped by itself: %s", l.node, l.excuse)
		return
	}
	r.blame(Stops, fmt.Errorf("%w: %s: %s", ErrCrashed, l.node, l.words))
}

// tell says that a node is about to be ended by us, so that nobody wonders; it returns the life that will end, if there is one.
func (r *Run) tell(name string, what telling) *life {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lives[name]
	if l != nil {
		l.told = max(l.told, what)
	}
	return l
}

// alone tells whether a process has ended by itself.
func (l *life) alone() bool { return l.isOver() && l.words != "" }

func (r *Run) last(name string) *life {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lives[name]
}

func (l *life) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// KillNode ends a node's process at once, waits until it has ended, and notes it.
func (r *Run) KillNode(ctx context.Context, name string) error { return r.KillNodes(ctx, name) }

// unsyncedTime is how long syncs do not end before power is lost: long enough for a batch of the log and pages of the database to wait for one.
const unsyncedTime = 300 * time.Millisecond

// LosePower ends nodes' processes at once and has their disks forget what was not synced, and notes it. Just before syncs take long, where they
// can: else there was hardly anything to forget.
func (r *Run) LosePower(ctx context.Context, names ...string) (err error) {
	if r.Ground.Can(DiskFaults) == nil {
		slow := func(ctx context.Context, d time.Duration) (err error) {
			for _, name := range names {
				err = errors.Join(err, r.SetDisk(ctx, name, DiskState{SyncDelay: d}))
			}
			return err
		}
		defer func() { err = errors.Join(err, slow(context.WithoutCancel(ctx), 0)) }()
		if err := slow(ctx, 2*unsyncedTime); err != nil {
			return err
		}
		pause(ctx, unsyncedTime)
	}
	return r.end(ctx, names, func() error { return r.Ground.LosePower(ctx, names...) })
}

// KillNodes is KillNode of several at once.
func (r *Run) KillNodes(ctx context.Context, names ...string) error {
	return r.end(ctx, names, func() error {
		var errs []error
		for _, name := range names {
			errs = append(errs, r.Ground.Signal(ctx, name, Kill))
		}
		return errors.Join(errs...)
	})
}

func (r *Run) end(ctx context.Context, names []string, how func() error) error {
	var lives []*life
	for _, name := range names {
		if l := r.tell(name, toEnd); l != nil {
			lives = append(lives, l)
		}
	}
	if err := how(); err != nil {
		return fmt.Errorf("jepsen: ending %v: %w", names, err)
	}
	for _, name := range names {
		r.Recorder.Note(linearizability.Event{Kind: linearizability.Crashed, Node: name})
	}
	for _, l := range lives {
		if err := l.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// StopNode tells a node's process to end in order, waits until it has, and notes it. A node that does not end in order is
// killed; that it did not is a violation.
func (r *Run) StopNode(ctx context.Context, name string) error {
	l := r.tell(name, toStop)
	if err := r.Ground.Signal(ctx, name, Terminate); err != nil {
		return fmt.Errorf("jepsen: stopping %s: %w", name, err)
	}
	if l == nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := l.await(wait); err != nil {
		if ctx.Err() == nil {
			r.blame(Stops, fmt.Errorf("%s does not stop when it is told to: %w", name, err))
		}
		return errors.Join(err, r.KillNode(ctx, name))
	}
	r.Recorder.Note(linearizability.Event{Kind: linearizability.Crashed, Node: name})
	return nil
}

// PauseNode has a node's process stand still.
func (r *Run) PauseNode(ctx context.Context, name string) error {
	r.mu.Lock()
	r.paused[name] = true
	r.mu.Unlock()
	if err := r.Ground.Signal(ctx, name, Stop); err != nil {
		return fmt.Errorf("jepsen: pausing %s: %w", name, err)
	}
	r.Recorder.Note(linearizability.Event{Kind: linearizability.Paused, Node: name})
	return nil
}

// ResumeNode has it go on.
func (r *Run) ResumeNode(ctx context.Context, name string) error {
	if err := r.Ground.Signal(ctx, name, Continue); err != nil {
		return fmt.Errorf("jepsen: resuming %s: %w", name, err)
	}
	r.Recorder.Note(linearizability.Event{Kind: linearizability.Resumed, Node: name})
	r.mu.Lock()
	delete(r.paused, name)
	r.mu.Unlock()
	return nil
}

// gone tells whether a node's process has ended, after it has waited for one that is about to.
func (r *Run) gone(ctx context.Context, name string) (bool, error) {
	r.mu.Lock()
	l := r.lives[name]
	told := l != nil && l.told != toRun
	r.mu.Unlock()
	if !told && r.Ground.Runs(name) {
		return false, nil
	}
	if l == nil {
		return true, nil
	}
	return true, l.await(ctx)
}

// Revive has a node run that may not: it starts it, or, if it said that its disk cannot be used and that is known, replaces it.
func (r *Run) Revive(ctx context.Context, name string) error {
	if gone, err := r.gone(ctx, name); err != nil || !gone {
		return err
	}
	if l := r.last(name); l != nil && l.excuse != "" && strings.Contains(l.words, replaceIt) {
		return r.ReplaceNode(ctx, name)
	}
	return r.StartNode(ctx, name)
}

// mind starts the nodes that ended by themselves, until ctx ends, unless a fault has them.
func (r *Run) mind(ctx context.Context) {
	for pause(ctx, lookEvery) {
		for _, name := range r.Members() {
			if l := r.last(name); l == nil || !l.alone() || r.Ground.Runs(name) || !r.claimToRevive(name) {
				continue
			}
			if err := r.Revive(ctx, name); err != nil && ctx.Err() == nil {
				r.Log("%s is down, and does not come back: %v", name, err)
			}
			r.Release(name)
			r.mu.Lock()
			r.reviving = false
			r.mu.Unlock()
		}
	}
}

// claimToRevive is mind's Claim.
func (r *Run) claimToRevive(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.healing || r.claimed[name] {
		return false
	}
	r.claimed[name], r.reviving = true, true
	return true
}

// unminded waits until mind has done what it is at, and has it do no more until again is called: what is claimed then, a nemesis left so.
func (r *Run) unminded(ctx context.Context) (again func()) {
	is := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.healing = true
		return !r.reviving
	}
	for waits := true; waits && !is(); {
		waits = pause(ctx, pollEvery)
	}
	return func() {
		r.mu.Lock()
		r.healing = false
		r.mu.Unlock()
	}
}

// lastWords are what a process that ended said at last, on its standard error, to whom started it.
func (r *Run) lastWords(ctx context.Context, name string) string {
	log, err := r.logOf(ctx, name)
	if err != nil {
		return fmt.Sprintf("(its log cannot be read: %v)", err)
	}
	lines := strings.Split(strings.TrimSpace(string(log[max(0, len(log)-lastBytes):])), "\n")
	from := len(lines)
	for from > 0 && len(lines)-from < lastLines && !logLine.MatchString(lines[from-1]) {
		from--
	}
	if from == len(lines) {
		from = max(0, from-1)
	}
	return strings.Join(lines[from:], "\n")
}

var (
	// logLine is a line of a node's log, and not what the program says on its way out.
	logLine = regexp.MustCompile(`\blevel=[A-Z]|"level":`)
	// bug is how Go says that a program has one, and how the node does when it goes on all the same.
	bug = regexp.MustCompile(`(^|\]: )(panic: |fatal error: |WARNING: DATA RACE)|\bmsg"?[=:]"panic in a handler"|\bproblem"?[=:]"?internal\b`)
	// astray is how a node says that what it has is not what it should be; it has it rebuilt then, and nobody else may notice.
	astray = regexp.MustCompile(`\bmsg"?[=:]"(the store is damaged|the store cannot be used and is rebuilt|the store is being rebuilt|another member's state differs)`)
)

func (r *Run) logOf(ctx context.Context, name string) (log []byte, err error) {
	err = r.withLogs(ctx, func(dir string) error {
		log, err = os.ReadFile(filepath.Join(dir, name+".log")) //nolint:gosec // in a directory of our own
		return err
	})
	return log, err
}

func (r *Run) withLogs(ctx context.Context, use func(dir string) error) (err error) {
	dir, err := os.MkdirTemp("", "jepsen-logs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := r.Ground.Collect(ctx, dir); err != nil {
		return err
	}
	return use(dir)
}

// mayBeAstray tells whether what a node says of its state has its reason in what was done to its disk, or to that of the member that
// it speaks of.
func (r *Run) mayBeAstray(name, line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.damaged[name] || len(r.damaged) > 0 && strings.Contains(line, "another member")
}

// Damage changes what a machine whose node does not run has on its disk, and notes it.
func (r *Run) Damage(ctx context.Context, name string, d Damage) (did string, err error) {
	r.harmed(name)
	return r.Ground.Damage(ctx, name, d)
}

func (r *Run) harmed(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.damaged == nil {
		r.damaged = map[string]bool{}
	}
	r.damaged[name] = true
}

// bugs looks for what nodes say when they have one, or when their states are not as they should be.
func (r *Run) bugs(ctx context.Context) (found []error) {
	err := r.withLogs(ctx, func(dir string) error {
		for _, name := range sortedKeys(r.machines) {
			log, err := os.ReadFile(filepath.Join(dir, name+".log")) //nolint:gosec // in a directory of our own
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if line := firstOf(bug, log); line != "" {
				found = append(found, fmt.Errorf("%w: %s: %s", ErrCrashed, name, line))
			}
			if line := firstOf(astray, log); line != "" && !r.mayBeAstray(name, line) {
				found = append(found, fmt.Errorf("%w: %s: %s", ErrAstray, name, line))
			}
		}
		return nil
	})
	if err != nil {
		found = append(found, fmt.Errorf("jepsen: looking through the logs: %w", err))
	}
	return found
}

// firstOf is the first line of a log that says something.
func firstOf(something *regexp.Regexp, log []byte) string {
	for at := bytes.NewBuffer(log); ; {
		line, err := at.ReadString('\n')
		if something.MatchString(line) {
			return strings.TrimSpace(line)
		}
		if errors.Is(err, io.EOF) {
			return ""
		}
	}
}
