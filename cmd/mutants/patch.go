package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confman/confman/planted"
)

const (
	// mutantsDir is where the patches are, below the module's root.
	mutantsDir = "sim/mutants"

	// canaryName is the mutant that no world survives.
	canaryName = "canary"
)

// plantedIn are the directories in which a bug may be planted: code that ships and that
// worlds run. A bug in the simulator proves nothing about the simulator.
var plantedIn = []string{"fsm/", "node/", "transport/", "wal/"}

// judges are the names a patch may give: those of package sim, and those of package
// linearizability as sim calls them.
var judges = []string{
	"answers", "durability", "freshness", "idempotency", "invariant", "linearizability", "liveness", "not-applied", "policy",
	"porcupine", "room", "session", "split-brain", "staleness", "state", "stop", "time", "traffic", "watch", "wire",
}

// mutant is one planted bug: a unified diff behind a header of such lines:
//
//	# breaks: what the code does wrong
//	# promise: what users lose by it
//	# judges: durability, state
//	# world: --nodes 1
//	# hole: what the simulator does not do yet
//
// The first three are a must. judges are those that are meant to catch it: one of
// another name caught it by accident. world narrows the worlds, where only some can
// show the bug. hole explains a survivor, which fails the run all the same; who
// closes the hole takes the line out.
type mutant struct {
	planted.Patch
	breaks  string
	promise string
	judges  []string
	world   []string
	hole    string
}

// loadMutants reads all patches in dir, in order of name. It reports all that is
// wrong with any of them.
func loadMutants(dir string) (all []mutant, err error) {
	err = planted.Load(dir, func(name string, text []byte) error {
		m, err := parseMutant(name, text)
		all = append(all, m)
		return err
	})
	return all, err
}

func find(all []mutant, name string) (mutant, bool) {
	i := slices.IndexFunc(all, func(m mutant) bool { return m.Name == name })
	if i < 0 {
		return mutant{}, false
	}
	return all[i], true
}

// parseMutant reads a patch with its header.
func parseMutant(name string, text []byte) (m mutant, err error) {
	if m.Patch, err = planted.Parse(name, text, m.header); err != nil {
		return m, err
	}
	return m, m.validate()
}

func (m *mutant) header(key, value string) error {
	switch key {
	case "breaks":
		m.breaks = value
	case "promise":
		m.promise = value
	case "judges":
		m.judges = strings.Split(value, ", ")
	case "world":
		m.world = strings.Fields(value)
	case "hole":
		m.hole = value
	default:
		return planted.ErrKey
	}
	return nil
}

func (m *mutant) validate() error {
	var errs []error
	if m.breaks == "" || m.promise == "" || len(m.judges) == 0 {
		errs = append(errs, errors.New("the header needs breaks, promise and judges"))
	}
	for _, j := range m.judges {
		if !slices.Contains(judges, j) {
			errs = append(errs, fmt.Errorf("judge %q: there is none of that name", j))
		}
	}
	return errors.Join(append(errs, m.Within(plantedIn))...)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
