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
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Run the worlds that are given on standard input",
		Hidden: true,
		Args:   arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
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

// worker is a process that runs worlds.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
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
	return &worker{cmd: cmd, in: in, out: json.NewDecoder(out)}, cmd.Start()
}

// run has the process run a world. After an error it is of no more use.
func (w *worker) run(o sim.Options) (v verdict, err error) {
	line, err := json.Marshal(o)
	if err != nil {
		return v, err
	}
	if _, err := fmt.Fprintf(w.in, "%s\n", line); err != nil {
		return v, fmt.Errorf("worker, before %s: %w", o.Replay(), err)
	}
	if err := w.out.Decode(&v); err != nil {
		return v, fmt.Errorf("worker died of %s: %w", o.Replay(), err)
	}
	return v, nil
}

// stop ends the process when it has run what it was given.
func (w *worker) stop() error { return errors.Join(w.in.Close(), w.cmd.Wait()) }
