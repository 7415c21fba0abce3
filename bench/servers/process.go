// Package servers starts what is measured: processes on loopback, with data on a disk.
package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// StopTime is how long a process may take to stop in order before it is killed.
	StopTime = 30 * time.Second
	// ReadyTime is how long a cluster may take until it answers.
	ReadyTime = 60 * time.Second
	// pollTime is the time between two looks at whether a node answers.
	pollTime = 2 * time.Millisecond
)

// Process is one node's process, whether it runs or not.
type Process struct {
	line []string
	env  []string // beside this process's own, less what configures what is measured
	log  string   // what it writes, over all its lives

	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

// spawner is a thread that lives as long as this process: the kernel kills processes with the thread that started them.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// Start starts the process.
func (p *Process) Start() error {
	if p.Runs() {
		return errors.New("bench: it runs already")
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.line[0], p.line[1:]...) //nolint:gosec // what is measured
	for _, v := range os.Environ() {
		// Default settings: what is set for a developer's own nodes is not for these.
		if !strings.HasPrefix(v, "CONFMAN_") && !strings.HasPrefix(v, "ETCD") && !strings.HasPrefix(v, "GOGC=") && !strings.HasPrefix(v, "GOMEMLIMIT=") && !strings.HasPrefix(v, "GOMAXPROCS=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, p.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// Ctrl-C goes to this process alone, which then ends them.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	spawner() <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	ended := make(chan struct{})
	p.ended = ended
	cmd := p.cmd
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}()
	return nil
}

// Runs says whether it does.
func (p *Process) Runs() bool {
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

// PID is that of a process that was started.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop has the process stop in order, and waits for that.
func (p *Process) Stop() error {
	if !p.Runs() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it fails if it has just ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(StopTime):
		p.Kill()
		return fmt.Errorf("%s did not stop within %s and was killed: %s", p.line[0], StopTime, p.log)
	}
}

// Kill kills the process, and waits for its end.
func (p *Process) Kill() {
	if p.Runs() {
		_ = p.cmd.Process.Kill() // as above
		<-p.ended
	}
}

// tail is the end of what the process wrote, for errors.
func (p *Process) tail() string {
	const size = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-size):])
}

// freePorts finds ports of loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are found, so that none is found twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// await asks until the answer is yes, or an error, or the process has ended.
func await(ctx context.Context, p *Process, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, ReadyTime)
	defer cancel()
	poll := time.NewTicker(pollTime)
	defer poll.Stop()
	for {
		ok, err := ask(ctx)
		if ok {
			return nil
		}
		if !p.Runs() {
			return fmt.Errorf("%s: the process ended, and wrote last:\n%s", what, p.tail())
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: %w; it wrote last:\n%s", what, ctx.Err(), p.tail()), err)
		case <-poll.C:
		}
	}
}
