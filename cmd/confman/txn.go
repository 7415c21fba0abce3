package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newTxn(s *session) *cobra.Command {
	var (
		o    client.TxnOptions
		file string
	)
	cmd := &cobra.Command{
		Use:   "txn [-f FILE]",
		Short: "Change many keys at one revision, if they are as expected",
		Long: `Do a transaction, given as a JSON document on the standard input or, with -f, as a file:

  {"compare": [{"path": "a", "exists": true}, {"path": "b", "revision": 42},
               {"path": "c", "value": 30}],
   "then":    [{"put": "a", "value": 31}, {"delete": "b"}, {"delete": "sub/"}, {"get": "c"}],
   "else":    [{"get": "a"}]}

If all of compare holds, all of then is done, else all of else, at one revision. A
get shows what is there right after. A value is JSON, with a "content_type" that is
not JSON's a string, with "encoding": "base64" octets; a compare on a value compares
its bytes.

If a compare does not hold, the exit code is 7, and else was done, if there is one.`,
		Example: `  confman txn -f swap.json --comment 'blue goes live'
  confman txn -f swap.json -o json --idempotency-key deploy-4711
  echo '{"then": [{"put": "a", "value": 1}, {"delete": "b"}]}' | confman txn`,
		Args: usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "-", "take the transaction from this file; - is the standard input")
	remarkFlags(f, &o.Comment, &o.IdempotencyKey)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := s.read(file, client.MaxTxnBytes, "transaction")
		if err != nil {
			return err
		}
		t, err := client.ParseTxn(string(text))
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", nameOf(file), err)}
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		res, meta, err := c.Txn(ctx, t, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		if err := s.print(res, func(w io.Writer) error { return txnTable(w, &res) }); err != nil {
			return err
		}
		if !res.Succeeded {
			return compareError(&t, &res)
		}
		return nil
	}
	return cmd
}

// nameOf is what a person calls a file that is read.
func nameOf(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

func txnTable(w io.Writer, res *client.TxnResult) error {
	what := "done"
	if !res.Changed {
		what = "nothing changed"
	}
	if _, err := fmt.Fprintf(w, "%s, revision %d\n", what, res.Revision); err != nil {
		return err
	}
	var rows [][]string
	for i := range res.Results {
		r := &res.Results[i]
		rows = append(rows, []string{r.Op, r.Path, txnEffect(r)})
	}
	return table(w, rows)
}

// txnEffect is what an operation did.
func txnEffect(r *client.TxnOpResult) string {
	switch {
	case r.Op == "get" && r.Compacted:
		return "(compacted)"
	case r.Op == "get" && r.Record == nil:
		return "(no value)"
	case r.Op == "get":
		return shown(r.Record)
	case r.Op == "delete" && !r.Changed:
		return "was not there"
	case r.Op == "delete" && r.Removed > 0:
		return plural(r.Removed, "key", "keys") + " deleted"
	case r.Op == "delete":
		return "deleted"
	case r.Created:
		return "created"
	case r.Changed:
		return "changed"
	}
	return fmt.Sprintf("unchanged since revision %d", r.Revision)
}

// notHeldError says that a transaction's compare did not hold.
type notHeldError struct{ text string }

func (e notHeldError) Error() string { return e.text }

func compareError(t *client.Txn, res *client.TxnResult) error {
	// A node that counts wrongly must not make us panic.
	path := "?"
	if i := res.FailedCompare; i >= 0 && i < len(t.Compare) {
		path = t.Compare[i].Path()
	}
	is := fmt.Sprintf("was last changed at revision %d", res.CurrentRevision)
	if res.CurrentRevision == 0 {
		is = "has no value"
	}
	did := "nothing was done"
	if len(t.Else) > 0 {
		did = "else was done"
	}
	return notHeldError{fmt.Sprintf("compare %d does not hold: key %q %s; %s", res.FailedCompare, path, is, did)}
}
