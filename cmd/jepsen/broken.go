package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
	"github.com/confman/confman/planted"
)

// errNotCaught: a broken build is not caught as it should be, or a sound one is.
var errNotCaught = errors.New("the harness does not judge as it should")

// breaker runs broken builds.
type breaker struct {
	root   string // of the module
	dir    string // temporary, for all that is built and run
	save   string // for runs that went another way than they should
	tries  int
	out    io.Writer
	says   bool // all that happens in a run
	sound  string
	passed map[string]error // of the sound build: by run and seed, what is wrong
	// once makes one run of a build.
	once func(ctx context.Context, build *brokenBuild, program string, seed uint64, name string, asItShould func(*jepsen.Result) bool) (*jepsen.Result, error)
}

// soundName is what the program is called that has no planted bug.
const soundName = "sound"

// caught is what became of one broken build.
type caught struct {
	build brokenBuild
	wrong []jepsen.Wrong // by which it was caught: by one of each judge that its patch names, else by one of another
	tries int            // that it took, or was given in vain
	after time.Duration  // that clients asked until it was caught, over all tries
	err   error          // why it is not caught as it should be
}

func brokenCommand() *cobra.Command {
	var b breaker
	var page string
	cmd := &cobra.Command{
		Use: "broken [NAME...]", Short: "Build the program with known bugs, and demand that each is caught",
		Long: "Each patch of " + brokenDir + " is laid over the sources, and the program that is built so runs on this machine until a judge\n" +
			"complains that the patch names. The program without the patch must pass the same run. It needs the sources, Go and git.",
		RunE: func(cmd *cobra.Command, names []string) error {
			b.out = cmd.OutOrStdout()
			return b.run(cmd.Context(), names, page)
		},
	}
	cmd.Flags().IntVar(&b.tries, "tries", 4, "runs, with seeds from 1 on, within which each must be caught")
	cmd.Flags().StringVar(&page, "page", "", "write what came of it into this file, as Markdown; rows of builds that were not run stay")
	cmd.Flags().StringVar(&b.save, "save", "jepsen-runs", "directory for runs that went another way than they should")
	cmd.Flags().BoolVarP(&b.says, "verbose", "v", false, "print what happens in each run")
	return cmd
}

func (b *breaker) run(ctx context.Context, names []string, page string) (err error) {
	if b.root, err = planted.ModuleRoot(ctx); err != nil {
		return err
	}
	all, err := loadBroken(b.root)
	if err != nil {
		return err
	}
	chosen, err := chosenOf(all, names)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "jepsen-broken-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.passed, b.once = map[string]error{}, b.execute
	if b.sound, err = b.compile(ctx, nil); err != nil {
		return err
	}
	var t brokenTable
	for i := range chosen {
		c := b.judge(ctx, chosen[i])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.rows = append(t.rows, c)
		fmt.Fprintln(b.out, c.line())
		if page != "" {
			if err := t.write(page, all); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(b.out, "%d of %d are caught as they should be; the program without a planted bug passed %d runs\n", t.caught(), len(t.rows), len(b.passed))
	return t.err()
}

// compile builds the program with a bug; nil: without.
func (b *breaker) compile(ctx context.Context, build *brokenBuild) (string, error) {
	name := soundName
	if build != nil {
		name = build.Name
	}
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return build.build(ctx, b.root, dir)
}

// judge builds a broken build, and hunts it.
func (b *breaker) judge(ctx context.Context, build brokenBuild) (c caught) {
	c.build = build
	program, err := b.compile(ctx, &build)
	if err != nil {
		c.err = err
		return c
	}
	defer os.RemoveAll(filepath.Dir(program))
	return b.hunt(ctx, build, program)
}

// hunt runs a program with a bug, seed after seed, until it is caught.
func (b *breaker) hunt(ctx context.Context, build brokenBuild, program string) (c caught) {
	c.build = build
	for seed := uint64(1); seed <= uint64(b.tries); seed++ {
		c.tries = int(seed)
		res, err := b.once(ctx, &build, program, seed, build.Name, func(res *jepsen.Result) bool {
			named, _ := build.found(res)
			return len(named) > 0
		})
		if err != nil {
			c.err = fmt.Errorf("seed %d: %w", seed, err)
			return c
		}
		c.after += res.After
		deserved, other := build.found(res)
		switch {
		case len(deserved) > 0:
			c.wrong = deserved
			if err := b.passes(ctx, &build, seed); err != nil {
				c.err = fmt.Errorf("seed %d fails without it too: %w", seed, err)
			}
			return c
		case len(other) > 0:
			c.wrong = other[:1]
			c.err = fmt.Errorf("it is caught by accident: the judge is %q, its patch names %q", other[0].Judge, build.judges)
			return c
		}
	}
	c.err = errors.New("it is not caught")
	return c
}

// found is what was found by judges that the patch names, and by others.
func (b *brokenBuild) found(res *jepsen.Result) (deserved, other []jepsen.Wrong) {
	for _, w := range res.Wrong {
		if slices.Contains(b.judges, w.Judge) {
			deserved = append(deserved, w)
		} else {
			other = append(other, w)
		}
	}
	return deserved, other
}

// passes says what is wrong with the program without a bug in a run.
func (b *breaker) passes(ctx context.Context, build *brokenBuild, seed uint64) error {
	key := fmt.Sprintf("%s --seed %d", build.run, seed)
	err, known := b.passed[key]
	if known {
		return err
	}
	var res *jepsen.Result
	if res, err = b.once(ctx, build, b.sound, seed, soundName, func(res *jepsen.Result) bool { return res.Err == nil }); err == nil {
		err = res.Err
	}
	b.passed[key] = err
	return err
}

// execute makes one run of a build, and saves it unless it is as it should be.
func (b *breaker) execute(ctx context.Context, build *brokenBuild, program string, seed uint64, name string, asItShould func(*jepsen.Result) bool) (res *jepsen.Result, err error) {
	f, err := build.flags()
	if err != nil {
		return nil, err
	}
	f.program, f.o.Seed, f.o.EndsAtViolation = program, seed, true
	began := time.Now()
	f.o.Log = func(format string, args ...any) {
		if b.says {
			fmt.Fprintf(b.out, "%s %7.2fs  %s\n", name, time.Since(began).Seconds(), fmt.Sprintf(format, args...))
		}
	}
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ground, err := f.ground(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, ground.Close(ending))
	}()
	if res, err = jepsen.Execute(ctx, ground, f.o); err != nil {
		return nil, err
	}
	if !asItShould(res) {
		to := filepath.Join(b.save, fmt.Sprintf("%s-%s-%d", began.Format("20060102-150405"), name, seed))
		return res, res.Save(ctx, to, ground, f.o, append([]string{"jepsen", "broken", build.Name, "#", build.run}, fmt.Sprintf("--seed=%d", seed)))
	}
	return res, nil
}
