package jepsen

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sshScript does on each machine what is to be done there.
//
//go:embed ssh.sh
var sshScript []byte

const (
	// The program has some 20 MB, compressed.
	uploadTime = 5 * time.Minute
	// What is copied of a node's log: its end.
	maxCollected = 64 << 20
	// maxFilled bounds the disks that are filled: a disk of a machine's own has more.
	maxFilled = 4 << 30
	// A machine hears from the harness several times before it thinks it dead.
	beatsPerDeadMan = 6
)

// SSHOptions say what runs where.
type SSHOptions struct {
	Program   string // confman's, on this machine, for those machines and for this one
	Jepsen    string // the program that serves disks there: that of cmd/jepsen
	Inventory Inventory
	Sections  map[string]any // of the nodes' configuration, beside Inventory.Settings
	Seed      uint64         // decides what is left when power is lost
	// Log is told what people should know; nil: nobody is.
	Log func(format string, args ...any)
}

// SSH is a ground of machines that are reached over SSH.
//
// All that it does to a machine is in the inventory's directory and in an iptables chain of its own, and, if bandwidth or
// delays are broken, in a queueing discipline of a device that had the kernel's own. Each machine knows how to undo what
// was done to it, and does so when it does not hear from the harness.
type SSH struct {
	o        SSHOptions
	machines []Machine
	hosts    map[string]*sshNode
	certs    string // a directory, while machines are prepared
	iptables string // or ip6tables
	sequence atomic.Uint64
	stop     context.CancelFunc // of all that waits and beats
	beating  sync.WaitGroup
	closed   sync.Once

	links    sync.Mutex // held while links are set
	forwards []*sshForward
}

// sshNode is a machine and its node.
type sshNode struct {
	*sshHost
	Machine
	volume string // a file system of the node's own
	plain  string // why the disk is what it is there, and fails not; "": it is one that fails on demand
	seed   uint64 // of what is left when power is lost
	probed map[string][]string
	sshLinks

	mu     sync.Mutex
	ended  chan struct{} // closed when the node has ended, with err
	err    error
	counts diskAnswer // of the disk, when it was last asked
}

// NewSSH prepares all machines; no node runs yet. If it returns an error, it has undone what it did.
func NewSSH(ctx context.Context, o SSHOptions) (*SSH, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	s := &SSH{o: o, hosts: map[string]*sshNode{}, iptables: "iptables"}
	for i, m := range o.Inventory.Machines {
		host, err := newSSHHost(m.Name, m.SSH)
		if err != nil {
			return nil, err
		}
		if strings.Contains(m.Address, ":") {
			s.iptables = "ip6tables"
		}
		n := &sshNode{sshHost: host, volume: m.Disk, seed: o.Seed*maxMachines + uint64(i), sshLinks: sshLinks{known: true, shapes: map[string]sshShape{}}}
		n.Machine = Machine{
			Name: m.Name, Spare: m.Spare, Address: m.Address, APIPort: m.APIPort, RaftPort: m.RaftPort,
			URL: "http://" + net.JoinHostPort(m.Address, strconv.Itoa(m.APIPort)),
		}
		s.hosts[m.Name] = n
		s.machines = append(s.machines, n.Machine)
	}
	// Those that form the cluster come first.
	slices.SortStableFunc(s.machines, func(a, b Machine) int {
		switch {
		case a.Spare == b.Spare:
			return 0
		case a.Spare:
			return 1
		}
		return -1
	})
	programs := map[string][]byte{}
	for name, path := range map[string]string{"confman": o.Program, "jepsen": o.Jepsen} {
		var err error
		if programs[name], err = compressed(path); err != nil {
			return nil, err
		}
	}
	var err error
	if s.certs, err = os.MkdirTemp("", "jepsen-ssh-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.certs)
	if _, err := s.Confman(ctx, "cert", "init", "--dir", s.certs); err != nil {
		return nil, err
	}
	beats, stop := context.WithCancel(context.Background())
	s.stop = stop
	var mine sync.Map // machines that this run prepared
	err = s.each(func(n *sshNode) error {
		return s.prepare(ctx, beats, n, programs, func() { mine.Store(n.Machine.Name, true) })
	})
	if err == nil {
		return s, nil
	}
	stop()
	s.beating.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTime)
	defer cancel()
	err = errors.Join(err, s.each(func(n *sshNode) error {
		defer n.close()
		if _, ok := mine.Load(n.Machine.Name); !ok {
			return nil
		}
		return s.finish(ending, n)
	}))
	return nil, err
}

// each does something to all machines at the same time, or to some of them.
func (s *SSH) each(do func(*sshNode) error, some ...string) error {
	if len(some) == 0 {
		some = sortedKeys(s.hosts)
	}
	errs := make([]error, len(some))
	var all sync.WaitGroup
	for i, name := range some {
		all.Go(func() { errs[i] = do(s.hosts[name]) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// command is a line that runs the script there.
func (s *SSH) command(verb string, args ...string) string {
	line := fmt.Sprintf("sh %s/jepsen.sh %s %s", s.o.Inventory.Dir, s.o.Inventory.Dir, verb)
	for _, a := range args {
		line += " " + quoted(a)
	}
	return line
}

// change has the script change something. It is not given up in the middle when a run ends: the next change comes after it.
// The number keeps what is late, because a connection broke, from being done after what came later.
func (s *SSH) change(ctx context.Context, n *sshNode, stdin, verb string, args ...string) (string, error) {
	args = append([]string{strconv.FormatUint(s.sequence.Add(1), 10)}, args...)
	return n.run(context.WithoutCancel(ctx), s.command(verb, args...), []byte(stdin))
}

// prepare brings all that a node needs to a machine. made is called when there is something to undo.
func (s *SSH) prepare(ctx, beats context.Context, n *sshNode, programs map[string][]byte, made func()) error {
	dir := s.o.Inventory.Dir
	script := func(verb string, args ...string) (string, error) {
		line := fmt.Sprintf("sh -s %s %s", dir, verb)
		for _, a := range args {
			line += " " + quoted(a)
		}
		return n.run(ctx, line, sshScript)
	}
	addresses := []string{s.iptables}
	for _, m := range s.machines {
		if m.Name != n.Machine.Name {
			addresses = append(addresses, m.Address)
		}
	}
	probed, err := script("probe", addresses...)
	if err != nil {
		return err
	}
	n.probed = map[string][]string{}
	for line := range strings.Lines(probed) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n.probed[key] = append(n.probed[key], value)
	}
	seconds := strconv.Itoa(int(s.o.Inventory.DeadMan / time.Second))
	if _, err := script("prepare", seconds, s.iptables); err != nil {
		return err
	}
	made()
	if err := s.put(ctx, n, "jepsen.sh", sshScript); err != nil {
		return err
	}
	if _, err := n.run(ctx, s.command("guard", seconds), nil); err != nil {
		return err
	}
	s.beating.Go(func() { s.beat(beats, n) })
	return s.install(ctx, n, programs)
}

// install brings all that a node needs.
func (s *SSH) install(ctx context.Context, n *sshNode, programs map[string][]byte) error {
	dir := s.o.Inventory.Dir
	for name, program := range programs {
		if err := s.put(ctx, n, name+".gz", program); err != nil {
			return err
		}
		if _, err := n.run(ctx, fmt.Sprintf("cd %s && gzip -d %[2]s.gz && chmod 700 %[2]s && %[1]s/%[2]s help", dir, name), nil); err != nil {
			return fmt.Errorf("%s does not run there; is it for another architecture? %w", name, err)
		}
	}
	if err := s.serveDisk(ctx, n); err != nil {
		return err
	}
	raft, err := s.certify(ctx, n)
	if err != nil {
		return err
	}
	same := func(m Machine) Machine { return m }
	config, err := nodeConfig(s.machines, n.Machine, same, s.dataOf(n), raft, s.o.Inventory.Settings, s.o.Sections)
	if err != nil {
		return err
	}
	if err := s.put(ctx, n, "node.json", config); err != nil {
		return err
	}
	if len(s.o.Inventory.Env) == 0 {
		return nil
	}
	var env strings.Builder
	for _, name := range sortedKeys(s.o.Inventory.Env) {
		fmt.Fprintf(&env, "%s=%s\n", name, quoted(s.o.Inventory.Env[name]))
	}
	return s.put(ctx, n, "env", []byte(env.String()))
}

// certify brings what a node proves its name with, and returns how it speaks to the others.
func (s *SSH) certify(ctx context.Context, n *sshNode) (map[string]any, error) {
	if _, err := s.Confman(ctx, "cert", "node", n.Machine.Name, "--dir", s.certs); err != nil {
		return nil, err
	}
	section := map[string]any{}
	for key, name := range map[string]string{"CaFile": "ca.crt", "CertFile": n.Machine.Name + ".crt", "KeyFile": n.Machine.Name + ".key"} {
		text, err := os.ReadFile(filepath.Join(s.certs, name)) //nolint:gosec // made above
		if err != nil {
			return nil, err
		}
		if err := s.put(ctx, n, name, text); err != nil {
			return nil, err
		}
		section[key] = s.o.Inventory.Dir + "/" + name
	}
	return map[string]any{"Tls": section}, nil
}

func compressed(path string) ([]byte, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the program under test
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(content)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// put writes a file of the directory.
func (s *SSH) put(ctx context.Context, n *sshNode, name string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, uploadTime)
	defer cancel()
	path := s.o.Inventory.Dir + "/" + name
	command := fmt.Sprintf("umask 077 && cat >%s.new && mv %s.new %s", path, path, path)
	if err := n.stream(ctx, command, bytes.NewReader(content), io.Discard); err != nil {
		return fmt.Errorf("%s: %s: %w", n.Machine.Name, path, err)
	}
	return nil
}

// beat tells a machine that the harness lives, over a connection of its own: what goes on there does not delay it.
func (s *SSH) beat(ctx context.Context, n *sshNode) {
	said := ""
	for {
		err := s.beats(ctx, n, func() {
			if said != "" {
				s.o.Log("ssh: %s is heard again", n.Machine.Name)
			}
			said = ""
		})
		if ctx.Err() != nil {
			return
		}
		if now := err.Error(); now != said {
			s.o.Log("ssh: %s: %s", n.Machine.Name, now)
			said = now
		}
		if !pause(ctx, s.o.Inventory.DeadMan/beatsPerDeadMan) {
			return
		}
	}
}

// beats goes on until something is wrong. It calls heard when there was an answer.
func (s *SSH) beats(ctx context.Context, n *sshNode, heard func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := n.again()
	defer h.close()
	in, tokens := io.Pipe()
	answers, lines := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := h.stream(ctx, s.command("alive"), in, lines)
		ended <- err
		_ = in.CloseWithError(io.ErrClosedPipe) // it never fails
		_ = lines.Close()
	}()
	answered := make(chan struct{})
	go func() {
		for r := bufio.NewScanner(answers); r.Scan(); {
			select {
			case answered <- struct{}{}:
			case <-ctx.Done():
			}
		}
	}()
	late := time.NewTimer(0)
	defer late.Stop()
	for i := 0; ; i++ {
		if _, err := fmt.Fprintln(tokens, i); err != nil {
			return <-ended
		}
		late.Reset(s.o.Inventory.DeadMan / 2)
		select {
		case <-answered:
			heard()
		case err := <-ended:
			return err
		case <-late.C:
			return fmt.Errorf("no answer for %v", s.o.Inventory.DeadMan/2)
		}
		if !pause(ctx, s.o.Inventory.DeadMan/beatsPerDeadMan) {
			return ctx.Err()
		}
	}
}

// Machines is part of Ground.
func (s *SSH) Machines() []Machine { return s.machines }

// Dial is part of Ground.
func (s *SSH) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// Start is part of Ground.
func (s *SSH) Start(ctx context.Context, machine string, args ...string) error {
	n := s.hosts[machine]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.runs() {
		return errRuns
	}
	id := strconv.FormatUint(s.sequence.Add(1), 10)
	if _, err := n.run(context.WithoutCancel(ctx), s.command("start", append([]string{id}, args...)...), nil); err != nil {
		// It may have started all the same.
		_, endErr := n.run(context.WithoutCancel(ctx), s.command("end"), nil)
		return errors.Join(err, endErr)
	}
	ended := make(chan struct{})
	n.ended, n.err = ended, nil
	waiting, cancel := context.WithCancel(context.Background())
	s.beating.Go(func() {
		defer cancel()
		err := s.wait(waiting, n, id)
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		close(ended)
	})
	return nil
}

// wait returns how a node has ended.
func (s *SSH) wait(ctx context.Context, n *sshNode, id string) error {
	for {
		var out limited
		err := n.stream(ctx, s.command("wait", id), nil, &out)
		if err == nil {
			code := strings.TrimSpace(out.String())
			if code == "0" {
				return nil
			}
			return fmt.Errorf("exit status %s", code)
		}
		if !errors.Is(err, errUnreachable) {
			return err
		}
		if !pause(ctx, pollEvery) {
			return ctx.Err()
		}
	}
}

// runs needs mu.
func (n *sshNode) runs() bool {
	if n.ended == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Signal is part of Ground.
func (s *SSH) Signal(ctx context.Context, machine string, sig Signal) error {
	_, err := s.hosts[machine].run(context.WithoutCancel(ctx), s.command("signal", string(sig)), nil)
	return err
}

// Runs is part of Ground.
func (s *SSH) Runs(machine string) bool {
	n := s.hosts[machine]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.runs()
}

// Ended is part of Ground.
func (s *SSH) Ended(ctx context.Context, machine string) error {
	n := s.hosts[machine]
	n.mu.Lock()
	ended := n.ended
	n.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", machine, ctx.Err())
	case <-ended:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Confman is part of Ground. The program runs on this machine.
func (s *SSH) Confman(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.o.Program, args...) //nolint:gosec // the program under test
	cmd.Env = append(os.Environ(), "CONFMAN_ENDPOINTS="+endpoints(s.machines))
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("confman %s: %w: %s", strings.Join(args, " "), err, failed.Stderr)
	}
	return out, err
}

// Collect is part of Ground.
func (s *SSH) Collect(ctx context.Context, dir string) error {
	err := s.each(func(n *sshNode) error {
		var errs []error
		for from, to := range map[string]string{"node.json": ".json", "node.log": ".log", "supervisor.log": ".supervisor.log", diskNotes: diskLog} {
			ctx, cancel := context.WithTimeout(ctx, commandTime)
			path := s.o.Inventory.Dir + "/" + from
			err := writeTo(filepath.Join(dir, n.Machine.Name+to), func(w io.Writer) error {
				return n.stream(ctx, fmt.Sprintf("! [ -e %s ] || tail -c %d %s", path, maxCollected, path), new(bytes.Reader), w)
			})
			cancel()
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return errors.Join(err, writeTo(filepath.Join(dir, "network.txt"), func(w io.Writer) error { return writePackets(w, s.Packets()) }))
}

// Close is part of Ground.
func (s *SSH) Close(ctx context.Context) error {
	s.links.Lock()
	defer s.links.Unlock()
	var err error
	s.closed.Do(func() {
		// What beats and waits ends first: it must not take the connection with it.
		s.stop()
		for _, f := range s.forwards {
			_ = f.Close() // the machine goes with it
		}
		s.beating.Wait()
		err = s.each(func(n *sshNode) error {
			defer n.close()
			return s.finish(ctx, n)
		})
	})
	return err
}

// finish leaves nothing on a machine.
func (s *SSH) finish(ctx context.Context, n *sshNode) error {
	_, err := n.run(ctx, fmt.Sprintf("sh -s %s finish", s.o.Inventory.Dir), sshScript)
	if err != nil {
		return fmt.Errorf("%w\n%s undoes everything by itself %v after the harness has ended; by hand: sh %s/jepsen.sh %s undo",
			err, n.Machine.Name, s.o.Inventory.DeadMan, s.o.Inventory.Dir, s.o.Inventory.Dir)
	}
	return nil
}
