package main

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newGet(s *session) *cobra.Command {
	var o client.ReadOptions
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print one value",
		Long: `Print the value of a key, byte for byte as it is stored; on a terminal with a
line break after it. With -o, print what is known about it too.`,
		Example: `  confman get teams/payments/timeout-ms
  confman get teams/payments/timeout-ms -o yaml
  confman get teams/payments/timeout-ms --consistency linearizable
  confman get teams/payments/timeout-ms --at 2026-01-23T10:00:00Z`,
		Args: usage(cobra.ExactArgs(1)),
	}
	readFlags(cmd.Flags(), &o)
	atFlag(cmd.Flags(), &o)
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
		rec, _, err := c.Get(ctx, args[0], o)
		if err != nil {
			return err
		}
		return s.print(rec, func(w io.Writer) error {
			if s.output == "table" {
				return table(w, [][]string{recordHead, recordRow(&client.Item{Record: rec, HasValue: true})})
			}
			if _, err := w.Write(rec.Value); err != nil {
				return err
			}
			if s.outTerminal && !bytes.HasSuffix(rec.Value, []byte("\n")) {
				_, err = io.WriteString(w, "\n")
			}
			return err
		})
	}
	return cmd
}

var recordHead = []string{"PATH", "REVISION", "MODIFIED", "VALUE"}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func recordRow(i *client.Item) []string {
	path := i.Path
	if i.Subtree && !i.HasValue {
		return []string{path + "/", "", "", ""}
	}
	return []string{path, number(i.Revision), i.ModifiedAt.UTC().Format(time.RFC3339), shown(&i.Record)}
}
