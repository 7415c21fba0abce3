package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// maxShownChanges is how many keys of one change a table shows.
const maxShownChanges = 10

// auditActions are those that rows can be asked for by.
var auditActions = []string{
	"put", "delete", "namespace-put", "namespace-delete", "member-add", "member-promote", "member-remove", "member-replace", "upgrade-finalize",
	"restored", "denied-read", "denied-write", "denied-access",
}

func newAudit(s *session) *cobra.Command {
	var (
		o      client.AuditOptions
		limit  int
		export string
	)
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who did what, and what was denied to whom",
		Long: `Show every change that is still held, and what was denied, newest first. Values are not
in it. What was denied many times may be one row, which tells how many.

--since and --until take a time, or how long ago. -o ndjson and --export give all rows,
one a line, as they are at one revision; a file appears only once it is whole, and is
readable by its owner only.`,
		Example: `  confman audit --since 1h
  confman audit --path teams/payments/ --limit 20
  confman audit --principal user:entra/contoso/bob --outcome denied
  confman audit --action namespace-put --since 2026-01-23T10:00:00Z --until 2026-01-24T10:00:00Z -o json
  confman audit --export audit.ndjson`,
		Args: usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&o.Principal, "principal", "", "only what this one did or tried: anonymous, or as in user:issuer/tenant/id")
	f.StringVar(&o.Path, "path", "", "only this key or, with a slash at its end, all that is below it")
	f.StringVar(&o.Action, "action", "", "only "+strings.Join(auditActions[:len(auditActions)-1], ", ")+" or "+auditActions[len(auditActions)-1])
	complete(cmd, "action", auditActions...)
	f.StringVar(&o.Outcome, "outcome", "", "only applied or denied")
	complete(cmd, "outcome", "applied", "denied")
	f.Var((*ago)(&o.Since), "since", "not what was before: a time, such as 2026-01-23T10:00:00Z, or how long ago, such as 90m")
	f.Var((*ago)(&o.Until), "until", "not what was after")
	f.IntVar(&limit, "limit", 0, "show at most so many rows (default: all)")
	f.StringVar(&export, "export", "", "write all rows to this file, one a line")
	f.StringVarP(&s.output, "output", "o", "", "json, yaml, table or ndjson")
	complete(cmd, "output", "json", "yaml", "table", formatRecords)
	freshFlags(f, &o.ReadOptions)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	f.DurationVar(&s.timeout, "timeout", exportTimeout, "how long to try, in all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkRead(o.ReadOptions); err != nil {
			return err
		}
		lines := s.output == formatRecords || export != ""
		switch {
		case limit < 0:
			return usagef("--limit is %d, want at least 1", limit)
		case lines && f.Changed("limit"):
			return usagef("--limit is not of rows one a line, which are all that there are: see --since")
		case export != "" && f.Changed("output"):
			return usagef("--export writes rows one a line: leave --output out")
		}
		if lines {
			s.output = ""
		}
		whole, stop := interruptible(cmd.Context())
		defer stop()
		c, ctx, cancel, err := s.dial(whole)
		if err != nil {
			return err
		}
		defer cancel()
		switch {
		case export != "":
			return writeWhole(export, func(w io.Writer) error { return copyAudit(ctx, c, o, w) })
		case lines:
			return copyAudit(ctx, c, o, s.out)
		}
		return listRows(s, upTo(limit, c.Audit(ctx, o)), auditHead, auditRows)
	}
	return cmd
}

func copyAudit(ctx context.Context, c *client.Client, o client.AuditOptions, w io.Writer) error {
	body, _, err := c.ExportAudit(ctx, o)
	if err != nil {
		return err
	}
	defer body.Close() // it was only read
	_, err = io.Copy(w, body)
	return err
}

var auditHead = []string{"WHEN", "WHO", "FROM", "WHAT", "PATH", "REVISION", "WHY"}

// auditRows shows a change with a row for each key, or what was denied.
func auditRows(r *client.AuditRow) [][]string {
	first := []string{r.Time.UTC().Format(time.RFC3339), cmp.Or(harmless(r.Principal), "-"), cmp.Or(r.Source, "-")}
	if r.Outcome == "denied" {
		return [][]string{append(first, r.Action, cmp.Or(harmless(r.Path), "-"), "", denial(r))}
	}
	var rows [][]string
	for i, ch := range r.Changes {
		if i == maxShownChanges && len(r.Changes) > maxShownChanges+1 {
			return append(rows, []string{"", "", "", "", fmt.Sprintf("(and %d more)", len(r.Changes)-i), "", ""})
		}
		row := append(first[:3:3], ch.Action, harmless(cmp.Or(ch.Members, ch.Path)), revisions(ch.OldRevision, ch.Revision), harmless(r.Comment))
		if i > 0 {
			row[0], row[1], row[2], row[6] = "", "", "", ""
		}
		rows = append(rows, row)
	}
	return rows
}

// revisions are those of what there was and what there is.
func revisions(before, now uint64) string {
	side := func(n uint64) string {
		if n == 0 {
			return "-"
		}
		return number(n)
	}
	return side(before) + " > " + side(now)
}

// denial is why, and how often.
func denial(r *client.AuditRow) string {
	why := r.Reason
	if len(r.Verbs) > 0 {
		why += ": lacks " + strings.Join(r.Verbs, ", ")
	}
	if r.Count > 1 {
		why += fmt.Sprintf(" (%d times since %s)", r.Count, r.First.UTC().Format(time.RFC3339))
	}
	return why
}

// ago is a time on the command line, or how long ago it is.
type ago time.Time

// String writes it as Set reads it; "" if it is not set.
func (a *ago) String() string { return (*moment)(a).String() }

// Set reads a time with its zone (RFC 3339), or a duration.
func (a *ago) Set(text string) error {
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			return errors.New("want how long ago it is, such as 90m")
		}
		*a = ago(time.Now().Add(-d))
		return nil
	}
	if (*moment)(a).Set(text) != nil {
		return errors.New("want a time with its zone, such as 2026-01-23T10:00:00Z, or how long ago it is, such as 90m")
	}
	return nil
}

// Type is what the help calls it.
func (a *ago) Type() string { return "time" }
