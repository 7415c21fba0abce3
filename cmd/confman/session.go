package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/confman/confman/client"
)

// defaultEndpoints are those of confman dev.
const defaultEndpoints = "http://127.0.0.1:5000,http://127.0.0.1:5010,http://127.0.0.1:5020"

// endpointsVariable is the environment variable that replaces defaultEndpoints.
const endpointsVariable = "CONFMAN_ENDPOINTS"

// caVariable is the environment variable for --cacert.
const caVariable = "CONFMAN_CACERT"

// The environment variables for who calls: a token, and those for --token-file, --cert and --key.
const (
	tokenVariable     = "CONFMAN_TOKEN"      //nolint:gosec // a name
	tokenFileVariable = "CONFMAN_TOKEN_FILE" //nolint:gosec // a name
	certVariable      = "CONFMAN_CERT"
	keyVariable       = "CONFMAN_KEY"
)

// defaultTimeout bounds a command unless it has a default of its own.
const defaultTimeout = 30 * time.Second

// rounds is how often a command asks all nodes in turn, within its timeout: that
// takes 7 seconds, which is longer than an election. Imports go on until the end.
const rounds = 8

// The first word that a command is still trying comes after retryFirst, then one
// each retryEvery.
const (
	retryFirst = 2 * time.Second
	retryEvery = 10 * time.Second
)

// session is one command's way to the cluster.
type session struct {
	env
	endpoints string
	caFile    string
	tokenFile string
	certFile  string
	keyFile   string
	plainText bool // the token may be sent in it
	timeout   time.Duration
	output    string
}

// asksToo is the annotation of a command that asks something itself and has others below it, whose flags are theirs.
const asksToo = "asks"

// flags adds the flags that all client commands have, to each of those that cmd consists of.
func (s *session) flags(cmd *cobra.Command) {
	if cmd.HasSubCommands() && cmd.Annotations[asksToo] == "" {
		for _, sub := range cmd.Commands() {
			s.flags(sub)
		}
		return
	}
	f := cmd.Flags()
	f.StringVar(&s.endpoints, "endpoints", "", "addresses of nodes, separated by commas (default $"+endpointsVariable+" or "+defaultEndpoints+")")
	f.StringVar(&s.caFile, "cacert", "", "PEM file of who signs the certificates of https endpoints (default $"+caVariable+", or whom the system trusts)")
	f.StringVar(&s.tokenFile, "token-file", "", "file with the token that says who calls, read again when it changes (default $"+tokenVariable+", the token itself, or $"+tokenFileVariable+")")
	f.StringVar(&s.certFile, "cert", "", "PEM file of a client certificate that says who calls, for https endpoints (default $"+certVariable+")")
	f.StringVar(&s.keyFile, "key", "", "PEM file of the key of --cert (default $"+keyVariable+")")
	f.BoolVar(&s.plainText, "plain-text-token", false, "send the token to http endpoints beyond this machine too, where others may read it")
	if f.Lookup("timeout") == nil {
		f.DurationVar(&s.timeout, "timeout", defaultTimeout, "how long to try, in all")
	}
	if cmd.Name() != "export" && f.Lookup("output") == nil { // it writes what it finds, and nothing about it
		f.StringVarP(&s.output, "output", "o", "", "json, yaml or table")
	}
	complete(cmd, "output", "json", "yaml", "table")
}

// outputFlag adds the flag that says how to print to a command that asks no node.
func (s *session) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.output, "output", "o", "", "json, yaml or table")
	complete(cmd, "output", "json", "yaml", "table")
	cmd.PreRunE = func(*cobra.Command, []string) error { return s.checkOutput() }
}

func (s *session) checkOutput() error {
	switch s.output {
	case "", "json", "yaml", "table":
		return nil
	}
	return usagef("--output is %q, want json, yaml or table", s.output)
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if cmd.Flags().Lookup(flag) != nil {
		// It fails only for a flag that has a completion or does not exist.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// dial makes the client and a context that ends with --timeout.
func (s *session) dial(ctx context.Context) (*client.Client, context.Context, context.CancelFunc, error) {
	if s.timeout <= 0 {
		return nil, nil, nil, usagef("--timeout is %v, want more than zero", s.timeout)
	}
	if err := s.checkOutput(); err != nil {
		return nil, nil, nil, err
	}
	endpoints := s.addresses()
	c, err := client.New(client.Options{
		Endpoints: endpoints, CAFile: cmp.Or(s.caFile, s.variable(caVariable)),
		CertFile: cmp.Or(s.certFile, s.variable(certVariable)), KeyFile: cmp.Or(s.keyFile, s.variable(keyVariable)),
		Token: s.token(), PlainTextToken: s.plainText,
		MaxAttempts: rounds * len(endpoints), OnRetry: s.tellRetries(),
	})
	if err != nil {
		return nil, nil, nil, usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	return c, ctx, cancel, nil
}

// token is who calls, as the command line and then the environment say; nil: nothing does.
func (s *session) token() client.TokenSource {
	if s.tokenFile != "" {
		return client.TokenFile(s.tokenFile)
	}
	if token := s.variable(tokenVariable); token != "" {
		return client.StaticToken(token)
	}
	if file := s.variable(tokenFileVariable); file != "" {
		return client.TokenFile(file)
	}
	return nil
}

// tellRetries returns what tells a person who waits why.
func (s *session) tellRetries() func(error) {
	var (
		mu   sync.Mutex
		next = time.Now().Add(retryFirst)
	)
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(next) {
			next = now.Add(retryEvery)
			_, _ = fmt.Fprintf(s.err, "confman: still trying: %v\n", err)
		}
	}
}

func (s *session) addresses() []string {
	return strings.Split(cmp.Or(s.endpoints, s.variable(endpointsVariable), defaultEndpoints), ",")
}

// readFlags adds --consistency, --max-staleness and --revision.
func readFlags(f *pflag.FlagSet, o *client.ReadOptions) {
	freshFlags(f, o)
	f.Uint64Var(&o.Revision, "revision", 0, "read what was there at this revision (default: what is there now)")
}

// atFlag adds --at.
func atFlag(f *pflag.FlagSet, o *client.ReadOptions) {
	f.Var((*moment)(&o.At), "at", "read what was there at this time, such as 2026-01-23T10:00:00Z, to the second")
}

// tellReplay tells who named an idempotency key that it was done before. With a random key
// that can only be an earlier attempt of this command, which is nobody's concern.
func (s *session) tellReplay(key string, m client.Meta) {
	if key != "" && m.Replayed {
		_, _ = fmt.Fprintln(s.err, "confman: this was done already, under the same idempotency key; what it did:")
	}
}

// moment is a time on the command line.
type moment time.Time

// String writes it as Set reads it; "" if it is not set.
func (m *moment) String() string {
	if time.Time(*m).IsZero() {
		return ""
	}
	return time.Time(*m).Format(time.RFC3339)
}

// Set reads a time with its zone (RFC 3339).
func (m *moment) Set(text string) error {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errors.New("want a time with its zone, such as 2026-01-23T10:00:00Z")
	}
	*m = moment(t)
	return nil
}

// Type is what the help calls it.
func (m *moment) Type() string { return "time" }

// freshFlags adds --consistency and --max-staleness.
func freshFlags(f *pflag.FlagSet, o *client.ReadOptions) {
	f.StringVar((*string)(&o.Consistency), "consistency", "", "linearizable, bounded (the default) or local")
	f.Uint64Var(&o.MinRevision, "min-revision", 0, "wait until the node has this revision, such as that of a write")
	f.DurationVar(&o.MaxStaleness, "max-staleness", 0, "how old a bounded answer may be (default: the node's)")
}

// writeFlags adds the conditions and remarks of a write.
func writeFlags(f *pflag.FlagSet, o *client.WriteOptions) {
	f.Uint64Var(&o.IfRevision, "if-revision", 0, "write only if the key's last change was at this revision")
	remarkFlags(f, &o.Comment, &o.IdempotencyKey)
}

// remarkFlags adds --comment and --idempotency-key.
func remarkFlags(f *pflag.FlagSet, comment, key *string) {
	f.StringVar(comment, "comment", "", "why; it goes into the change log")
	f.StringVar(key, "idempotency-key", "", "the same command with the same key is applied once within 10 minutes (default: a random key)")
}

func checkRead(o client.ReadOptions) error {
	switch o.Consistency {
	case "", client.Bounded, client.Linearizable, client.Local:
	default:
		return usagef("--consistency is %q, want linearizable, bounded or local", o.Consistency)
	}
	if !o.At.IsZero() && o.Revision != 0 {
		return usagef("--at and --revision contradict each other: give one")
	}
	if o.MaxStaleness < 0 {
		return usagef("--max-staleness is %v, want more than zero", o.MaxStaleness)
	}
	return nil
}
