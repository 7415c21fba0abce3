package work

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/servers"
)

const (
	// killClients put while the leader is killed.
	killClients = 16
	// goesOn is how many writes must be acknowledged after a kill for the gap to be over.
	goesOn = 100
	// gapTime is how long a gap may be.
	gapTime = 30 * time.Second
	// killRounds are in how many turns each product's leaders are killed.
	killRounds = 2
)

// kills kills the leader again and again, starts it again each time, and takes the longest time without an acknowledged write.
func (r *Run) kills(ctx context.Context, p product, c *servers.Cluster, round int) error {
	acks := load.NewAcks(killClients, p.put(r.values), c.Addrs()...)
	defer acks.Close()
	for range (r.Kills + killRounds - 1) / killRounds { // in each of the turns
		if err := pause(ctx, r.KillPause); err != nil {
			return err
		}
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		acks.Begin()
		_, before, _ := acks.Longest()
		leader.Kill()
		if err := r.resumed(ctx, acks, before); err != nil {
			return fmt.Errorf("after the kill of %s: %w", leader.Name, err)
		}
		if err := pause(ctx, r.KillPause); err != nil {
			return err
		}
		gap, _, err := acks.Longest()
		if err != nil {
			return err
		}
		r.took(taskKill, p.name, round, millis(gap))
		if err := leader.Start(); err != nil {
			return err
		}
		if err := c.Fresh(ctx, leader); err != nil {
			return err
		}
	}
	return nil
}

// resumed waits until writes go on.
func (r *Run) resumed(ctx context.Context, acks *load.Acks, before uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, gapTime, errors.New("writes did not go on"))
	defer cancel()
	for {
		_, n, err := acks.Longest()
		if err != nil {
			return err
		}
		if n >= before+goesOn {
			return nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}
