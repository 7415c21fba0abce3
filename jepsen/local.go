package jepsen

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// LocalOptions say what runs on this machine.
type LocalOptions struct {
	Program string // confman's
	Dir     string // of configurations, logs and data: it must exist and be empty
	Nodes   int    // that form the cluster (default 3)
	Spares  int    // machines beside, for members that come later
	// Sections are added to each node's configuration, as docs/settings.md has them.
	Sections map[string]any
	// Env is added to each process's environment.
	Env []string
}

// Local is a ground of processes on this machine's loopback.
type Local struct {
	o        LocalOptions
	machines []Machine
	procs    map[string]*process
	starter  *thread
}

// errNotHere is why Local cannot make a fault.
var errNotHere = errors.New("not with processes on loopback alone")

// NewLocal writes the nodes' configurations; none runs yet.
func NewLocal(o LocalOptions) (*Local, error) {
	o.Nodes = cmp.Or(o.Nodes, 3)
	starter, err := newThread(func() error { return nil })
	if err != nil {
		return nil, err
	}
	l := &Local{o: o, procs: map[string]*process{}, starter: starter}
	ports, err := freePorts(2 * (o.Nodes + o.Spares))
	if err != nil {
		return nil, err
	}
	for i := range o.Nodes + o.Spares {
		m := Machine{Name: fmt.Sprintf("node%d", i+1), Spare: i >= o.Nodes, Address: "127.0.0.1", APIPort: ports[2*i], RaftPort: ports[2*i+1]}
		m.URL = fmt.Sprintf("http://127.0.0.1:%d", m.APIPort)
		l.machines = append(l.machines, m)
		l.procs[m.Name] = &process{log: l.path(m.Name, ".log")}
	}
	for _, m := range l.machines {
		if err := l.configure(m); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *Local) path(machine, ext string) string { return filepath.Join(l.o.Dir, machine+ext) }

// configure writes a machine's configuration; a spare's has only itself.
func (l *Local) configure(m Machine) error {
	var nodes []map[string]any
	for _, x := range l.machines {
		if x.Name == m.Name || !x.Spare && !m.Spare {
			nodes = append(nodes, map[string]any{"Id": x.Name, "Address": x.Address, "ApiPort": x.APIPort, "RaftPort": x.RaftPort})
		}
	}
	all := map[string]any{
		"Cluster": map[string]any{"NodeId": m.Name, "Nodes": nodes},
		"Raft":    map[string]any{"PlainText": true},
		"Data":    map[string]any{"Dir": l.path(m.Name, ".data")},
		"Log":     map[string]any{"Format": "text"},
	}
	maps.Copy(all, l.o.Sections)
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(l.path(m.Name, ".json"), append(text, '\n'), 0o600)
}

// The ports are below those that the kernel gives connections: none is taken while its node is down.
const firstPort, lastPort = 20_000, 32_000

// freePorts finds ports that nobody listens on. Processes that run side by side begin at different places.
func freePorts(n int) (ports []int, err error) {
	for i, at := 0, os.Getpid()*37; len(ports) < n && i < lastPort-firstPort; i++ {
		port := firstPort + (at+i)%(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("jepsen: no %d free ports on loopback", n)
	}
	return ports, nil
}

// Means is part of Ground.
func (l *Local) Means() []string {
	return []string{"processes on loopback: they are killed and stopped, nothing else is broken"}
}

// Can is part of Ground.
func (l *Local) Can(c Capability) error {
	if c == Spares && l.o.Spares >= 2 {
		return nil
	}
	return fmt.Errorf("%s: %w", c, errNotHere)
}

// Machines is part of Ground.
func (l *Local) Machines() []Machine { return l.machines }

// Dial is part of Ground.
func (l *Local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// Start is part of Ground.
func (l *Local) Start(_ context.Context, machine string, args ...string) error {
	line := append([]string{l.o.Program, "serve", "--config", l.path(machine, ".json")}, args...)
	return l.procs[machine].start(line, l.o.Env, func(cmd *exec.Cmd) error { return l.starter.do(cmd.Start) })
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
	for _, c := range links {
		if c != (Condition{}) {
			return l.Can(Cuts)
		}
	}
	return nil
}

// SetDisk is part of Ground.
func (l *Local) SetDisk(_ context.Context, _ string, d DiskState) error {
	if d != (DiskState{}) {
		return l.Can(DiskFaults)
	}
	return nil
}

// LosePower is part of Ground.
func (l *Local) LosePower(context.Context, ...string) error { return l.Can(PowerLoss) }

// Damage is part of Ground.
func (l *Local) Damage(context.Context, string, Damage) (string, error) { return "", l.Can(Damages) }

// SetClock is part of Ground.
func (l *Local) SetClock(context.Context, string, Clock) error { return l.Can(Clocks) }

// Confman is part of Ground.
func (l *Local) Confman(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, l.o.Program, args...) //nolint:gosec // the program under test
	var urls []string
	for _, m := range l.machines {
		urls = append(urls, m.URL)
	}
	cmd.Env = append(os.Environ(), "CONFMAN_ENDPOINTS="+strings.Join(urls, ","))
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("confman %s: %w: %s", strings.Join(args, " "), err, failed.Stderr)
	}
	return out, err
}

// Collect is part of Ground.
func (l *Local) Collect(_ context.Context, dir string) error {
	for _, m := range l.machines {
		for _, ext := range []string{".json", ".log"} {
			if err := copyFile(filepath.Join(dir, m.Name+ext), l.path(m.Name, ext)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Close is part of Ground.
func (l *Local) Close(ctx context.Context) error {
	var errs []error
	for _, m := range l.machines {
		errs = append(errs, l.procs[m.Name].signal(Kill))
	}
	for _, m := range l.machines {
		_ = l.procs[m.Name].wait(ctx) // how it ended is known
	}
	l.starter.close()
	return errors.Join(errs...)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
