package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// membersTimeout bounds a command that waits until members are what they are to be: a learner may have to take the
// whole database.
const membersTimeout = 10 * time.Minute

// seatFile is what a file with a seat may be for: it is no secret, but whoever can write it decides which cluster is joined.
const seatFile = 0o600

func newMemberAdd(s *session) *cobra.Command {
	m, o, out := client.MemberSpec{}, client.MemberOptions{}, ""
	cmd := &cobra.Command{
		Use:   "add NAME --address HOST",
		Short: "Make a seat for a new node",
		Long: `Make a seat for a new node, and print how to start it. Its directory must be empty, and a
seat is good for one directory. The node learns, and has no vote, until it is promoted.`,
		Example: `  confman cluster add node4 --address 10.0.1.13
  confman cluster add node5 --address 10.0.1.14 --api-port 5000 --raft-port 5001 --out node5.seat`,
		Args: usage(cobra.ExactArgs(1)),
	}
	seatFlags(cmd, &m, &o, &out)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if m.Address == "" {
			return usagef("--address is missing: the host name or IP address under which the other nodes reach %s", args[0])
		}
		m.ID = args[0]
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		seat, meta, err := c.AddMember(ctx, m, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.printSeat(seat, out, "It learns then, and has no vote. To give it one: confman cluster promote "+m.ID)
	}
	return cmd
}

func newMemberReplace(s *session) *cobra.Command {
	m, o, out := client.MemberSpec{}, client.MemberOptions{}, ""
	cmd := &cobra.Command{
		Use:   "replace NAME",
		Short: "Make a seat for who takes a node's place",
		Long: `Make a seat for a node that takes the place of one whose disk or machine is lost, under the
same name and another raft id, and print how to start it. Its directory must be empty. It
becomes a voter, if the other one is, once it has caught up, and in the same moment the
other one leaves. Until then confman cluster remove NAME calls it off.`,
		Example: `  confman cluster replace node2
  confman cluster replace node2 --address 10.0.1.20`,
		Args: usage(cobra.ExactArgs(1)),
	}
	seatFlags(cmd, &m, &o, &out)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m.ID = args[0]
		if m.Address == "" {
			if f := cmd.Flags(); f.Changed("api-port") || f.Changed("raft-port") {
				return usagef("--address is missing: with ports of its own the new node needs one too")
			}
			m.APIPort, m.RaftPort = 0, 0
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		seat, meta, err := c.ReplaceMember(ctx, m, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.printSeat(seat, out, "It takes the other one's place once it has caught up: confman cluster shows how far it is.")
	}
	return cmd
}

func seatFlags(cmd *cobra.Command, m *client.MemberSpec, o *client.MemberOptions, out *string) {
	f := cmd.Flags()
	f.StringVar(&m.Address, "address", "", "host name or IP address under which the others reach the node")
	f.IntVar(&m.APIPort, "api-port", 5000, "port of its API")
	f.IntVar(&m.RaftPort, "raft-port", 5001, "port for the other nodes")
	f.StringVar(out, "out", "", "write the seat to this file")
	remarkFlags(f, &o.Comment, &o.IdempotencyKey)
}

// printSeat prints how to start the node that a seat is for.
func (s *session) printSeat(seat client.NewSeat, out, next string) error {
	arg := seat.Seat
	if out != "" {
		if err := os.WriteFile(out, []byte(seat.Seat+"\n"), seatFile); err != nil {
			return fmt.Errorf("the seat is there (confman cluster seat %s), and cannot be written: %w", seat.ID, err)
		}
		arg = "@" + out
	}
	return s.print(seat, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, `%s has a seat, with raft id %d. Start it with an empty Data.Dir, and a configuration whose
Cluster.NodeId is %s:

  confman serve --config FILE --seat %s

%s
`, seat.ID, seat.RaftID, seat.ID, arg, next)
		return err
	})
}

func newMemberSeat(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "seat NAME",
		Short: "Print the seat of a node that did not come for it yet",
		Long: `Print again what confman cluster add, or replace, gave out, as long as no node has come
for it: confman serve --seat takes it.`,
		Example: `  confman cluster seat node4`,
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		members, _, err := c.Members(ctx, client.ReadOptions{Consistency: client.Linearizable})
		if err != nil {
			return err
		}
		for i := range members.Items {
			if m := &members.Items[i]; m.ID == args[0] && m.Seat != "" {
				return s.print(m, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, m.Seat)
					return err
				})
			}
		}
		return noSeatError{args[0]}
	}
	return cmd
}

// noSeatError: nobody can come for a seat of that name.
type noSeatError struct{ name string }

func (e noSeatError) Error() string {
	return fmt.Sprintf("there is no seat of %s to come for: either there is no such member, or its node has come; confman cluster shows which", e.name)
}

func newMemberPromote(s *session) *cobra.Command {
	var o client.MemberOptions
	cmd := &cobra.Command{
		Use:   "promote NAME...",
		Short: "Have nodes that learn vote",
		Long: `Have nodes that learn become voters: each does once it has caught up, those that have at
the same time at once. An even number of voters bears no more failures than one less.`,
		Example: `  confman cluster promote node4 node5`,
		Args:    usage(cobra.MinimumNArgs(1)),
	}
	wait := waitFlags(cmd, s)
	remarkFlags(cmd.Flags(), &o.Comment, &o.IdempotencyKey)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		done, meta, err := c.PromoteMembers(ctx, args, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		if *wait {
			if err := s.awaitMembers(ctx, c, args, promoted); err != nil {
				return err
			}
		}
		return s.printMembers(done, *wait, "with a vote", "to be voters, once they have caught up")
	}
	return cmd
}

func newMemberRemove(s *session) *cobra.Command {
	var (
		o         client.MemberOptions
		evenFewer bool
	)
	cmd := &cobra.Command{
		Use:   "remove NAME...",
		Short: "Have nodes leave the cluster",
		Long: `Have nodes leave: all voters of them at once, the leader after another one has taken over.
A removed node says so and stops; its directory is of no use any more. Of a node that is
being replaced it is the replacement that is called off.

Fewer than three voters bear no failure: with three or more that takes --even-fewer.`,
		Example: `  confman cluster remove node4 node5
  confman cluster remove node1 node2 --even-fewer`,
		Args: usage(cobra.MinimumNArgs(1)),
	}
	wait := waitFlags(cmd, s)
	cmd.Flags().BoolVar(&evenFewer, "even-fewer", false, "also if fewer than three voters are left of three or more")
	remarkFlags(cmd.Flags(), &o.Comment, &o.IdempotencyKey)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		done, meta, err := c.RemoveMembers(ctx, args, evenFewer, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		var stay []string
		if *wait {
			err := s.awaitMembers(ctx, c, args, func(names []string, members *client.Members) (bool, error) {
				stay = staying(names, members)
				return removed(names, members)
			})
			if err != nil {
				return err
			}
		}
		gone := "gone"
		switch {
		case len(stay) == len(args):
			gone = "not replaced any more, and still there"
		case len(stay) > 0:
			gone = "gone, but for " + strings.Join(stay, ", ") + ": not replaced any more, and still there"
		}
		return s.printMembers(done, *wait, gone, "to leave")
	}
	return cmd
}

func waitFlags(cmd *cobra.Command, s *session) *bool {
	wait := cmd.Flags().Bool("wait", true, "wait until it is so")
	cmd.Flags().DurationVar(&s.timeout, "timeout", membersTimeout, "how long to try, and to wait, in all")
	return wait
}

func newTransferLeadership(s *session) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "transfer-leadership",
		Short: "Have another node lead",
		Long: `Have the leader hand over, to the voter that is named or to the one that is best able to.
The leader must be among the endpoints. Writes go on meanwhile.`,
		Example: `  confman cluster transfer-leadership
  confman cluster transfer-leadership --to node2`,
		Args: usage(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&to, "to", "", "the voter that is to lead (default: the one that is best able to)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		leader, err := c.TransferLeadership(ctx, to)
		if err != nil {
			return err
		}
		return s.print(map[string]string{"leader": leader}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s leads\n", orDash(leader))
			return err
		})
	}
	return cmd
}

func newDrain(s *session) *cobra.Command {
	var off bool
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Take a node out of service for maintenance, or back",
		Long: `Have a node be not ready, so that load balancers send clients elsewhere, and hand over if it
leads. What it is asked it answers as before, until it is stopped. A restart ends it, and
--off does. Exit code 5: nobody took over, and it leads still; it goes on trying.`,
		Example: `  confman cluster drain node2
  confman cluster drain node2 --off`,
		Args: usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&off, "off", false, "end it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		endpoint, err := endpointOf(ctx, c, args[0])
		if err != nil {
			return err
		}
		d, err := c.Drain(ctx, endpoint, !off)
		if err != nil {
			return err
		}
		err = s.print(d, func(w io.Writer) error {
			if !d.Draining {
				_, err := fmt.Fprintf(w, "%s is in service\n", d.Node)
				return err
			}
			_, err := fmt.Fprintf(w, "%s drains; %s leads\n", d.Node, orDash(d.Leader))
			return err
		})
		if err == nil && d.Draining && d.Leads {
			err = errStillLeads
		}
		return err
	}
	return cmd
}

func newFinalizeUpgrade(s *session) *cobra.Command {
	var o client.MemberOptions
	cmd := &cobra.Command{
		Use:   "finalize-upgrade",
		Short: "Use what a new release can, for good",
		Long: `Have the cluster use what the new release can, once all its nodes run that. Until then it
can go back to the release before; afterwards not.`,
		Example: `  confman cluster finalize-upgrade --comment 'a week without trouble'`,
		Args:    usage(cobra.NoArgs),
	}
	remarkFlags(cmd.Flags(), &o.Comment, &o.IdempotencyKey)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		done, meta, err := c.FinalizeUpgrade(ctx, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.print(done, func(w io.Writer) error {
			if !done.Changed {
				_, err := fmt.Fprintf(w, "the cluster uses version %d of its commands already\n", done.ActiveVersion)
				return err
			}
			_, err := fmt.Fprintf(w, "the cluster uses version %d of its commands since revision %d\n", done.ActiveVersion, done.Revision)
			return err
		})
	}
	return cmd
}
