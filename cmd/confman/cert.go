package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/tlsfiles"
)

const (
	// raftCADir and clientCADir are where the two CAs are unless --dir says otherwise.
	raftCADir   = "raft-ca"
	clientCADir = "client-ca"

	// The days for which certificates are good. A CA is replaced rarely, since everybody who
	// believes it must hear of that; a client's key lies on machines that nobody looks after.
	caDays     = 3650
	nodeDays   = 365
	clientDays = 90
	maxDays    = 36500

	// certBackdate is by how much clocks may differ that see a new certificate at once.
	certBackdate = 5 * time.Minute
)

// caName is the name of a CA's files; no node or client has it.
const caName = "ca"

// cert makes certificates.
type cert struct {
	env
	dir   string
	days  int
	force bool
}

func newCert(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Make a private CA and certificates for nodes and clients",
		Long: `Make a private CA and certificates, as files in PEM: enough for a small installation
that has no CA of its own. Nothing is sent anywhere, and no node needs to run.

Two CAs are better than one: one for the nodes (` + raftCADir + `), so that whoever signs for clients
can make no node, and one for clients of the API (` + clientCADir + `).`,
		Example: `  confman cert init
  confman cert node node1 --address 10.0.1.10
  confman cert init --dir client-ca
  confman cert client ci`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertInit(e), newCertNode(e), newCertClient(e))
	return cmd
}

// flags are those that all have.
func (c *cert) flags(cmd *cobra.Command, dir string, days int) {
	f := cmd.Flags()
	f.StringVar(&c.dir, "dir", dir, "the CA's directory; what is made goes there, too")
	f.IntVar(&c.days, "days", days, "for how many days it is good")
	f.BoolVar(&c.force, "force", false, "replace files that are there already")
}

// validity begins a little ago.
func (c *cert) validity() (tlsfiles.Validity, error) {
	if c.days < 1 || c.days > maxDays {
		return tlsfiles.Validity{}, usagef("--days is %d, want 1 to %d", c.days, maxDays)
	}
	now := time.Now()
	return tlsfiles.Validity{NotBefore: now.Add(-certBackdate), NotAfter: now.AddDate(0, 0, c.days)}, nil
}

func (c *cert) files(name string) (certFile, keyFile string) {
	return filepath.Join(c.dir, name+".crt"), filepath.Join(c.dir, name+".key")
}

// open reads the CA.
func (c *cert) open() (*tlsfiles.CA, error) {
	ca, err := tlsfiles.ReadCA(c.files(caName))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w\nno CA is in %s: make one with confman cert init --dir %s", err, c.dir, c.dir)
	}
	return ca, err
}

// write writes the pair and says so.
func (c *cert) write(name, what string, p tlsfiles.Pair) error {
	certFile, keyFile := c.files(name)
	err := p.Write(certFile, keyFile, c.force)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w\nto replace it, say --force", err)
	}
	if err != nil {
		return err
	}
	return c.say("%s and %s: %s, good until %s.\n", certFile, keyFile, what, p.Leaf.NotAfter.Format(time.DateOnly))
}

func (c *cert) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.out, format, args...)
	return err
}

func newCertInit(e env) *cobra.Command {
	c := &cert{env: e}
	var name string
	cmd := &cobra.Command{
		Use:     "init",
		Aliases: []string{"ca"},
		Short:   "Make a CA",
		Long: `Make a CA: ca.crt, which everybody gets who is to believe it, and ca.key, which stays
where it is. Who has the key can be any node, or any client.`,
		Example: `  confman cert init
  confman cert init --dir client-ca --name 'Confman clients' --days 1825`,
		Args: usage(cobra.NoArgs),
	}
	c.flags(cmd, raftCADir, caDays)
	cmd.Flags().StringVar(&name, "name", "", "what the CA is called (default: Confman and the name of its directory)")
	cmd.RunE = func(*cobra.Command, []string) error {
		v, err := c.validity()
		if err != nil {
			return err
		}
		if name == "" {
			dir, err := filepath.Abs(c.dir)
			if err != nil {
				return err
			}
			name = "Confman " + filepath.Base(dir)
		}
		_, pair, err := tlsfiles.NewCA(name, v)
		if err != nil {
			return usageError{err}
		}
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			return err
		}
		if err := c.write(caName, fmt.Sprintf("the CA %q", name), pair); err != nil {
			return err
		}
		certFile, keyFile := c.files(caName)
		return c.say("%s never leaves this place, and nobody else may read it. %s is for all who are to believe the CA.\n", keyFile, certFile)
	}
	return cmd
}

func newCertNode(e env) *cobra.Command {
	c := &cert{env: e}
	var addresses []string
	cmd := &cobra.Command{
		Use:   "node ID",
		Short: "Make the certificate of a node",
		Long: `Make the certificate of a node, by which the other nodes know it: ID is its Id in
Cluster.Nodes. With --address, the names and IP addresses that clients use, its API can be
served with the same certificate. A running node takes the files when they are replaced.`,
		Example: `  confman cert node node1
  confman cert node node1 --address 10.0.1.10 --address confman.example.com --force
  confman cert node node2 --dir raft-ca --days 90`,
		Args: usage(cobra.ExactArgs(1)),
	}
	c.flags(cmd, raftCADir, nodeDays)
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "a host name or IP address of the node, without a port; may be repeated")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		return c.issue(args[0], "the node "+args[0], func(ca *tlsfiles.CA, v tlsfiles.Validity) (tlsfiles.Pair, error) {
			return ca.Node(args[0], addresses, v)
		}, func() error { return nodeHint(c.out, c.dir, args[0], len(addresses) > 0) })
	}
	return cmd
}

// nodeHint says what to do with the certificate of a node.
func nodeHint(out io.Writer, dir, id string, api bool) error {
	files := fmt.Sprintf(`"CertFile": "/etc/confman/%[1]s.crt", "KeyFile": "/etc/confman/%[1]s.key"`, id)
	text := `Copy both to the node, with ` + filepath.Join(dir, caName+".crt") + `, and say where they are:

  "Raft": { "Tls": { "CaFile": "/etc/confman/raft-ca.crt", ` + files + ` } }
`
	if api {
		text += `
The API can be served with the same certificate:

  "Api": { "Tls": { ` + files + ` } }
`
	}
	_, err := io.WriteString(out, text)
	return err
}

func newCertClient(e env) *cobra.Command {
	c := &cert{env: e}
	var uris []string
	cmd := &cobra.Command{
		Use:   "client NAME",
		Short: "Make the certificate of a client",
		Long: `Make the certificate of a client of the API. NAME is its common name; --uri adds a URI
as a second name. No node is believed by it, and no server.`,
		Example: `  confman cert client ci
  confman cert client deploy --uri spiffe://example.com/deploy --days 30`,
		Args: usage(cobra.ExactArgs(1)),
	}
	c.flags(cmd, clientCADir, clientDays)
	cmd.Flags().StringArrayVar(&uris, "uri", nil, "a URI that names the client; may be repeated")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var parsed []*url.URL
		for _, text := range uris {
			u, err := url.Parse(text)
			if err != nil {
				return usagef("--uri: %w", err)
			}
			parsed = append(parsed, u)
		}
		return c.issue(args[0], "the client "+args[0], func(ca *tlsfiles.CA, v tlsfiles.Validity) (tlsfiles.Pair, error) {
			return ca.Client(args[0], parsed, v)
		}, func() error {
			certFile, keyFile := c.files(args[0])
			return c.say("A client shows it: curl --cert %s --key %s\n", certFile, keyFile)
		})
	}
	return cmd
}

// issue makes a certificate of the CA, writes it and says what comes next.
func (c *cert) issue(name, what string, sign func(*tlsfiles.CA, tlsfiles.Validity) (tlsfiles.Pair, error), hint func() error) error {
	v, err := c.validity()
	if err != nil {
		return err
	}
	if name == caName {
		return usagef("%q is the name of the CA's own files", name)
	}
	ca, err := c.open()
	if err != nil {
		return err
	}
	pair, err := sign(ca, v)
	if err != nil {
		return usageError{err}
	}
	if err := c.write(name, what, pair); err != nil {
		return err
	}
	return hint()
}
