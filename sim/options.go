package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Options say which world to run. Equal options give equal traces.
type Options struct {
	Seed uint64
	// Time is how long clients and faults are at work, in virtual time (default
	// 60 s); the time to converge comes on top.
	Time time.Duration
	// Nodes is the size of the cluster: 1, 3 or 5; 0 lets the seed decide.
	Nodes int
	// Mix is how faults are drawn; the zero value lets the seed decide.
	Mix Mix
	// Without leaves out of the world that was drawn what is named so by Faults; the
	// rest of it stays as it was drawn. Clients, unless 0, leaves the first so many
	// clients. With a shorter Time they make a failure's world smaller.
	Without []string
	Clients int
	// Budget bounds the real time that Porcupine may take for one key (default 20 s).
	Budget time.Duration

	hooks hooks
}

// Mix is how faults are drawn.
type Mix string

// The mixes.
const (
	// Uniform: all kinds, evenly.
	Uniform Mix = "uniform"
	// Swarm: some kinds, of random strength, with random settings.
	Swarm Mix = "swarm"
	// Calm: no faults; what fails then fails without any help.
	Calm Mix = "calm"
)

const (
	defaultTime   = 60 * time.Second
	defaultBudget = 20 * time.Second
)

// Validate reports what is wrong with o, or nil.
func (o Options) Validate() error {
	switch {
	case o.Nodes != 0 && o.Nodes != 1 && o.Nodes != 3 && o.Nodes != 5:
		return fmt.Errorf("sim: %d nodes, want 1, 3 or 5", o.Nodes)
	case o.Mix != "" && o.Mix != Uniform && o.Mix != Swarm && o.Mix != Calm:
		return fmt.Errorf("sim: mix %q, want %s, %s or %s", o.Mix, Uniform, Swarm, Calm)
	case o.Time < 0 || o.Time > 1000*time.Hour:
		return fmt.Errorf("sim: time %v, want 0 to 1000 h", o.Time)
	case o.Clients < 0:
		return fmt.Errorf("sim: %d clients, want at least 1, or 0 for all", o.Clients)
	}
	known := Faults()
	for _, name := range o.Without {
		if !slices.Contains(known, name) {
			return fmt.Errorf("sim: without %q: there is no fault of that name; the names are %q", name, known)
		}
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Time == 0 {
		o.Time = defaultTime
	}
	if o.Budget == 0 {
		o.Budget = defaultBudget
	}
	return o
}

// Replay is the command that runs the same world again.
func (o Options) Replay() string {
	o = o.withDefaults()
	var b strings.Builder
	fmt.Fprintf(&b, "go run ./cmd/sim run --seed %d --time %s", o.Seed, shortDuration(o.Time))
	if o.Nodes != 0 {
		fmt.Fprintf(&b, " --nodes %d", o.Nodes)
	}
	if o.Mix != "" {
		fmt.Fprintf(&b, " --mix %s", o.Mix)
	}
	if len(o.Without) > 0 {
		// Names hold neither commas nor quotes, but spaces.
		fmt.Fprintf(&b, " --without '%s'", strings.Join(o.Without, ","))
	}
	if o.Clients != 0 {
		fmt.Fprintf(&b, " --clients %d", o.Clients)
	}
	return b.String()
}

// shortDuration is d without the zeros that String appends.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseSeed reads a seed: a number, or any other text, which is hashed.
func ParseSeed(s string) uint64 {
	if n, err := strconv.ParseUint(s, 0, 64); err == nil {
		return n
	}
	return xxhash.Sum64String(s)
}
