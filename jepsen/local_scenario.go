package jepsen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What only processes of this machine can be made to do; a [Ground] that can has the methods.
const (
	Programs    Capability = "other programs"          // programmer
	Descriptors Capability = "few descriptors"         // limiter
	Beside      Capability = "commands on a directory" // commander
)

type programmer interface {
	// Use has a machine run a variant of the program from its next start on; "": the program again.
	Use(machine, variant string) error
}

type limiter interface {
	// LimitFiles bounds the descriptors that a machine's node may have open, those that it has included.
	LimitFiles(machine string, most uint64) error
}

type commander interface {
	// Command runs "confman" with args on a machine whose node does not run, with its configuration, and returns its standard output.
	Command(ctx context.Context, machine string, args ...string) ([]byte, error)
}

// programs are what machines run that are not what all run.
type programs struct {
	mu    sync.Mutex
	paths map[string]string
}

func (l *Local) program(machine string) string {
	l.programs.mu.Lock()
	defer l.programs.mu.Unlock()
	if path, ok := l.programs.paths[machine]; ok {
		return path
	}
	return l.o.Program
}

// Use is part of programmer.
func (l *Local) Use(machine, variant string) error {
	l.programs.mu.Lock()
	defer l.programs.mu.Unlock()
	if variant == "" {
		delete(l.programs.paths, machine)
		return nil
	}
	path, ok := l.o.Variants[variant]
	if !ok {
		return fmt.Errorf("jepsen: the program %q was not built", variant)
	}
	if l.programs.paths == nil {
		l.programs.paths = map[string]string{}
	}
	l.programs.paths[machine] = path
	return nil
}

// LimitFiles is part of limiter.
func (l *Local) LimitFiles(machine string, most uint64) error {
	return l.procs[machine].limitFiles(most)
}

// limitFiles bounds the descriptors of the process, if it runs. What is open stays open.
func (p *process) limitFiles(most uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return errors.New("it does not run")
	}
	var had unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &had); err != nil {
		return fmt.Errorf("prlimit: %w", err)
	}
	to := unix.Rlimit{Cur: min(most, had.Max), Max: had.Max}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &to, nil); err != nil {
		return fmt.Errorf("prlimit: %w", err)
	}
	return nil
}

// Command is part of commander.
func (l *Local) Command(ctx context.Context, machine string, args ...string) ([]byte, error) {
	if l.Runs(machine) {
		return nil, errRuns
	}
	cmd := exec.CommandContext(ctx, l.program(machine), append(args, "--config", l.path(machine, ".json"))...) //nolint:gosec // the program under test
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := l.threads[machine].do(cmd.Start) // which sees the machine's disk
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("confman %s: %w: %s", strings.Join(args, " "), err, failure.Bytes())
	}
	return out.Bytes(), err
}
