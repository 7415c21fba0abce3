package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newWhoAmI(s *session) *cobra.Command {
	var o client.ReadOptions
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who you are to the cluster, and what you may do",
		Long: `Show who you are to the cluster, as what roles can be bound to you, and what you may do
where. It takes no permission.`,
		Example: `  confman whoami
  confman whoami -o json`,
		Args: usage(cobra.NoArgs),
	}
	freshFlags(cmd.Flags(), &o)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkRead(o); err != nil {
			return err
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		who, _, err := c.WhoAmI(ctx, o)
		if err != nil {
			return err
		}
		return s.print(who, func(w io.Writer) error { return whoTable(w, &who) })
	}
	return cmd
}

func whoTable(w io.Writer, who *client.WhoAmI) error {
	rows := [][]string{{"you are", who.Principal}}
	for _, subject := range append(who.Roles, who.Groups...) {
		rows = append(rows, []string{"and have", subject})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	verdict := ""
	switch {
	case who.Denied:
		verdict = "\nYou are denied everything: an administrator can end that (confman ns allow).\n"
	case len(who.Grants) == 0:
		verdict = "\nYou may do nothing: an administrator can change that (confman ns grant).\n"
	case !who.AuthorizationRequired:
		verdict = "\nNobody administers the cluster yet: who is anonymous may do everything.\n"
	}
	if len(who.Grants) > 0 {
		grants := [][]string{{"BELOW", "YOU MAY"}}
		for _, g := range who.Grants {
			grants = append(grants, []string{g.Path, strings.Join(g.Verbs, ", ")})
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
		if err := table(w, grants); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, verdict)
	return err
}
