package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

// worldFlags are the options of a world but for its seed: with it, those that
// sim.Options.Args writes.
type worldFlags struct {
	time    time.Duration
	nodes   int
	mix     string
	without []string
	clients int
}

func (f *worldFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.time, "time", time.Minute, "how long clients and faults are at work, in virtual time")
	cmd.Flags().IntVar(&f.nodes, "nodes", 0, "size of the cluster: 1, 3 or 5 (default: by the seed)")
	cmd.Flags().StringVar(&f.mix, "mix", "", "how faults are drawn: uniform, swarm or calm (default: by the seed)")
	cmd.Flags().StringSliceVar(&f.without, "without", nil, `leave these faults out, separated by commas ("sweep --list" has the names)`)
	cmd.Flags().IntVar(&f.clients, "clients", 0, "only the first so many clients (default: all)")
}

func (f *worldFlags) options(seed uint64) (sim.Options, error) {
	o := sim.Options{Seed: seed, Time: f.time, Nodes: f.nodes, Mix: sim.Mix(f.mix), Without: f.without, Clients: f.clients}
	if err := o.Validate(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// narrowed tells whether the flags leave out a part of what a world may bring.
func (f *worldFlags) narrowed() bool {
	return f.nodes != 0 || f.mix != "" || len(f.without) > 0 || f.clients != 0
}

const seedUsage = "a number, or any text"
