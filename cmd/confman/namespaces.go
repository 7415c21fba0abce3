package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// maxNamespaceBytes bounds a file that is to become a namespace, as the servers do.
const maxNamespaceBytes = 1 << 20

func newNamespaces(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ns",
		Short: "Say who may do what, and where",
		Long: `A namespace says who may do what to all that is below its path ("/" is everything), and
how many former versions of keys are kept there. What is granted nowhere is denied.

Roles are viewer (read), editor (also write), publisher (also roll back, delete subtrees,
change how much is kept), admin (everything), and those of confman ns role. Subjects are
  user:ISSUER/TENANT/ID    app:ISSUER/TENANT/ID     cert:NAME
  group:ISSUER/TENANT/ID   role:ISSUER/NAME         as confman whoami shows them`,
		Example: `  confman ns grant teams/payments editor user:entra/contoso/bob
  confman ns ls`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	role := &cobra.Command{
		Use:   "role",
		Short: "Define roles beside the built-in ones",
		Long: `A role of this cluster is a set of verbs with a name: read, write, rollback, delete-tree,
retention, bind, cluster, audit. Roles are part of the root namespace: see confman ns get /.`,
		Example: `  confman ns role set deployer read write`,
		Args:    usage(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	role.AddCommand(newRoleSet(s), newRoleRm(s))
	cmd.AddCommand(newNsGet(s), newNsLs(s), newNsPut(s), newNsRm(s), newNsGrant(s), newNsRevoke(s), newNsDeny(s), newNsAllow(s), role)
	return cmd
}

func newNsGet(s *session) *cobra.Command {
	var o client.ReadOptions
	cmd := &cobra.Command{
		Use:   "get PATH",
		Short: "Show one namespace",
		Long: `Show who may do what because of the namespace at a path. What those above it say
applies there too.`,
		Example: `  confman ns get teams/payments
  confman ns get / -o json
  confman ns get teams/payments --revision 41`,
		Args: usage(cobra.ExactArgs(1)),
	}
	readFlags(cmd.Flags(), &o)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o); err != nil {
			return err
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		n, _, err := c.Namespace(ctx, args[0], o)
		if err != nil {
			return err
		}
		return s.print(n, func(w io.Writer) error { return namespaceTable(w, &n) })
	}
	return cmd
}

// namespaceTable shows a namespace: what it is, then who may what.
func namespaceTable(w io.Writer, n *client.Namespace) error {
	about := [][]string{{"namespace", n.Path}}
	add := func(name, value string) {
		if value != "" {
			about = append(about, []string{name, value})
		}
	}
	add("owner", harmless(n.Owner))
	add("description", harmless(n.Description))
	add("keeps", keeps(n))
	add("changed", fmt.Sprintf("%s by %s, revision %d", n.ModifiedAt.UTC().Format(time.RFC3339), cmp.Or(n.ModifiedBy, "-"), n.Revision))
	bindings := [][]string{{"ROLE", "SUBJECT"}}
	for _, b := range n.Bindings {
		for _, subject := range b.Subjects {
			bindings = append(bindings, []string{b.Role, subject})
		}
	}
	roles := [][]string{{"ROLE OF THIS CLUSTER", "VERBS"}}
	for _, name := range slices.Sorted(maps.Keys(n.Roles)) {
		roles = append(roles, []string{name, strings.Join(n.Roles[name], ", ")})
	}
	denied := [][]string{{"DENIED EVERYTHING"}}
	for _, subject := range n.Denied {
		denied = append(denied, []string{subject})
	}
	if err := table(w, about); err != nil {
		return err
	}
	for _, rows := range [][][]string{bindings, roles, denied} {
		if len(rows) == 1 {
			continue
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}

func keeps(n *client.Namespace) string {
	if n.Settings.KeepVersions == 0 {
		return ""
	}
	return plural(n.Settings.KeepVersions, "former version", "former versions")
}

func newNsLs(s *session) *cobra.Command {
	var o client.NamespacesOptions
	cmd := &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List the namespaces at and below a path",
		Long:  `List the namespaces at and below a path, with how many subjects have which role.`,
		Example: `  confman ns ls
  confman ns ls teams -o json`,
		Args: usage(cobra.MaximumNArgs(1)),
	}
	freshFlags(cmd.Flags(), &o.ReadOptions)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o.ReadOptions); err != nil {
			return err
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		return list(s, c.Namespaces(ctx, strings.Join(args, ""), o), []string{"PATH", "OWNER", "BINDINGS", "KEEPS", "REVISION", "CHANGED"}, func(n *client.Namespace) []string {
			var roles []string
			for _, b := range n.Bindings {
				roles = append(roles, fmt.Sprintf("%s: %d", b.Role, len(b.Subjects)))
			}
			return []string{n.Path, harmless(n.Owner), strings.Join(roles, ", "), keeps(n), number(n.Revision), n.ModifiedAt.UTC().Format(time.RFC3339)}
		})
	}
	return cmd
}

func newNsPut(s *session) *cobra.Command {
	var (
		o    client.WriteOptions
		file string
	)
	cmd := &cobra.Command{
		Use:   "put PATH -f FILE",
		Short: "Write a whole namespace",
		Long: `Write a whole namespace, given as a JSON document as confman ns get -o json prints it (- is
the standard input). If the document tells the revision that it was read at, it is written
only if nobody else has changed the namespace since.`,
		Example: `  confman ns put teams/payments -f payments.ns.json --comment 'from the wiki'
  echo '{"owner": "ann", "bindings": [{"role": "viewer", "subjects": ["cert:ci"]}]}' | confman ns put teams/ci -f -`,
		Args: usage(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	writeFlags(f, &o)
	f.BoolVar(&o.IfAbsent, "if-absent", false, "write only if there is no namespace yet")
	f.StringVarP(&file, "file", "f", "", "take the namespace from this file; - is the standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" {
			return usagef("no namespace: give one with --file")
		}
		text, err := s.read(file, maxNamespaceBytes, "namespace")
		if err != nil {
			return err
		}
		n, err := parseNamespace(text, args[0])
		switch {
		case err != nil:
			return usageError{fmt.Errorf("%s: %w", file, err)}
		case o.IfAbsent && o.IfRevision != 0:
			return usagef("--if-absent and --if-revision contradict each other: give one")
		case !o.IfAbsent && o.IfRevision == 0:
			o.IfRevision = n.Revision
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		w, meta, err := c.PutNamespace(ctx, args[0], n, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.written(&w)
	}
	return cmd
}

// parseNamespace reads what is to become the namespace at path.
func parseNamespace(text []byte, path string) (*client.Namespace, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	n := new(client.Namespace)
	if err := d.Decode(n); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the namespace")
	}
	if n.Path != "" && strings.Trim(n.Path, "/") != strings.Trim(path, "/") {
		return nil, fmt.Errorf("is the namespace %s, not %s: take its path out to write it there", n.Path, path)
	}
	return n, nil
}

func newNsRm(s *session) *cobra.Command {
	var o client.WriteOptions
	cmd := &cobra.Command{
		Use:   "rm PATH",
		Short: "Remove a namespace, with all that it grants",
		Long:  `Remove a namespace, with all that it grants. The keys below it stay.`,
		Example: `  confman ns rm teams/payments
  confman ns rm teams/payments --if-revision 57 --comment 'moved to billing'`,
		Args: usage(cobra.ExactArgs(1)),
	}
	writeFlags(cmd.Flags(), &o)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		w, meta, err := c.DeleteNamespace(ctx, args[0], o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.print(w, func(out io.Writer) error {
			_, err := fmt.Fprintf(out, "%s: removed at revision %d\n", w.Path, w.Revision)
			return err
		})
	}
	return cmd
}
