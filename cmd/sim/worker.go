package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

// Each worker runs one world at a time, since crypto/rand.Reader is a process's:
// it reads worlds from its standard input, a line each, and answers each with a verdict.

// verdict is what a worker says of a world: one line of JSON.
type verdict struct {
	Seed       uint64            `json:"seed"`
	Virtual    time.Duration     `json:"virtual"`
	Fired      map[string]uint64 `json:"fired"`
	Trouble    string            `json:"trouble,omitempty"` // the world could not be run
	*sim.Found                   // nil: the world is as it should be
}

func workerCommand() *cobra.Command {
	var world worldFlags
	var profile string
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Run the worlds that are given on standard input",
		Hidden: true,
		Args:   arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			stop, err := startProfile(profile)
			if err != nil {
				return err
			}
			defer stop()
			in := bufio.NewScanner(cmd.InOrStdin())
			enc := json.NewEncoder(cmd.OutOrStdout())
			for in.Scan() {
				o, err := world.line(in.Bytes())
				if err != nil {
					return err
				}
				if err := enc.Encode(judge(o)); err != nil {
					return err
				}
			}
			return in.Err()
		},
	}
	world.add(cmd)
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile of all worlds to this file")
	return cmd
}

// line reads a world: the options of one as JSON, or a seed for the flags.
func (f *worldFlags) line(text []byte) (sim.Options, error) {
	if seed, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return f.options(seed)
	}
	var o sim.Options
	if err := json.Unmarshal(text, &o); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

func judge(o sim.Options) verdict {
	result, err := sim.Run(o)
	v := verdict{Seed: o.Seed, Virtual: result.Virtual, Fired: result.Fired}
	var failure *sim.Failure
	switch {
	case errors.As(err, &failure):
		found := sim.NewFound(o, &result, failure)
		v.Found = &found
	case err != nil:
		v.Trouble = err.Error()
	}
	return v
}

// hangTime and the time that a world simulates bound the real time it may take. Worlds
// are many times faster than that, so one that is not never ends; the judges at
// its end may take minutes.
const hangTime = 15 * time.Minute

// worker is a process that runs worlds.
type worker struct {
	hang time.Duration // hangTime, but in tests
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
}

func startWorker() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "worker") //nolint:gosec // this program itself
	// Worlds are single threads; two let the collector and the judges run beside.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "GOGC=400")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &worker{hang: hangTime, cmd: cmd, in: in, out: json.NewDecoder(out)}, cmd.Start()
}

// run has the process run a world. After an error it is of no more use.
func (w *worker) run(o sim.Options) (v verdict, err error) {
	line, err := json.Marshal(o)
	if err != nil {
		return v, err
	}
	limit := w.hang + o.Time
	watch := time.AfterFunc(limit, func() { _ = w.cmd.Process.Kill() })
	_, err = fmt.Fprintf(w.in, "%s\n", line)
	if err == nil {
		err = w.out.Decode(&v)
	}
	switch inTime := watch.Stop(); {
	case err != nil && !inTime:
		return v, fmt.Errorf("a world was killed after %v: it does not end\n%s", limit, o.Replay())
	case err != nil:
		return v, fmt.Errorf("a world's process died: %w\n%s", err, o.Replay())
	}
	return v, nil
}

// stop ends the process when it has run what it was given.
func (w *worker) stop() error { return errors.Join(w.in.Close(), w.cmd.Wait()) }
