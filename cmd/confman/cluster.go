package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

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
		Short: "Ask every node how it is",
		Long: `Ask every endpoint for its own view of the cluster and show them in one table.
At the same applied index all nodes must have the same state hash; if two have not,
that is said and the exit code is 1. It is 5 if no node answers.`,
		Example: `  confman cluster
  confman cluster -o json
  confman cluster --endpoints http://10.0.1.10:5000,http://10.0.1.11:5000`,
		Args: usage(cobra.NoArgs),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		endpoints := c.Endpoints()
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
		if err := s.print(views, func(w io.Writer) error { return clusterTable(w, views) }); err != nil {
			return err
		}
		return judge(views)
	}
	return cmd
}

// shortHash is how much of a state hash a table shows.
const shortHash = 12

func clusterTable(w io.Writer, views []nodeView) error {
	rows := [][]string{{"NODE", "ENDPOINT", "ROLE", "TERM", "LEADER", "REVISION", "APPLIED", "STATE HASH", "STALENESS", "REACHABLE"}}
	for _, v := range views {
		if !v.Reachable {
			rows = append(rows, []string{"-", v.Endpoint, "-", "-", "-", "-", "-", "-", "-", "no"})
			continue
		}
		c := v.View
		staleness := "unknown"
		if c.Staleness != nil {
			staleness = strconv.FormatFloat(*c.Staleness, 'f', 3, 64) + " s"
		}
		rows = append(rows, []string{
			c.Node, v.Endpoint, c.Role, strconv.FormatUint(c.Term, 10), orDash(c.Leader),
			strconv.FormatUint(c.Revision, 10), strconv.FormatUint(c.AppliedIndex, 10),
			orDash(c.StateHash[:min(len(c.StateHash), shortHash)]), staleness, "yes",
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
	_, err := fmt.Fprintln(w, "\n"+verdict(views))
	return err
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
