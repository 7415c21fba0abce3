package jepsen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/confman/confman/jepsen/tunnet"
)

// process is one node's process on this machine, whether it runs or not.
type process struct {
	log string // what it writes, over all its lives

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended, with err
	err   error
}

var errRuns = errors.New("it runs already")

// start runs a command line. launch starts it: on a thread that outlives it, since the kernel ends the process with
// the thread that started it.
func (p *process) start(line, env []string, launch func(*exec.Cmd) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		return errRuns
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(line[0], line[1:]...) //nolint:gosec // the program under test
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := launch(cmd); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.cmd, p.ended, p.err = cmd, ended, nil
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

// runs needs mu.
func (p *process) runs() bool {
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs()
}

// pid is 0 if the process does not run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return 0
	}
	return p.cmd.Process.Pid
}

var signals = map[Signal]syscall.Signal{
	Kill: syscall.SIGKILL, Terminate: syscall.SIGTERM, Stop: syscall.SIGSTOP, Continue: syscall.SIGCONT,
}

func (p *process) signal(s Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return nil
	}
	err := syscall.Kill(-p.cmd.Process.Pid, signals[s])
	if errors.Is(err, syscall.ESRCH) {
		return nil // it ended just now
	}
	return err
}

// wait returns how the process ended; nil too if it never ran.
func (p *process) wait(ctx context.Context) error {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for the process to end: %w", ctx.Err())
	case <-ended:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// thread runs functions on one thread of the operating system, in order, until it is closed.
type thread struct {
	work chan func()
	once sync.Once // closed
}

// newThread makes a thread, on which enter runs first.
func newThread(enter func() error) (*thread, error) {
	t := &thread{work: make(chan func())}
	entered := make(chan error)
	tunnet.Go(func() {
		err := enter()
		entered <- err
		if err != nil {
			return
		}
		for do := range t.work {
			do()
		}
	})
	return t, <-entered
}

// do runs f on the thread, and waits for it.
func (t *thread) do(f func() error) error {
	done := make(chan error)
	t.work <- func() { done <- f() }
	return <-done
}

// close ends the thread, and what it started with it.
func (t *thread) close() { t.once.Do(func() { close(t.work) }) }
