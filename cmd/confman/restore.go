package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/config"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// restoreFlags are those that all nodes of a new cluster must be restored with alike.
type restoreFlags struct {
	from, cluster, at, by string
	revision              uint64
}

func newRestore(e env) *cobra.Command {
	var (
		file string
		o    restoreFlags
	)
	cmd := &cobra.Command{
		Use:   "restore --from FILE --config FILE",
		Short: "Make the data directory of a new cluster's node of a backup",
		Long: `Make the data directory of one node of a new cluster of a backup, which is verified
before. Do it on every node in Cluster.Nodes, with the same backup, before any of
them is started: the first one draws the id of the new cluster and prints the command
for the others. Then start them; they form the cluster only with each other.

The new cluster has all that the backup has, with the history up to there, or with
--at-revision what there was at that revision: also who may do what, so that a denial
or a revoked role of later is undone. What the old cluster did afterwards is lost.
Revisions go on behind a gap, so that none means two things: who remembers one from
what was lost is told so. It is another cluster: a node of the old one that comes back
is refused. The data directory must be empty, and needs room for the database twice.`,
		Example: `  confman restore --from confman-2026-01-23.backup --config /etc/confman/confman.json
  confman restore --from confman-2026-01-23.backup --config confman.json --at-revision 57`,
		Args: usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "the configuration file of this node")
	f.StringVar(&o.from, "from", "", "the backup")
	f.Uint64Var(&o.revision, "at-revision", 0, "begin with the state as of this revision (default: that of the backup)")
	f.StringVar(&o.cluster, "cluster-id", "", "id of the new cluster, as the first node printed it (default: a new one)")
	f.StringVar(&o.at, "at", "", "when the cluster is restored, as the first node printed it (default: now)")
	f.StringVar(&o.by, "by", "", "who restores it, for the audit (default: the user, and the host)")
	for _, s := range settings {
		if s.flag == "node-id" || s.flag == "data-dir" { // which node, and where
			f.String(s.flag, "", s.usage+" ("+s.key+")")
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		flags := map[string]string{}
		for _, s := range settings {
			if set := f.Lookup(s.flag); set != nil && set.Changed {
				flags[s.key] = set.Value.String()
			}
		}
		if o.from == "" {
			return usagef("--from is missing: name the backup")
		}
		cfg, err := config.Load(file, e.environ, flags)
		if err != nil {
			return usageError{err}
		}
		if cfg.Cluster.Seat != "" { // serve would refuse the directory later, when all nodes are done
			return usagef("Cluster.Seat is set: a seat is for joining a cluster, and this makes a new one; take it out, and list the nodes of the new one in Cluster.Nodes")
		}
		to, err := o.restoration(cfg, f.Changed("at-revision"))
		if err != nil {
			return err
		}
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		return restore(ctx, e, file, o, to, cfg)
	}
	return cmd
}

// restoration is what the flags ask for.
func (o *restoreFlags) restoration(cfg config.Config, past bool) (node.Restoration, error) {
	to := node.Restoration{Dir: cfg.Data.Dir, Name: cfg.Cluster.NodeID, Names: cfg.Names(), By: o.by, Time: time.Now().UTC().Truncate(time.Second)}
	if past {
		at := fsm.Revision(o.revision)
		to.At = &at
	}
	if o.cluster == "" {
		to.Cluster = node.NewCluster()
		if o.at != "" {
			return to, usagef("--at is for the other nodes of a cluster, with its --cluster-id")
		}
		if to.By == "" {
			to.By = whoRestores()
		}
	} else {
		id, err := hex.DecodeString(o.cluster)
		if err != nil || len(id) != len(to.Cluster) {
			return to, usagef("--cluster-id is %q, want the %d hex digits that the first node printed", o.cluster, 2*len(to.Cluster))
		}
		copy(to.Cluster[:], id)
		if to.Time, err = time.Parse(time.RFC3339, o.at); err != nil || o.by == "" {
			return to, usagef("with --cluster-id go --at and --by: take the whole command that the first node printed")
		}
	}
	if len(to.By) > node.MaxRestorerBytes {
		return to, usagef("--by has %d bytes, at most %d", len(to.By), node.MaxRestorerBytes)
	}
	return to, nil
}

// whoRestores is who the operating system says it is.
func whoRestores() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	who := name + "@" + host
	return who[:min(len(who), node.MaxRestorerBytes)]
}

func restore(ctx context.Context, e env, file string, o restoreFlags, to node.Restoration, cfg config.Config) error {
	f, err := os.Open(o.from)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	src := &counting{Reader: f}
	bar := newMiBProgress(e, "restore", info.Size())
	to.Progress = func(int64) { bar.reach(src.n) }
	b, st, err := node.Restore(ctx, src, to)
	bar.end()
	var old *fsm.CompactedError
	switch {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("%w: %s holds no node yet: run the command again, or empty it", context.Cause(ctx), to.Dir)
	case errors.As(err, &old) && old.Gap != (fsm.Gap{}):
		return fmt.Errorf("%s: there never was a revision %d: its cluster was itself restored, and after revision %d came %d", o.from, o.revision, old.Gap.From, old.Gap.To)
	case errors.As(err, &old):
		return fmt.Errorf("%s: the state at revision %d is not held: from revision %d on, all is (%w)", o.from, o.revision, old.Floor, err)
	case errors.Is(err, fsm.ErrFuture):
		return fmt.Errorf("%s: %w: the backup is older than --at-revision", o.from, err)
	case errors.Is(err, fsm.ErrNoBackup), errors.Is(err, fsm.ErrBackupDamaged), errors.Is(err, fsm.ErrUnknownVersion):
		return fmt.Errorf("%s: %w", o.from, err)
	case err != nil:
		return err
	}
	return tellRestored(e.out, file, &o, &to, b, &st, cfg)
}

// tellRestored says what was made, and what is to be done next.
func tellRestored(w io.Writer, file string, o *restoreFlags, to *node.Restoration, b *fsm.Backup, st *fsm.State, cfg config.Config) error {
	at := b.Revision
	if to.At != nil {
		at = *to.At
	}
	text := fmt.Sprintf("%s: node %s of the new cluster %x, with what cluster %x had at revision %d; revisions go on at %d\n",
		to.Dir, to.Name, st.Cluster, b.Cluster, at, st.Revision)
	if at < b.Revision {
		text += fmt.Sprintf("who may do what is as of revision %d, too: who was denied later, or lost a role, has it again; "+
			"and if nobody administered the cluster then, everybody may do everything\n", at)
	}
	var others []string
	for _, n := range cfg.Cluster.Nodes {
		if n.ID != to.Name {
			others = append(others, n.ID)
		}
	}
	if len(others) > 0 {
		line := []string{"confman", "restore", "--from", o.from, "--config", file}
		if to.At != nil {
			line = append(line, "--at-revision", strconv.FormatUint(o.revision, 10))
		}
		line = append(line, "--cluster-id", hex.EncodeToString(st.Cluster[:]), "--at", to.Time.Format(time.RFC3339), "--by", to.By)
		for i := range line {
			line[i] = quoted(line[i])
		}
		text += fmt.Sprintf("unless it is done: on %s, with their own configurations,\n  %s\n", strings.Join(others, ", "), strings.Join(line, " "))
	}
	_, err := io.WriteString(w, text+"then start all nodes with confman serve\n")
	return err
}

// quoted is an argument as a shell takes it.
func quoted(arg string) string {
	if arg != "" && strings.Trim(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@+=,") == "" {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
