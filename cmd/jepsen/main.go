// Command jepsen runs a cluster of real processes, breaks things around them, and judges what its clients saw.
//
//	jepsen local --workload register --nemesis kill-one --time 60s
//	jepsen ssh --inventory staging.yaml --workload register --nemesis kill-one
//
// Exit codes:
//
//	0  all is as it should be
//	1  it is not, or the run proves nothing; the directory of the run has the reasons
//	2  wrong usage, or the run could not be made
//	3  some scenarios, or cells of the matrix, cannot be made on this machine; all others are as they should be
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

// Exit codes.
const (
	exitWrong = 1
	exitUsage = 2
	exitPart  = 3
)

// errWrong: the run was made, and its verdict is not good.
var errWrong = errors.New("not as it should be")

// closeTime bounds how long undoing everything may take in the end.
const closeTime = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := command().ExecuteContext(ctx)
	stop()
	removeVariants()
	switch {
	case err == nil:
		return
	case errors.Is(err, errWrong):
		fmt.Fprintf(os.Stderr, "jepsen: %v\n", err)
		os.Exit(exitWrong)
	case errors.Is(err, errNotHere):
		fmt.Fprintf(os.Stderr, "jepsen: %v\n", err)
		os.Exit(exitPart)
	default:
		fmt.Fprintf(os.Stderr, "jepsen: %v\n", err)
		os.Exit(exitUsage)
	}
}

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "jepsen", Short: "Break real processes, and judge what their clients saw",
		SilenceUsage: true, SilenceErrors: true,
	}
	cmd.AddCommand(localCommand(), sshCommand(), diskCommand(), brokenCommand(), listCommand(), scenarioCommand(), matrixCommand())
	return cmd
}

// runFlags are those of every run.
type runFlags struct {
	o       jepsen.Options
	out     string
	program string
}

func (f *runFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Uint64Var(&f.o.Seed, "seed", 1, "of who breaks what when")
	fl.StringSliceVar(&f.o.Workloads, "workload", []string{"register"}, "what clients ask, separated by commas")
	fl.StringSliceVar(&f.o.Nemeses, "nemesis", nil, "what is broken, separated by commas (default: nothing)")
	fl.DurationVar(&f.o.Time, "time", 30*time.Second, "how long things are broken")
	fl.IntVar(&f.o.Clients, "clients", 5, "of each workload")
	fl.DurationVar(&f.o.Pace, "pace", 10*time.Millisecond, "least time between two operations of a client")
	fl.StringVar(&f.out, "out", "", "directory for history, report and logs (default: jepsen-runs/ and the time)")
	fl.StringVar(&f.program, "program", "bin/confman", "the program under test")
}

// localFlags are those of a run on this machine.
type localFlags struct {
	runFlags
	local jepsen.LocalOptions
	set   []string // settings, such as Data.CatchUpBytes=1
}

func (f *localFlags) add(cmd *cobra.Command) {
	f.runFlags.add(cmd)
	fl := cmd.Flags()
	fl.IntVar(&f.local.Nodes, "nodes", 3, "that form the cluster")
	fl.BoolVar(&f.local.Loopback, "loopback", false, "use no network namespaces, also where there could be")
	fl.BoolVar(&f.local.PlainDisk, "plain-disk", false, "have the data on a file system that does not fail: faster")
	fl.BoolVar(&f.local.PlainText, "plain-text", false, "have the nodes do without TLS between them")
	fl.StringArrayVar(&f.set, "set", nil, "a setting of every node, such as Data.CatchUpBytes=1: docs/settings.md has them")
	fl.BoolVar(&f.local.FailpointProgram, "failpoint-program", false, "the program is of make failpoint-build: its wall clocks can be set wrong")
}

// ground is where the run is made; what it writes goes into dir.
func (f *localFlags) ground(dir string) (jepsen.Ground, error) {
	program, err := filepath.Abs(f.program)
	if err != nil {
		return nil, err
	}
	o := f.local
	o.Program, o.Dir, o.Spares, o.Seed = program, dir, 2, f.o.Seed
	if o.Sections, err = f.o.Sections(); err != nil {
		return nil, err
	}
	if err := merge(&o, f.set); err != nil {
		return nil, err
	}
	return jepsen.NewLocal(o)
}

// merge gives the nodes settings beside what else they have: SECTION.KEY=VALUE, where a value that is no JSON is text.
func merge(o *jepsen.LocalOptions, settings []string) error {
	for _, s := range settings {
		path, text, ok := strings.Cut(s, "=")
		section, key, nested := strings.Cut(path, ".")
		if !ok || !nested || section == "" || key == "" {
			return fmt.Errorf("--set %q is not SECTION.KEY=VALUE", s)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		o.Set(section, key, value)
	}
	return nil
}

func localCommand() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use: "local", Short: "Run a cluster on this machine",
		Long: `Run a cluster on this machine. As root, each node is in a network namespace of its own, and all that is
between them passes through this program; nothing of it has a name, and nothing is left when the program ends, whichever
way. Without being root, a user namespace may do: unshare --user --map-root-user jepsen local. Else nodes are on
loopback, with proxies between them. The first lines say which.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "jepsen-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			ground, err := f.ground(dir)
			if err != nil {
				return err
			}
			return f.run(cmd, ground)
		},
	}
	f.add(cmd)
	return cmd
}

func listCommand() *cobra.Command {
	var markdown bool
	cmd := &cobra.Command{
		Use: "list", Short: "Print the workloads and the nemeses there are",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if markdown {
				_, err := io.WriteString(cmd.OutOrStdout(), nemesisTable())
				return err
			}
			return list(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "the nemeses as docs/chaos.md has them")
	return cmd
}

func list(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WORKLOAD")
	for _, name := range jepsen.Workloads() {
		fmt.Fprintln(w, name)
	}
	fmt.Fprintln(w, "\nNEMESIS\tNEEDS\tWHAT IT DOES")
	for _, n := range jepsen.Nemeses() {
		fmt.Fprintf(w, "%s\t%s\t%s\n", n.Name, needs(&n), n.About)
	}
	return w.Flush()
}

// nemesisTable writes what docs/chaos.md says of nemeses.
func nemesisTable() string {
	text := "| nemesis | what it does | needs |\n| --- | --- | --- |\n"
	for _, n := range jepsen.Nemeses() {
		text += fmt.Sprintf("| `%s` | %s | %s |\n", n.Name, n.About, needs(&n))
	}
	return text
}

func needs(n *jepsen.Nemesis) string {
	var needs []string
	for _, c := range n.Needs {
		needs = append(needs, string(c))
	}
	return cmp.Or(strings.Join(needs, ", "), "-")
}

// run makes one run, and saves it.
func (f *runFlags) run(cmd *cobra.Command, ground jepsen.Ground) error {
	res, err := f.make(cmd, ground, func(ctx context.Context, o jepsen.Options) (*jepsen.Result, error) {
		return jepsen.Execute(ctx, ground, o)
	})
	if err == nil && res.Err != nil {
		err = fmt.Errorf("%w: %w", errWrong, res.Err)
	}
	return err
}

// make makes a run as execute does, saves it, and closes the ground.
func (f *runFlags) make(cmd *cobra.Command, ground jepsen.Ground, execute func(context.Context, jepsen.Options) (*jepsen.Result, error)) (res *jepsen.Result, err error) {
	ctx := cmd.Context()
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, ground.Close(ending))
	}()
	out := cmd.OutOrStdout()
	began := time.Now()
	f.o.Log = func(format string, args ...any) {
		fmt.Fprintf(out, "%7.2fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	for _, line := range ground.Means() {
		fmt.Fprintln(out, line)
	}
	res, err = execute(ctx, f.o)
	if err != nil {
		return nil, err
	}
	dir := f.out
	if dir == "" {
		dir = filepath.Join("jepsen-runs", began.Format("20060102-150405"))
	}
	if err := res.Save(ctx, dir, ground, f.o, os.Args); err != nil {
		return nil, err
	}
	for i := range res.Verdict {
		fmt.Fprintln(out, res.Verdict[i].String())
	}
	fmt.Fprintf(out, "%d operations; %s has history, report and logs\n", len(res.History.Ops), dir)
	return res, nil
}
