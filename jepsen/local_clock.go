package jepsen

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
)

// clockFile is the variable that names a file which says how wrong a node's wall clock is; only a program of make
// failpoint-build knows it.
const clockFile = "CONFMAN_CLOCK_FILE"

// env is what a machine's node finds in its environment.
func (l *Local) env(machine string) []string {
	env := slices.Clone(l.o.Env)
	if l.o.FailpointProgram {
		env = append(env, clockFile+"="+l.path(machine, ".clock"))
	}
	if l.o.EnvOf != nil {
		env = append(env, l.o.EnvOf(machine)...)
	}
	return env
}

// SetClock is part of Ground: the wall clock jumps at once, and what the node measures with its monotonic clock does not.
func (l *Local) SetClock(_ context.Context, machine string, c Clock) error {
	if err := l.Can(Clocks); err != nil {
		return err
	}
	path := l.path(machine, ".clock")
	// Whole, or not there: the node may look meanwhile.
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%v %g", c.Offset, cmp.Or(c.Rate, 1)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
