package jepsen

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// LocalOptions say what runs on this machine.
type LocalOptions struct {
	Program string // confman's
	Dir     string // of configurations, logs and data: it must exist and be empty
	Nodes   int    // that form the cluster (default 3)
	Spares  int    // machines beside, for members that come later
	// Sections are added to each node's configuration, as docs/settings.md has them: to a section that it has anyway, the keys.
	Sections map[string]any
	// Env is added to each process's environment, and what EnvOf (nil: nothing) says when a machine's node starts.
	Env   []string
	EnvOf func(machine string) []string
	// FailpointProgram: Program is of make failpoint-build, and its clocks can be set.
	FailpointProgram bool
	// Loopback has proxies on loopback break the network also where there could be network namespaces.
	Loopback bool
	// PlainText has the nodes do without TLS between them: a little faster, and less like production.
	PlainText bool
	// PlainDisk has the data on this machine's own file system also where it could be on one that fails on demand: faster.
	PlainDisk bool
	// Seed decides which packets are hit, and what is left when power is lost.
	Seed uint64
	// Variants are other programs that a machine can be given, by name: see Local.Use.
	Variants map[string]string
}

// MaxLocalMachines bounds the machines of a Local.
const MaxLocalMachines = 16

// Local is a ground of processes on this machine, each node in a network namespace, or else on loopback.
type Local struct {
	o        LocalOptions
	machines []Machine
	procs    map[string]*process
	net      network
	disks    *localDisks
	threads  map[string]*thread // of each machine and of Clients: they start its processes
	programs                    // that machines run instead of LocalOptions.Program
	beside   []net.Listener
}

// errNotHere is why Local cannot make a fault.
var errNotHere = errors.New("not on this machine")

// NewLocal writes the nodes' configurations; none runs yet.
func NewLocal(o LocalOptions) (_ *Local, err error) {
	o.Nodes = cmp.Or(o.Nodes, 3)
	if n := o.Nodes + o.Spares; n > MaxLocalMachines {
		return nil, fmt.Errorf("jepsen: %d machines, and this one has room for %d", n, MaxLocalMachines)
	}
	l := &Local{o: o, procs: map[string]*process{}, threads: map[string]*thread{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(context.Background()))
		}
	}()
	for i := range o.Nodes + o.Spares {
		l.procs[machineName(i)] = &process{log: l.path(machineName(i), ".log")}
	}
	if l.net, err = newNetwork(o, func(machine string) int { return l.procs[machine].pid() }); err != nil {
		return nil, err
	}
	if l.threads[Clients], err = l.net.thread(Clients); err != nil {
		return nil, err
	}
	for i := range o.Nodes + o.Spares {
		m := Machine{Name: machineName(i), Spare: i >= o.Nodes}
		if err := l.net.place(i, &m); err != nil {
			return nil, err
		}
		if l.threads[m.Name], err = l.net.thread(m.Name); err != nil {
			return nil, err
		}
		l.machines = append(l.machines, m)
	}
	if err := l.newDisks(); err != nil {
		return nil, err
	}
	if err := l.certify(); err != nil {
		return nil, err
	}
	for _, m := range l.machines {
		if err := l.configure(m); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func machineName(i int) string { return fmt.Sprintf("node%d", i+1) }

func (l *Local) path(machine, ext string) string { return filepath.Join(l.o.Dir, machine+ext) }

// configure writes a machine's configuration.
func (l *Local) configure(m Machine) error {
	seen := func(x Machine) Machine { return l.net.seen(m, x) }
	text, err := nodeConfig(l.machines, m, seen, l.path(m.Name, ".data"), l.raftSection(m), l.o.Sections)
	if err != nil {
		return err
	}
	return os.WriteFile(l.path(m.Name, ".json"), text, 0o600)
}

// Means is part of Ground.
func (l *Local) Means() []string {
	return append(append([]string{"processes on this machine"}, l.net.means()...), l.disks.means())
}

// Can is part of Ground.
func (l *Local) Can(c Capability) error {
	err := errNotHere
	switch c {
	case Clocks:
		if l.o.FailpointProgram {
			err = nil
		}
	case Spares:
		if l.o.Spares >= 2 {
			err = nil
		}
	case DiskFaults, DiskSizes, PowerLoss, Damages, LostDisks:
		err = l.disks.can(c)
	default:
		err = l.net.can(c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// Machines is part of Ground.
func (l *Local) Machines() []Machine { return l.machines }

// Dial is part of Ground.
func (l *Local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.net.dial(ctx, network, address)
}

// Start is part of Ground.
func (l *Local) Start(_ context.Context, machine string, args ...string) error {
	line := append([]string{l.program(machine), "serve", "--config", l.path(machine, ".json")}, args...)
	d := l.disks.byName[machine]
	d.mu.Lock()
	defer d.mu.Unlock()
	if !l.Runs(machine) {
		if err := d.ready(); err != nil {
			return err
		}
	}
	return l.procs[machine].start(line, l.env(machine), func(cmd *exec.Cmd) error { return l.threads[machine].do(cmd.Start) })
}

// Signal is part of Ground.
func (l *Local) Signal(_ context.Context, machine string, s Signal) error {
	return l.procs[machine].signal(s)
}

// Runs is part of Ground.
func (l *Local) Runs(machine string) bool { return l.procs[machine].alive() }

// Ended is part of Ground.
func (l *Local) Ended(ctx context.Context, machine string) error { return l.procs[machine].wait(ctx) }

// SetLinks is part of Ground.
func (l *Local) SetLinks(_ context.Context, links map[Link]Condition) error {
	return l.net.setLinks(links)
}

// Confman is part of Ground.
func (l *Local) Confman(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, l.o.Program, args...) //nolint:gosec // the program under test
	cmd.Env = append(os.Environ(), "CONFMAN_ENDPOINTS="+endpoints(l.machines))
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := l.threads[Clients].do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("confman %s: %w: %s", strings.Join(args, " "), err, failure.Bytes())
	}
	return out.Bytes(), err
}

func endpoints(machines []Machine) string {
	var urls []string
	for _, m := range machines {
		urls = append(urls, m.URL)
	}
	return strings.Join(urls, ",")
}

// Collect is part of Ground.
func (l *Local) Collect(_ context.Context, dir string) error {
	for _, m := range l.machines {
		for _, ext := range []string{".json", ".log", diskLog} {
			if err := copyFile(filepath.Join(dir, m.Name+ext), l.path(m.Name, ext)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return writeTo(filepath.Join(dir, "network.txt"), func(w io.Writer) error { return writePackets(w, l.Packets()) })
}

// Close is part of Ground.
func (l *Local) Close(ctx context.Context) error {
	var errs []error
	for _, m := range l.machines {
		errs = append(errs, l.procs[m.Name].signal(Kill))
	}
	if l.disks != nil {
		l.disks.ending()
	}
	for _, m := range l.machines {
		_ = l.procs[m.Name].wait(ctx) // how it ended is known
	}
	if l.disks != nil {
		errs = append(errs, l.disks.close())
	}
	for _, b := range l.beside {
		errs = append(errs, b.Close())
	}
	for _, t := range l.threads {
		t.close()
	}
	if l.net != nil {
		errs = append(errs, l.net.close())
	}
	return errors.Join(errs...)
}

// ListenBeside is part of neighbour.
func (l *Local) ListenBeside(address string) ([]net.Listener, error) {
	_, apart := l.net.(*namespaces)
	for _, m := range l.machines {
		err := l.threads[m.Name].do(func() error {
			b, err := net.Listen("tcp", address) // in the namespace of the thread
			if err == nil {
				l.beside = append(l.beside, b)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if !apart {
			break // all have one loopback
		}
	}
	return l.beside, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from) //nolint:gosec // the caller's
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to) //nolint:gosec // the caller's
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
