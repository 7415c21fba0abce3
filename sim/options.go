package sim

import (
	"bytes"
	"encoding/json"
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
	// Budget bounds the real time that Porcupine may take for one key (default 5 s).
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
	defaultBudget = 5 * time.Second
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

// Args are the flags of cmd/sim that describe o's world.
func (o Options) Args() []string {
	o = o.withDefaults()
	args := []string{"--seed", strconv.FormatUint(o.Seed, 10), "--time", shortDuration(o.Time)}
	if o.Nodes != 0 {
		args = append(args, "--nodes", strconv.Itoa(o.Nodes))
	}
	if o.Mix != "" {
		args = append(args, "--mix", string(o.Mix))
	}
	if len(o.Without) > 0 {
		args = append(args, "--without", strings.Join(o.Without, ","))
	}
	if o.Clients != 0 {
		args = append(args, "--clients", strconv.Itoa(o.Clients))
	}
	return args
}

// Replay is the command that runs the same world again, for a shell.
func (o Options) Replay() string {
	args := o.Args()
	for i, arg := range args {
		if strings.ContainsAny(arg, " ,") { // names hold nothing else that a shell reads
			args[i] = "'" + arg + "'"
		}
	}
	return "go run ./cmd/sim run " + strings.Join(args, " ")
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

// commitDigits is the length of a git commit's name.
const commitDigits = 40

// ParseSeed reads a seed: a number, in any notation of Go, or any other text, which
// is hashed. The name of a git commit is text even if a number could be read from it.
func ParseSeed(s string) uint64 {
	if n, err := strconv.ParseUint(s, 0, 64); err == nil && !isCommit(s) {
		return n
	}
	return xxhash.Sum64String(s)
}

func isCommit(s string) bool {
	return len(s) == commitDigits && strings.Trim(s, "0123456789abcdef") == ""
}

// optionsFile is Options as files hold them: the seed as text, since few readers of
// JSON keep 64 bits, and the time as people write it.
type optionsFile struct {
	Seed    string   `json:"seed"`
	Time    string   `json:"time"`
	Nodes   int      `json:"nodes,omitempty"`
	Mix     Mix      `json:"mix,omitempty"`
	Without []string `json:"without,omitempty"`
	Clients int      `json:"clients,omitempty"`
}

// MarshalJSON writes what makes o's world what it is.
func (o Options) MarshalJSON() ([]byte, error) {
	o = o.withDefaults()
	return json.Marshal(optionsFile{
		Seed: strconv.FormatUint(o.Seed, 10), Time: shortDuration(o.Time), Nodes: o.Nodes,
		Mix: o.Mix, Without: o.Without, Clients: o.Clients,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote, and refuses what Validate does.
func (o *Options) UnmarshalJSON(b []byte) error {
	var f optionsFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return fmt.Errorf("sim: options: %w", err)
	}
	d, err := time.ParseDuration(f.Time)
	if err != nil {
		return fmt.Errorf("sim: options: time: %w", err)
	}
	*o = Options{Seed: ParseSeed(f.Seed), Time: d, Nodes: f.Nodes, Mix: f.Mix, Without: f.Without, Clients: f.Clients}
	return o.Validate()
}
