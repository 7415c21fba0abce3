package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/planted"
)

const (
	// brokenDir is where the broken builds are, mutantsDir where those of the simulator are, below the module's root.
	brokenDir  = "jepsen/broken"
	mutantsDir = "sim/mutants"
)

// brokenTime is how long a run lasts that does not say so: long enough for several faults, and short, since most are caught
// at the first.
const brokenTime = 20 * time.Second

// brokenIn are the directories in which a bug may be planted: code that ships.
var brokenIn = []string{"auth/", "cmd/confman/", "fsm/", "httpapi/", "node/", "transport/", "wal/"}

// brokenBuild is one bug that is planted in the program: a unified diff behind a header of such lines:
//
//	# breaks: what the program does wrong
//	# promise: what users lose by it
//	# judges: linearizability, split-brain
//	# run: --workload register --nemesis kill-leader
//	# plants: vote-not-persisted
//
// judges are those that are meant to catch it: one of another name caught it by accident. run are flags of "jepsen local", with which
// it shows quickly; --set Data.CatchUpBytes=1 has nodes take images. plants, in place of a diff, is a patch of the simulator's: the same bug.
type brokenBuild struct {
	planted.Patch
	breaks  string
	promise string
	judges  []string
	run     string
	plants  string
}

// loadBroken reads all broken builds below root, in order of name. It reports all that is wrong with any of them.
func loadBroken(root string) (all []brokenBuild, err error) {
	err = planted.Load(filepath.Join(root, brokenDir), func(name string, text []byte) error {
		b, err := parseBroken(root, name, text)
		all = append(all, b)
		return err
	})
	return all, err
}

func parseBroken(root, name string, text []byte) (b brokenBuild, err error) {
	if b.Patch, err = planted.Parse(name, text, b.header); err != nil {
		return b, err
	}
	if b.plants != "" {
		if len(b.Files) > 0 {
			return b, errors.New("it plants a patch of the simulator's, and has a diff")
		}
		text, err := os.ReadFile(filepath.Join(root, mutantsDir, b.plants+planted.Suffix)) //nolint:gosec // the sources' own patches
		if err != nil {
			return b, err
		}
		if b.Patch, err = planted.Parse(name, text, func(string, string) error { return nil }); err != nil {
			return b, err
		}
	}
	if b.breaks == "" || b.promise == "" || len(b.judges) == 0 || b.run == "" {
		return b, errors.New("the header needs breaks, promise, judges and run")
	}
	if _, err := b.flags(); err != nil {
		return b, fmt.Errorf("run: %w", err)
	}
	return b, b.Within(brokenIn)
}

func (b *brokenBuild) header(key, value string) error {
	switch key {
	case "breaks":
		b.breaks = value
	case "promise":
		b.promise = value
	case "judges":
		b.judges = strings.Split(value, ", ")
	case "run":
		b.run = value
	case "plants":
		b.plants = value
	default:
		return planted.ErrKey
	}
	return nil
}

// flags are what run says.
func (b *brokenBuild) flags() (localFlags, error) {
	var f localFlags
	cmd := &cobra.Command{}
	f.add(cmd)
	if err := cmd.ParseFlags(strings.Fields(b.run)); err != nil {
		return f, err
	}
	if left := cmd.Flags().Args(); len(left) > 0 {
		return f, fmt.Errorf("%q is no flag", left)
	}
	if !cmd.Flags().Changed("time") {
		f.o.Time = brokenTime
	}
	for _, flag := range []string{"seed", "out", "program"} {
		if cmd.Flags().Changed(flag) {
			return f, fmt.Errorf("--%s is not its own to say", flag)
		}
	}
	return f, nil
}

// build compiles the program with b planted in it, into dir; nil: with nothing.
func (b *brokenBuild) build(ctx context.Context, root, dir string) (string, error) {
	var overlay map[string]string
	if b != nil {
		var err error
		if overlay, err = b.Apply(ctx, root, dir); err != nil {
			return "", err
		}
	}
	return planted.Build(ctx, root, dir, "./cmd/confman", overlay)
}

// chosenOf are those that are named; all, if none is.
func chosenOf(all []brokenBuild, names []string) ([]brokenBuild, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []brokenBuild
	for _, name := range names {
		i := slices.IndexFunc(all, func(b brokenBuild) bool { return b.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s", filepath.Join(brokenDir, name+planted.Suffix))
		}
		out = append(out, all[i])
	}
	return out, nil
}
