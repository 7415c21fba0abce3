//go:build failpoints

package jepsen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// failpointProgram names the program of make failpoint-build, which these tests run.
const failpointProgram = "CONFMAN_FAILPOINT_PROGRAM"

// pointTime bounds how long it takes until a point is reached, and until the node is back.
const pointTime = 40 * time.Second

// pointRun is a cluster of processes that can be told to end at failpoints, and clients that ask it.
type pointRun struct {
	*Run
	o     pointOptions
	t     *testing.T
	dir   string
	ports map[string]int // of each process, where its failpoints are switched

	mu   sync.Mutex
	next map[string]string // the terms that a node starts with, beside those that count
}

// pointOptions are those of a pointRun.
type pointOptions struct {
	Options
	segmentBytes, catchUpBytes int // small, so that segments come and go
	maxDriftPPM                int // what the nodes believe of their clocks; 0: as ever
	terms                      []string
}

func (o pointOptions) sections() map[string]any {
	s := map[string]any{"Data": map[string]any{"CatchUpBytes": o.catchUpBytes}}
	if o.maxDriftPPM != 0 {
		s["Clock"] = map[string]any{"MaxDriftPPM": o.maxDriftPPM}
	}
	return s
}

// withPoints has clients ask such a cluster while during runs, and has everything judged then.
func withPoints(t *testing.T, o pointOptions, during func(p *pointRun)) *Result {
	t.Helper()
	program := os.Getenv(failpointProgram)
	require.NotEmptyf(t, program, "%s is not set: run make test-failpoints", failpointProgram)
	p := &pointRun{o: o, t: t, dir: t.TempDir(), ports: map[string]int{}, next: map[string]string{}}
	ground, err := NewLocal(LocalOptions{
		Program: program, FailpointProgram: true, Dir: p.dir, Spares: 2, Loopback: true, PlainText: true, PlainDisk: true,
		Sections: o.sections(),
		EnvOf:    p.env,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), pointTime)
		defer cancel()
		require.NoError(t, ground.Close(ctx))
		if t.Failed() {
			p.keep(ground)
		}
	})
	ports, err := freePorts(100) // the first ones are the nodes'
	require.NoError(t, err)
	for i, m := range ground.Machines() {
		p.ports[m.Name] = ports[len(ports)-1-i]
	}
	began := time.Now()
	o.Log = func(format string, args ...any) {
		t.Logf("%6.2fs  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	p.Run, err = newRun(ground, o.Options)
	require.NoError(t, err)
	loads, err := p.workloads()
	require.NoError(t, err)
	defer p.minded(t.Context(), nil)()
	for _, m := range ground.Machines() {
		p.Excuse(m.Name, "signal: killed")
	}
	require.NoError(t, p.begin(t.Context(), loads))
	p.work(t.Context(), loads, func(context.Context) { during(p) })
	if t.Failed() {
		return nil
	}
	res := p.finish(t.Context(), loads, nil)
	t.Logf("%d operations", len(res.History.Ops))
	if res.Err != nil {
		_ = res.Save(context.WithoutCancel(t.Context()), filepath.Join(p.dir, "run"), ground, o.Options, []string{"make", "test-failpoints"})
	}
	require.NoError(t, res.Err)
	return res
}

// keep has the logs of a failed test outlive it.
func (p *pointRun) keep(ground Ground) {
	dir, err := os.MkdirTemp("", "failpoints-") // for whoever looks at the failure
	if err == nil {
		err = ground.Collect(context.Background(), dir)
	}
	if _, statErr := os.Stat(filepath.Join(p.dir, "run")); statErr == nil {
		err = os.CopyFS(filepath.Join(dir, "run"), os.DirFS(filepath.Join(p.dir, "run")))
	}
	p.t.Logf("logs are in %s (%v)", dir, err)
}

// env has a node count, by printing, how often each point is reached, up to a few times in each life.
func (p *pointRun) env(machine string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	terms := []string{fmt.Sprintf("%swal/segment-bytes=return(%d)", module, p.o.segmentBytes)}
	for _, x := range points {
		terms = append(terms, fmt.Sprintf(`%s%s=20*print("%s")`, module, x.name, x.name))
	}
	for _, term := range p.o.terms {
		terms = append(terms, module+term)
	}
	if p.next[machine] != "" {
		terms = append(terms, p.next[machine])
	}
	return []string{
		"GO_FAILPOINTS=" + strings.Join(terms, ";"),
		fmt.Sprintf("GO_FAILPOINTS_HTTP=127.0.0.1:%d", p.ports[machine]),
		"CONFMAN_Backup__Dir=" + p.backups(machine),
	}
}

func (p *pointRun) backups(machine string) string {
	dir := filepath.Join(p.dir, machine+".backups")
	_ = os.MkdirAll(dir, 0o700) // serve says what is wrong with it
	return dir
}

// startWith starts a node in which a point does something from the start on.
func (p *pointRun) startWith(ctx context.Context, node, point, term string) {
	p.t.Helper()
	p.mu.Lock()
	p.next[node] = module + point + "=" + term
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.next, node)
		p.mu.Unlock()
	}()
	require.NoError(p.t, p.StartNode(ctx, node))
}

// enable has a point of a node that runs do something.
func (p *pointRun) enable(ctx context.Context, node, point, term string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("http://127.0.0.1:%d/%s%s", p.ports[node], module, point), strings.NewReader(term))
	require.NoError(p.t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // it ended at the point before it could say so; whoever waits for that sees it
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	require.Equal(p.t, http.StatusNoContent, resp.StatusCode, point)
}

func (p *pointRun) log(node string) string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, node+".log"))
	require.NoError(p.t, err)
	return string(b)
}

// ended waits until one of the nodes has ended at a point, and returns its name.
func (p *pointRun) ended(ctx context.Context, point, what string, nodes ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, pointTime)
	defer cancel()
	for {
		for _, node := range nodes {
			if l := p.last(node); l.isOver() {
				require.Containsf(p.t, tail(p.log(node)), "failpoint "+point+": "+what, "%s ended, and not where it was told to", node)
				return node
			}
		}
		require.Truef(p.t, pause(ctx, pollEvery), "%s was not reached at any of %v", point, nodes)
	}
}

// tail is the end of a log: more than what a node says between the point and its end.
func tail(log string) string { return log[max(0, len(log)-8<<10):] }

// back starts a node and waits until it is ready.
func (p *pointRun) back(ctx context.Context, node string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, pointTime)
	defer cancel()
	if !p.Ground.Runs(node) {
		require.NoError(p.t, p.StartNode(ctx, node))
	}
	require.NoError(p.t, p.AwaitNode(ctx, node))
}

// leads waits for a leader.
func (p *pointRun) leads(ctx context.Context) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, pointTime)
	defer cancel()
	for {
		if leader := p.Leader(ctx); leader != "" {
			return leader
		}
		require.True(p.t, pause(ctx, pollEvery), "nobody leads")
	}
}

// handTo has node lead.
func (p *pointRun) handTo(ctx context.Context, node string) {
	p.t.Helper()
	p.insistOn(ctx, func(ctx context.Context) error {
		lead := p.leads(ctx)
		if lead == node {
			return nil
		}
		_, err := p.At(lead).TransferLeadership(ctx, node)
		return errors.Join(err, errors.New("it does not lead yet"))
	})
}

// follower is a member that does not lead, another one from time to time.
func (p *pointRun) follower(ctx context.Context, turn int) string {
	p.t.Helper()
	others := without(p.Members(), []string{p.leads(ctx)})
	return others[turn%len(others)]
}

// hits is how often each point was reached, as far as it was counted.
func (p *pointRun) hits() map[string]int {
	p.t.Helper()
	n := map[string]int{}
	for _, m := range p.Ground.Machines() {
		log, err := os.ReadFile(filepath.Join(p.dir, m.Name+".log"))
		if err != nil {
			continue // a spare that never ran
		}
		for _, line := range strings.Split(string(log), "\n") {
			if point, ok := strings.CutPrefix(line, "failpoint print: "); ok {
				n[point]++
			}
		}
		for _, x := range points {
			n[x.name] += strings.Count(string(log), "failpoint "+x.name+": ")
		}
	}
	return n
}
