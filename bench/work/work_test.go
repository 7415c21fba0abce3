package work

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/bench/hist"
	"github.com/confman/confman/bench/lane"
	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/meter"
	"github.com/confman/confman/bench/servers"
)

func TestCell(t *testing.T) {
	start := time.Now()
	h := &hist.Hist{}
	for range 1000 {
		h.Add(2 * time.Millisecond)
	}
	before := reading{at: start, servers: time.Second, own: time.Second, machine: meter.Machine{Processes: 10 * time.Second, Kernel: time.Second, Interrupt: time.Second, Steal: time.Second}}
	after := reading{
		at: start.Add(2 * time.Second), servers: 2 * time.Second, own: 1200 * time.Millisecond, idle: 100 * time.Millisecond,
		machine: meter.Machine{
			Processes: 11700 * time.Millisecond, Kernel: 1200 * time.Millisecond, Interrupt: 1400 * time.Millisecond, Steal: 1100 * time.Millisecond,
		},
	}
	c := cell(before, after, h, 2*time.Second, 2)
	assert.EqualValues(t, 1000, c.Ops)
	assert.InDelta(t, 500, c.Rate, 1e-9)
	assert.InDelta(t, 1000, c.CPU, 1e-9, "a second of the servers for a thousand operations")
	assert.InDelta(t, 0.25, c.Servers, 1e-9)
	assert.InDelta(t, 0.05, c.Load_, 1e-9)
	assert.InDelta(t, 0.025, c.Idle, 1e-9)
	assert.InDelta(t, 0.075, c.Others, 1e-9, "1.7 s of work and 0.1 s of the host's, less 1.3 s of ours and 0.2 s of the kernel's, of 4 s")
	assert.InDelta(t, 0.15, c.Kernel, 1e-9)
	assert.False(t, c.Disturbed)
	assert.InEpsilon(t, 2, c.P999, 0.02)

	after.machine.Steal += 200 * time.Millisecond
	assert.True(t, cell(before, after, h, 2*time.Second, 2).Disturbed)
	after.machine = before.machine
	assert.Zero(t, cell(before, after, h, 2*time.Second, 2).Others, "ticks are coarse")
}

// TestPass: disturbed passes are repeated, all contenders together, but not for ever.
func TestPass(t *testing.T) {
	two := []Contender{{Name: "a"}, {Name: "b"}}
	for _, c := range []struct {
		name   string
		others []float64 // of the measurements, in turn
		times  int
		want   float64
		makes  int
		says   int
	}{
		{name: "quiet", others: []float64{0, MaxOthers}, times: Attempts, want: MaxOthers, makes: 2},
		{name: "disturbed once", others: []float64{0, 0.5, 0, 0}, times: Attempts, makes: 4, says: 1},
		{name: "disturbed always", others: []float64{0.4, 0.5, 0.2, 0.3, 0.4, 0.3, 0.9, 0.3}, times: Attempts, want: 0.3, makes: 8, says: 4},
		{name: "judged by nothing", others: []float64{0.4, 0.5}, times: 1, want: 0.5, makes: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, said := 0, 0
			cells, err := pass(two, c.times, func(who Contender) (Cell, error) {
				made++
				return Cell{By: who.Name, Others: c.others[made-1]}, nil
			}, func(string, ...any) { said++ })
			require.NoError(t, err)
			require.Len(t, cells, 2)
			assert.Equal(t, "ab", cells[0].By+cells[1].By)
			assert.Equal(t, cells[0].Attempt, cells[1].Attempt)
			assert.InDelta(t, c.want, worst(cells), 1e-9)
			assert.Equal(t, []int{c.makes, c.says}, []int{made, said})
		})
	}
	bad := errors.New("a wrong answer")
	_, err := pass(two, Attempts, func(Contender) (Cell, error) { return Cell{}, bad }, func(string, ...any) {})
	require.ErrorIs(t, err, bad)
}

func TestTurn(t *testing.T) {
	all := []string{"a", "b", "c"}
	got := ""
	for round := range 4 {
		got += fmt.Sprint(turn(all, round))
	}
	assert.Equal(t, "[a b c][b c a][c a b][a b c]", got)
	assert.Equal(t, []string{"a", "b", "c"}, all)
}

// TestLoadsAreDistinct: results are found by name.
func TestLoadsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range Loads() {
		assert.False(t, seen[l.Name], l.Name)
		seen[l.Name] = true
	}
}

// TestPoints: what is asked for grows, and everything else is as it is.
func TestPoints(t *testing.T) {
	r := &Run{Options: Options{Keys: 1000, Value: 256, Nodes: 3}}
	assert.Empty(t, r.points())
	r.Grow = Grow{Which: regexp.MustCompile("."), Keys: []int{7, 9}}
	all := r.points()
	require.Len(t, all, 2+5+3+4)
	assert.Equal(t, point{axis: axisKeys, at: 9, keys: 9, value: 256, nodes: 3, clients: growClients}, all[1])
	assert.Equal(t, point{axis: axisValues, at: 1 << 20, keys: 64, value: 1 << 20, nodes: 3, clients: growClients}, all[6])
	assert.Equal(t, point{axis: axisDelay, at: 50, keys: 1000, value: 256, nodes: 3, delay: 50 * time.Millisecond, clients: delayClients}, all[13])
	r.Grow.Which = regexp.MustCompile("^nodes$")
	require.Len(t, r.points(), 3)
	r.Grow.Which, r.Smoke = regexp.MustCompile("."), true
	require.Len(t, r.points(), 1)
}

func TestRoom(t *testing.T) {
	r := &Run{Options: Options{Data: t.TempDir()}}
	require.NoError(t, r.room(1, 1, 1))
	require.ErrorContains(t, r.room(1<<40, 256, 3), "-data")
	r.Smoke = true
	require.NoError(t, r.room(1<<40, 256, 3))
}

func TestMachine(t *testing.T) {
	assert.Equal(t, "EPYC 9", model("processor\t: 0\nmodel name\t: EPYC 9\nprocessor\t: 1\nmodel name\t: other\n"))
	assert.Empty(t, model("nothing"))
	r := &Run{Options: Options{Data: t.TempDir(), Confman: "/bin/echo", Etcd: "/nowhere/etcd"}}
	m, err := r.machine(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "version", m.Confman)
	assert.Equal(t, "version", m.Names(), "a program that says nothing is not named")
	assert.Positive(t, m.Sync)
	assert.Contains(t, Machine{Command: []string{"/a/bench", "-short"}}.CommandLine(), "bench -short")
}

// slow is a driver that answers nothing at first.
type slow struct{ runs, answersFrom int }

func (s *slow) Run(time.Duration) (*hist.Hist, error) {
	h := &hist.Hist{}
	if s.runs++; s.runs >= s.answersFrom {
		h.Add(time.Millisecond)
	}
	return h, nil
}
func (*slow) Drain() error { return nil }
func (*slow) Close() error { return nil }

// TestNothingInTime: a busy machine may answer nothing for a short time; for a long one that is a fault.
func TestNothingInTime(t *testing.T) {
	times := Times{Measure: lane.Patience / 4}
	who := func(s *slow) Contender {
		return Contender{"a", &servers.Cluster{}, func(load.Work, ...string) (load.Driver, error) { return s, nil }}
	}
	c, err := times.measure(t.Context(), who(&slow{answersFrom: 4}), load.Work{}, nil) // the first run is the warming up
	require.NoError(t, err)
	assert.InEpsilon(t, 1/(3*times.Measure.Seconds()), c.Rate, 1e-9)
	_, err = times.measure(t.Context(), who(&slow{answersFrom: 10}), load.Work{}, nil)
	require.ErrorContains(t, err, "nothing was answered")
}
