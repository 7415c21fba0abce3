package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// nodeView is what one endpoint says about itself and the cluster.
type nodeView struct {
	Endpoint  string          `json:"endpoint"`
	Reachable bool            `json:"reachable"`
	Error     string          `json:"error,omitempty"`
	View      *client.Cluster `json:"view,omitempty"`

	err error
}

// errDiverged: two nodes hold different states at the same index. That cannot
// happen unless there is a bug or damage.
var errDiverged = errors.New("nodes differ in state at the same index")

func newCluster(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Ask every node how it is; change who takes part",
		Long: `Ask every endpoint for its own view of the cluster and show them in one table.
At the same applied index all nodes must have the same state hash; if two have not,
that is said and the exit code is 1. It is 5 if no node answers. LAG is how many
committed entries a node lacks, as the leader knows it.

The other commands change who takes part, while the cluster runs.`,
		Example: `  confman cluster
  confman cluster -o json
  confman cluster --endpoints http://10.0.1.10:5000,http://10.0.1.11:5000`,
		Args:        usage(cobra.NoArgs),
		Annotations: map[string]string{asksToo: "yes"},
	}
	for _, make := range []func(*session) *cobra.Command{
		newMemberAdd, newMemberPromote, newMemberRemove, newMemberReplace, newMemberSeat, newTransferLeadership, newDrain, newFinalizeUpgrade,
	} {
		own := *s // their time-outs differ
		sub := make(&own)
		own.flags(sub)
		cmd.AddCommand(sub)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		views := askAll(ctx, c, c.Endpoints())
		if err := s.print(views, func(w io.Writer) error { return clusterTable(w, views) }); err != nil {
			return err
		}
		return judge(views)
	}
	return cmd
}

// askAll asks each endpoint for its own view.
func askAll(ctx context.Context, c *client.Client, endpoints []string) []nodeView {
	views := make([]nodeView, len(endpoints))
	var asked sync.WaitGroup
	for i, endpoint := range endpoints {
		asked.Go(func() {
			views[i].Endpoint = endpoint
			view, err := c.Cluster(ctx, endpoint)
			if err != nil {
				views[i].err, views[i].Error = err, err.Error()
				return
			}
			views[i].View, views[i].Reachable = &view, true
		})
	}
	asked.Wait()
	return views
}

// shortHash is how much of a state hash a table shows.
const shortHash = 12

func clusterTable(w io.Writer, views []nodeView) error {
	rows := [][]string{{"NODE", "ENDPOINT", "ROLE", "TERM", "LEADER", "REVISION", "APPLIED", "LAG", "STATE HASH", "STALENESS", "STORE", "LOG", "VERSION", "UPTIME", "READY"}}
	leader := leaderOf(views)
	for _, v := range views {
		if !v.Reachable {
			row := slices.Repeat([]string{"-"}, len(rows[0]))
			row[1], row[len(row)-1] = v.Endpoint, "not reachable"
			rows = append(rows, row)
			continue
		}
		c := v.View
		staleness := "unknown"
		if c.Staleness != nil {
			staleness = strconv.FormatFloat(*c.Staleness, 'f', 3, 64) + " s"
		}
		rows = append(rows, []string{
			c.Node, v.Endpoint, roleShown(c), strconv.FormatUint(c.Term, 10), orDash(c.Leader),
			strconv.FormatUint(c.Revision, 10), strconv.FormatUint(c.AppliedIndex, 10), lagShown(leader, c.Node),
			orDash(c.StateHash[:min(len(c.StateHash), shortHash)]), staleness, mebibytes(c.StoreBytes), mebibytes(c.LogBytes),
			versionShown(c), (time.Duration(c.Uptime) * time.Second).String(), readyShown(c),
		})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, v := range views {
		if !v.Reachable {
			if _, err := fmt.Fprintf(w, "\nnot reachable: %s", v.Error); err != nil {
				return err
			}
		}
	}
	for _, line := range unasked(views) {
		if _, err := fmt.Fprintf(w, "\n%s", line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, "\n"+verdict(views))
	return err
}

// leaderOf is what the leader of the newest term says, nil if none was asked.
func leaderOf(views []nodeView) (leader *client.Cluster) {
	for _, v := range views {
		if v.Reachable && v.View.Role == "leader" && (leader == nil || v.View.Term > leader.Term) {
			leader = v.View
		}
	}
	return leader
}

// roleShown is a node's role; of one that has no vote, that.
func roleShown(c *client.Cluster) string {
	for i := range c.Members {
		if m := &c.Members[i]; m.ID == c.Node && m.Membership == "learner" && c.Role == "follower" {
			return m.Membership
		}
	}
	return c.Role
}

// lagShown is how many committed entries a node lacks, as the leader says.
func lagShown(leader *client.Cluster, node string) string {
	if leader == nil {
		return "-"
	}
	if leader.Node == node {
		return "0"
	}
	for i := range leader.Members {
		if m := &leader.Members[i]; m.ID == node && m.Lag != nil {
			return strconv.FormatUint(*m.Lag, 10)
		}
	}
	return "-"
}

func mebibytes(n int64) string {
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
}

// versionShown is the program's version, and what of the commands it knows that the cluster does not use yet.
func versionShown(c *client.Cluster) string {
	if c.CommandVersion > c.ActiveVersion && c.ActiveVersion > 0 {
		return orDash(c.Release) + " (not finalized)"
	}
	return orDash(c.Release)
}

func readyShown(c *client.Cluster) string {
	switch {
	case c.Draining:
		return "draining"
	case c.Ready:
		return "yes"
	}
	return "no"
}

// unasked says of each member that did not answer, and of those that are not what they are to be, what they are.
func unasked(views []nodeView) (lines []string) {
	var newest *client.Cluster
	answered := map[string]bool{}
	for _, v := range views {
		if v.Reachable {
			answered[v.View.Node] = true
			if newest == nil || v.View.AppliedIndex > newest.AppliedIndex {
				newest = v.View
			}
		}
	}
	if newest == nil {
		return nil
	}
	for i := range newest.Members {
		m := &newest.Members[i]
		switch who := fmt.Sprintf("%s (raft id %d)", m.ID, m.RaftID); {
		case m.Membership == "seat" && m.Wanted != "":
			lines = append(lines, fmt.Sprintf("%s has a seat to come for, as %s: confman cluster seat %s", who, m.Wanted, m.ID))
		case m.Wanted == "gone":
			lines = append(lines, who+" is to leave")
		case m.Wanted != m.Membership && m.Membership != "":
			lines = append(lines, fmt.Sprintf("%s is a %s, and is to be a %s", who, m.Membership, m.Wanted))
		case !answered[m.ID]:
			lines = append(lines, who+" was not asked, or did not answer")
		}
	}
	return lines
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// verdict says in one line how the nodes relate.
func verdict(views []nodeView) string {
	if pairs := diverged(views); len(pairs) > 0 {
		return "STATE HASHES DIFFER AT THE SAME INDEX: " + strings.Join(pairs, "; ")
	}
	var answered []*client.Cluster
	for _, v := range views {
		if v.Reachable {
			answered = append(answered, v.View)
		}
	}
	switch {
	case len(answered) == 0:
		return "no node answered"
	case len(answered) == 1:
		return "one node answered: there is nothing to compare"
	}
	first := answered[0]
	if slices.ContainsFunc(answered, func(c *client.Cluster) bool { return c.AppliedIndex != first.AppliedIndex }) {
		return fmt.Sprintf("%d nodes answered, at different indices: no two at the same index differ", len(answered))
	}
	return fmt.Sprintf("%d nodes answered and hold the same state", len(answered))
}

// diverged names the pairs of nodes that differ at the same index.
func diverged(views []nodeView) []string {
	var pairs []string
	for i, a := range views {
		for _, b := range views[i+1:] {
			if a.Reachable && b.Reachable && a.View.AppliedIndex == b.View.AppliedIndex && a.View.StateHash != b.View.StateHash {
				pairs = append(pairs, fmt.Sprintf("%s and %s at index %d", a.View.Node, b.View.Node, a.View.AppliedIndex))
			}
		}
	}
	return pairs
}

// judge is the command's end.
func judge(views []nodeView) error {
	if len(diverged(views)) > 0 {
		return errDiverged
	}
	if slices.ContainsFunc(views, func(v nodeView) bool { return v.Reachable }) {
		return nil
	}
	return fmt.Errorf("no node answered: %w", views[0].err)
}
