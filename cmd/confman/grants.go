package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// editing is a command that changes a namespace in part. Others may change it at the same time.
func (s *session) editing(cmd *cobra.Command, path func(args []string) string, edit func(args []string, n *client.Namespace) bool) *cobra.Command {
	var comment string
	cmd.Flags().StringVar(&comment, "comment", "", "why; it goes into the change log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		w, _, err := c.EditNamespace(ctx, path(args), comment, func(n *client.Namespace) (bool, error) { return edit(args, n), nil })
		if err != nil {
			return err
		}
		if w.Revision == 0 {
			w.Path = strings.TrimSuffix(path(args), "/") + "/"
			return s.print(w, func(out io.Writer) error {
				_, err := fmt.Fprintf(out, "%s: there is no namespace, and nothing to change\n", w.Path)
				return err
			})
		}
		return s.written(&w)
	}
	return cmd
}

func firstOf(args []string) string { return args[0] }

func ofRoot([]string) string { return "/" }

// each calls fn for each of some subjects, and tells whether it ever said yes.
func each(subjects []string, fn func(string) bool) (changed bool) {
	for _, subject := range subjects {
		changed = fn(subject) || changed
	}
	return changed
}

func newNsGrant(s *session) *cobra.Command {
	return s.editing(&cobra.Command{
		Use:   "grant PATH ROLE SUBJECT...",
		Short: "Give a role to subjects, below a path",
		Long: `Give a role to subjects, for all that is below a path ("/" is everything). What the
namespace says else stays. If there is none, it is made.`,
		Example: `  confman ns grant teams/payments editor user:entra/contoso/bob --comment 'bob joins'
  confman ns grant / viewer group:entra/contoso/0b5c8b3e-58a4-4a0f-8d5e-0f6a5d0d9b1c role:entra/Config.Read`,
		Args: usage(cobra.MinimumNArgs(3)),
	}, firstOf, func(args []string, n *client.Namespace) bool {
		return each(args[2:], func(subject string) bool { return n.Grant(args[1], subject) })
	})
}

func newNsRevoke(s *session) *cobra.Command {
	return s.editing(&cobra.Command{
		Use:   "revoke PATH ROLE SUBJECT...",
		Short: "Take a role from subjects",
		Long: `Take a role from subjects that have it from the namespace at a path. What they have from
others, above or below, or as members of a group, stays: see confman ns deny.`,
		Example: `  confman ns revoke teams/payments editor user:entra/contoso/bob --comment 'bob leaves'`,
		Args:    usage(cobra.MinimumNArgs(3)),
	}, firstOf, func(args []string, n *client.Namespace) bool {
		return each(args[2:], func(subject string) bool { return n.Revoke(args[1], subject) })
	})
}

func newNsDeny(s *session) *cobra.Command {
	return s.editing(&cobra.Command{
		Use:   "deny SUBJECT...",
		Short: "Deny subjects everything, at once",
		Long: `Deny subjects everything, whatever they are bound to: a stolen token is of no use from
the revision on that this prints. An application that is denied also is for the users
who act through it. It takes every verb at the root, and nobody denies themselves. Who is
denied, confman ns get / shows.`,
		Example: `  confman ns deny user:entra/contoso/eve --comment 'laptop stolen'
  confman ns deny app:entra/contoso/old-ci group:entra/contoso/0b5c8b3e-58a4-4a0f-8d5e-0f6a5d0d9b1c`,
		Args: usage(cobra.MinimumNArgs(1)),
	}, ofRoot, func(args []string, n *client.Namespace) bool { return each(args, n.Deny) })
}

func newNsAllow(s *session) *cobra.Command {
	return s.editing(&cobra.Command{
		Use:     "allow SUBJECT...",
		Short:   "End a denial",
		Long:    `End the denial of subjects: they may do again what they are bound to.`,
		Example: `  confman ns allow user:entra/contoso/eve`,
		Args:    usage(cobra.MinimumNArgs(1)),
	}, ofRoot, func(args []string, n *client.Namespace) bool { return each(args, n.Allow) })
}

func newRoleSet(s *session) *cobra.Command {
	return s.editing(&cobra.Command{
		Use:   "set NAME VERB...",
		Short: "Define a role, or say anew what it may do",
		Long: `Define a role of this cluster, or say anew what it may do: that changes at once for all who
have it. To give a verb one must have it.`,
		Example: `  confman ns role set deployer read write rollback
  confman ns role set auditor audit read`,
		Args: usage(cobra.MinimumNArgs(2)),
	}, ofRoot, func(args []string, n *client.Namespace) bool {
		verbs := slices.Compact(slices.Sorted(slices.Values(args[1:])))
		if slices.Equal(slices.Sorted(slices.Values(n.Roles[args[0]])), verbs) {
			return false
		}
		if n.Roles == nil {
			n.Roles = map[string][]string{}
		}
		n.Roles[args[0]] = verbs
		return true
	})
}

func newRoleRm(s *session) *cobra.Command {
	return s.editing(&cobra.Command{
		Use:     "rm NAME",
		Short:   "Remove a role that nobody is bound to",
		Long:    `Remove a role of this cluster. It must not be bound in any namespace.`,
		Example: `  confman ns role rm deployer`,
		Args:    usage(cobra.ExactArgs(1)),
	}, ofRoot, func(args []string, n *client.Namespace) bool {
		_, there := n.Roles[args[0]]
		delete(n.Roles, args[0])
		return there
	})
}
