package jepsen

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// insideEnv is set for the test that runs itself again in namespaces of its own.
const insideEnv = "JEPSEN_SSH_INSIDE"

// TestE2ESSH has sshd run in five network namespaces of this machine, and breaks what is there over SSH. All of it is in
// namespaces of processes, network and mounts that end with the process that holds them: nothing can be left behind.
func TestE2ESSH(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		y := newYard(t)
		t.Run("Run", y.testRun)
		t.Run("Disks", y.testDisks)
		t.Run("Cancelled", y.testCancelled)
		t.Run("Interrupted", y.testInterrupted)
		t.Run("HarnessDies", y.testHarnessDies)
		t.Run("OtherMachine", y.testOtherMachine)
		t.Run("Agent", y.testAgent)
		t.Run("Forward", y.testForward)
		t.Run("IPv6", y.testIPv6)
		return
	}
	if testing.Short() {
		t.Skip("real processes")
	}
	tools := exec.Command("./tools.sh")
	out, err := tools.CombinedOutput()
	if tools.ProcessState != nil && tools.ProcessState.ExitCode() == 3 {
		t.Skipf("not tested: Debian's sshd and iptables cannot be fetched here: %s", out)
	}
	require.NoErrorf(t, err, "%s", out)
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	harness := filepath.Join(t.TempDir(), "jepsen")
	out, err = exec.CommandContext(ctx, "go", "build", "-o", harness, "../cmd/jepsen").CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	runtime.LockOSThread() // its end would be that of what it starts
	defer runtime.UnlockOSThread()
	line := []string{"--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"}
	if os.Getuid() == 0 {
		line = line[2:]
	}
	inside := exec.CommandContext(ctx, "unshare", append(line, os.Args[0], "-test.run="+flag.Lookup("test.run").Value.String(), "-test.v")...)
	inside.Env = append(os.Environ(), insideEnv+"="+harness, "CONFMAN="+confman(t))
	inside.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err = inside.CombinedOutput()
	t.Logf("in namespaces:\n%s", out)
	require.NoError(t, err)
}

// yard is three machines with sshd, and two spares.
type yard struct {
	dir       string
	harness   string // the program
	confman   string
	inventory Inventory
	hosts     map[string]*sshHost // past the harness
	unknown   string              // a file that knows no machine
}

const yardDeadMan = 10 * time.Second

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{dir: t.TempDir(), harness: os.Getenv(insideEnv), confman: os.Getenv("CONFMAN"), hosts: map[string]*sshHost{}}
	tools, err := filepath.Abs("../bin/tools")
	require.NoError(t, err)
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	libs := fmt.Sprintf("%s/usr/lib/%s:%s/lib/%s", tools, triplet, tools, triplet)
	bin := filepath.Join(y.dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	for _, name := range []string{"iptables", "iptables-restore", "ip6tables", "ip6tables-restore"} {
		require.NoError(t, os.Symlink(tools+"/usr/sbin/xtables-nft-multi", filepath.Join(bin, name)))
	}
	// A shell of root's own might begin with whatever a .bashrc takes its time for.
	y.write(t, "passwd", []byte("root:x:0:0::/run:/bin/sh\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"))
	user, userKey := newKey(t)
	y.write(t, "id", userKey)
	y.write(t, "authorized_keys", ssh.MarshalAuthorizedKey(user))
	y.unknown = y.write(t, "unknown_hosts", nil)
	y.inventory = Inventory{DeadMan: yardDeadMan, SSH: InventoryLogin{Key: filepath.Join(y.dir, "id"), KnownHosts: filepath.Join(y.dir, "known_hosts")}}
	sh(t, "mount -t tmpfs tmpfs /run && ip link set lo up && ip link add br0 type bridge && ip address add 10.99.0.254/24 dev br0 && ip address add fd99::fe/64 dev br0 nodad && ip link set br0 up")
	var known []byte
	for i := 1; i <= 5; i++ {
		name, address, address6 := fmt.Sprintf("vm%d", i), fmt.Sprintf("10.99.0.%d", i), fmt.Sprintf("fd99::%d", i)
		y.inventory.Machines = append(y.inventory.Machines, InventoryMachine{Name: name, Address: address, APIPort: 5000, RaftPort: 5001, Spare: i > 3})
		host, hostKey := newKey(t)
		config := fmt.Sprintf(`Port 22
ListenAddress %s
ListenAddress %s
HostKey %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
AuthorizedKeysFile %s/authorized_keys
SetEnv PATH=%s:%s LD_LIBRARY_PATH=%s XTABLES_LIBDIR=%s/usr/lib/%s/xtables
`, address, address6, y.write(t, name+".key", hostKey), y.dir, bin, os.Getenv("PATH"), libs, tools, triplet)
		known = append(known, knownhosts.Line([]string{address, address6}, host)+"\n"...)
		// What "ip netns exec" runs has mounts of its own.
		start := fmt.Sprintf(`ip netns add %[1]s
			ip link add %[1]s type veth peer name eth0 netns %[1]s && ip link set %[1]s master br0 up
			ip -n %[1]s link set lo up && ip -n %[1]s address add %[2]s/24 dev eth0 && ip -n %[1]s address add %[6]s/64 dev eth0 nodad && ip -n %[1]s link set eth0 up
			exec ip netns exec %[1]s sh -c '
				mount --bind %[3]s/passwd /etc/passwd && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib &&
				mkdir /run/sshd /run/disk && mount -t tmpfs -o size=1g tmpfs /run/disk &&
				exec %[4]s/usr/sbin/sshd -D -E %[3]s/%[1]s.sshd.log -f %[5]s'`,
			name, address, y.dir, tools, y.write(t, name+".sshd", []byte(config)), address6)
		sshd := exec.Command("sh", "-ec", start)
		sshd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libs)
		sshd.Stderr = os.Stderr
		require.NoError(t, sshd.Start())
		t.Cleanup(func() {
			_ = sshd.Process.Kill() // it may have ended
			_ = sshd.Wait()
		})
	}
	y.write(t, "known_hosts", known)
	require.NoError(t, y.inventory.fill(y.dir))
	require.NoError(t, y.inventory.Validate())
	for _, m := range y.inventory.Machines {
		h, err := newSSHHost(m.Name, m.SSH)
		require.NoError(t, err)
		t.Cleanup(h.close)
		y.hosts[m.Name] = h
		require.Eventually(t, func() bool {
			_, err = h.run(t.Context(), "true", nil)
			return err == nil
		}, 20*time.Second, 50*time.Millisecond, "%s: sshd does not answer", m.Name)
	}
	return y
}

func (y *yard) write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(y.dir, name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

func (y *yard) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(y.dir, name))
	require.NoError(t, err)
	return string(text)
}

func newKey(t *testing.T) (ssh.PublicKey, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return signer.PublicKey(), pem.EncodeToMemory(block)
}

func sh(t *testing.T, script string) {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

// on has a machine run something, past the harness.
func (y *yard) on(t *testing.T, machine, script string) string {
	t.Helper()
	out, err := y.hosts[machine].run(context.Background(), script, nil)
	require.NoError(t, err)
	return strings.TrimSpace(out)
}

// ground prepares all machines.
func (y *yard) ground(t *testing.T) *SSH {
	t.Helper()
	return y.groundOf(t, SSHOptions{Inventory: y.inventory})
}

func (y *yard) groundOf(t *testing.T, o SSHOptions) *SSH {
	t.Helper()
	o.Program, o.Jepsen, o.Log = y.confman, y.harness, t.Logf
	g, err := NewSSH(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for name, h := range y.hosts {
				out, err := h.run(context.Background(), "cd /var/lib/confman-jepsen && ls && tail -n 20 supervisor.log node.log disk.log", nil)
				t.Logf("%s: %s %v", name, out, err)
			}
		}
		assert.NoError(t, g.Close(context.Background()))
	})
	return g
}

// traces is what there is on a machine of a run that has ended, but for its directory.
func (y *yard) traces(t *testing.T, machine string) string {
	t.Helper()
	return y.on(t, machine, `iptables -nL CONFMAN-JEPSEN 2>/dev/null; iptables -S | grep CONFMAN; ip6tables -S | grep CONFMAN; tc qdisc show dev eth0 | grep c0f1; grep losefs /proc/mounts
		for p in /proc/[0-9]*; do
			[ "$(readlink $p/ns/net)" = "$(readlink /proc/self/ns/net)" ] || continue
			case "$(tr "\0" " " 2>/dev/null <$p/cmdline)" in
			/var/lib/confman-jepsen/* | "sh /var/lib/confman-jepsen/"*) echo "$p: $(tr "\0" " " <$p/cmdline)" ;;
			esac
		done; ls -d /run/disk/confman-jepsen/filler 2>/dev/null; true`)
}

// nothingLeft checks that a machine is as it was before.
func (y *yard) nothingLeft(t *testing.T) {
	t.Helper()
	for name := range y.hosts {
		assert.Empty(t, y.traces(t, name), name)
		assert.Equal(t, "/run/disk", y.on(t, name, "ls -d /run/disk /run/disk/* /var/lib/* 2>/dev/null || true"), name)
	}
}

// isolating cuts one node off, both ways.
func isolating(machines []Machine, who string) map[Link]Condition {
	links := map[Link]Condition{}
	for _, m := range machines {
		if m.Name != who {
			links[Link{m.Name, who}], links[Link{who, m.Name}] = Condition{Cut: true}, Condition{Cut: true}
		}
	}
	return links
}

// testRun: nodes are killed, stopped and cut off; the verdict is good and nothing is left.
func (y *yard) testRun(t *testing.T) {
	g := y.ground(t)
	for _, line := range g.Means() {
		t.Log(line)
	}
	// They have breaks long enough for a majority to be at work in between, on a slow machine, too.
	o := Options{
		Nemeses: []string{"kill-one", "pause-leader", "isolate-one", "narrow-network", "replace"}, Time: 40 * time.Second,
		Quiet: 4 * time.Second, Clients: 4, Pace: 20 * time.Millisecond, Log: t.Logf,
	}
	res, err := Execute(t.Context(), g, o)
	require.NoError(t, err)
	assert.NoError(t, res.Err)
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, res.Save(t.Context(), dir, g, o, []string{"jepsen"}))
	for _, m := range g.Machines() {
		log, err := os.ReadFile(filepath.Join(dir, m.Name+".log"))
		require.NoError(t, err)
		assert.Equal(t, !m.Spare, strings.Contains(string(log), "level="), "the log of %s", m.Name)
	}
	t.Logf("%d operations, faults: %v", len(res.History.Ops), res.Fired)
	assertCounted(t, g, isCut)
	assertCounted(t, g, isSlow)
	require.NoError(t, g.Close(t.Context()))
	y.nothingLeft(t)
}

// assertCounted: the kernels counted something.
func assertCounted(t *testing.T, g *SSH, many func(Packets) uint64) {
	t.Helper()
	total, all := uint64(0), g.Packets()
	for _, p := range all {
		total += many(p)
	}
	assert.Positive(t, total, "nothing was counted: %v", all)
}

// testDisks: power is lost, disks fail and are damaged, members come and go, while permissions are revoked that an issuer on this machine
// stands for. Where there is no FUSE, the ground says so, and does what is left.
func (y *yard) testDisks(t *testing.T) {
	o := Options{
		Workloads: []string{"register", "auth"}, Nemeses: []string{"flip-database", "grow-shrink"}, Time: 60 * time.Second,
		Quiet: 3 * time.Second, Clients: 3, Pace: 20 * time.Millisecond, Log: t.Logf,
	}
	sections, err := o.Sections()
	require.NoError(t, err)
	g := y.groundOf(t, SSHOptions{Inventory: y.inventory, Sections: sections, Seed: 1})
	why := g.Can(PowerLoss)
	if why == nil {
		o.Nemeses = append(o.Nemeses, "power-some", "sync-errors", "full-disk")
	} else {
		assert.Contains(t, why.Error(), "/dev/fuse")
		assert.Contains(t, strings.Join(g.Means(), "\n"), why.Error())
	}
	res, err := Execute(t.Context(), g, o)
	require.NoError(t, err)
	require.NoError(t, res.Err)
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, res.Save(t.Context(), dir, g, o, []string{"jepsen"}))
	t.Logf("%d operations, faults: %v", len(res.History.Ops), res.Fired)
	var notes string
	for _, m := range g.Machines() {
		text, err := os.ReadFile(filepath.Join(dir, m.Name+diskLog))
		require.NoError(t, err)
		notes += string(text)
	}
	t.Log(notes)
	assert.Contains(t, notes, "damaged: flipped")
	if why == nil {
		assert.Contains(t, notes, "power lost: ")
	}
	require.NoError(t, g.Close(t.Context()))
	y.nothingLeft(t)
}

// testCancelled: what ends in the middle of faults, one of them a full disk, undoes them. One machine has a disk that is what it is, one no
// FUSE.
func (y *yard) testCancelled(t *testing.T) {
	inv := y.inventory
	inv.Machines = slices.Clone(inv.Machines)
	inv.Machines[2].Disk = "/run/disk"
	y.on(t, "vm2", "mount --bind /dev/fuse /dev/fuse && mount -o remount,bind,nodev /dev/fuse")
	defer y.on(t, "vm2", "umount /dev/fuse")
	g := y.groundOf(t, SSHOptions{Inventory: inv})
	require.ErrorContains(t, g.Can(PowerLoss), "vm2: losefs: /dev/fuse: permission denied")
	_, err := g.Damage(t.Context(), "vm2", Damage{Kind: FlipLog})
	require.ErrorContains(t, err, "there is no log yet", "damage needs no FUSE")
	r, err := newRun(g, Options{Log: t.Logf})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, r.begin(ctx, nil))
	require.NoError(t, g.SetLinks(ctx, isolating(g.Machines(), "vm2")))
	assert.Contains(t, y.on(t, "vm2", "iptables -S INPUT"), "-j CONFMAN-JEPSEN")
	require.NoError(t, g.Signal(ctx, "vm1", Stop))
	_, err = g.Damage(t.Context(), "vm1", Damage{Kind: FlipLog})
	require.ErrorContains(t, err, "the node runs")
	free := func() string { return y.on(t, "vm3", "stat -f -c %f /run/disk") }
	before := free()
	require.NoError(t, g.SetDisk(ctx, "vm3", DiskState{Bytes: 4096}))
	assert.Equal(t, "0", free(), "there is room on the disk")
	require.NoError(t, g.SetDisk(ctx, "vm3", DiskState{}))
	assert.Equal(t, before, free())
	require.NoError(t, g.SetDisk(ctx, "vm3", DiskState{Bytes: 4096}))
	cancel()
	require.NoError(t, g.Close(context.Background()))
	y.nothingLeft(t)
}

// atWork has the program run, and waits until a node is started.
func (y *yard) atWork(t *testing.T) *exec.Cmd {
	t.Helper()
	inventory := fmt.Sprintf("deadMan: %v\nssh: {key: id, knownHosts: known_hosts}\nmachines:\n", yardDeadMan)
	for _, m := range y.inventory.Machines {
		inventory += fmt.Sprintf("  - {name: %s, address: %s, apiPort: 5000, raftPort: 5001, spare: %v}\n", m.Name, m.Address, m.Spare)
	}
	file := y.write(t, "inventory.yaml", []byte(inventory))
	line := []string{"ssh", "--inventory", file, "--program", y.confman, "--workload", "auth", "--nemesis", "kill-one", "--time", "60s", "--pace", "50ms"}
	harness := exec.CommandContext(t.Context(), y.harness, line...)
	harness.Dir = t.TempDir()
	var said bytes.Buffer
	harness.Stdout, harness.Stderr = &said, &said
	require.NoError(t, harness.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the harness:\n%s", said.String())
		}
	})
	require.Eventually(t, func() bool {
		out, err := y.hosts["vm1"].run(t.Context(), "cat /var/lib/confman-jepsen/pid", nil)
		return err == nil && out != ""
	}, 2*time.Minute, 50*time.Millisecond, "no node is started")
	return harness
}

// testInterrupted: the program is interrupted, and leaves nothing.
func (y *yard) testInterrupted(t *testing.T) {
	harness := y.atWork(t)
	require.NoError(t, harness.Process.Signal(os.Interrupt))
	require.Error(t, harness.Wait(), "the run was made")
	y.nothingLeft(t)
}

// testHarnessDies: the program is killed while a node is cut off.
func (y *yard) testHarnessDies(t *testing.T) {
	harness := y.atWork(t)
	// What the nemeses do of themselves is up to their seed: this cut is made as the harness makes it.
	const rule = "echo '-A CONFMAN-JEPSEN -s 10.99.0.2 -j DROP' | sh /var/lib/confman-jepsen/jepsen.sh /var/lib/confman-jepsen links 1000000 iptables"
	y.on(t, "vm1", rule)
	assert.Contains(t, y.on(t, "vm1", "iptables -S INPUT"), "-j CONFMAN-JEPSEN")
	require.NoError(t, harness.Process.Kill())
	killed := time.Now()
	_ = harness.Wait() // it was killed

	// While it may yet be at work, another run does not begin.
	_, err := NewSSH(t.Context(), SSHOptions{Program: y.confman, Jepsen: y.harness, Inventory: y.inventory, Log: t.Logf})
	require.ErrorContains(t, err, "another run is at work")

	require.Eventually(t, func() bool {
		for name := range y.hosts {
			if y.traces(t, name) != "" {
				return false
			}
		}
		return true
	}, 5*yardDeadMan, 100*time.Millisecond, "the machines do not undo what was done")
	t.Logf("%v until all was undone", time.Since(killed))
	assert.Contains(t, y.on(t, "vm1", "cat /var/lib/confman-jepsen/supervisor.log"), "was not heard from")
	// Its directory stays for people; the next run clears it.
	assert.Contains(t, y.on(t, "vm1", "ls /var/lib/confman-jepsen"), "node.log")
	g := y.ground(t)
	require.NoError(t, g.Close(t.Context()))
	y.nothingLeft(t)
}

// testOtherMachine: a machine whose key is not known, or is another one, is not spoken to.
func (y *yard) testOtherMachine(t *testing.T) {
	login := y.inventory.Machines[0].SSH
	login.KnownHosts = y.unknown
	h, err := newSSHHost("vm1", login)
	require.NoError(t, err)
	_, err = h.run(t.Context(), "true", nil)
	require.ErrorContains(t, err, "does not know the machine")

	other, _ := newKey(t)
	login.KnownHosts = y.write(t, "other_hosts", []byte(knownhosts.Line([]string{login.Host}, other)+"\n"))
	h, err = newSSHHost("vm1", login)
	require.NoError(t, err)
	_, err = h.run(t.Context(), "true", nil)
	require.ErrorContains(t, err, "this is not the machine")
}

// testAgent: an agent has the key.
func (y *yard) testAgent(t *testing.T) {
	key, err := ssh.ParseRawPrivateKey([]byte(y.read(t, "id")))
	require.NoError(t, err)
	keys := agent.NewKeyring()
	require.NoError(t, keys.Add(agent.AddedKey{PrivateKey: key}))
	socket := filepath.Join(y.dir, "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_ = agent.ServeAgent(keys, conn) // until the other end has enough
		}
	}()
	login := y.inventory.Machines[0].SSH
	login.Key = ""
	t.Setenv("SSH_AUTH_SOCK", "")
	_, err = newSSHHost("vm1", login)
	require.ErrorContains(t, err, "no key")
	t.Setenv("SSH_AUTH_SOCK", socket)
	h, err := newSSHHost("vm1", login)
	require.NoError(t, err)
	t.Cleanup(h.close)
	_, err = h.run(t.Context(), "true", nil)
	require.NoError(t, err)
}

// testForward: what is served to a machine's loopback is served again after the connection broke.
func (y *yard) testForward(t *testing.T) {
	const address = "127.0.0.1:7000"
	s := &SSH{machines: []Machine{{Name: "vm1"}}, hosts: map[string]*sshNode{"vm1": {sshHost: y.hosts["vm1"]}}}
	listeners, err := s.ListenBeside(address)
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for conn, err := listeners[0].Accept(); err == nil; conn, err = listeners[0].Accept() {
			_, _ = conn.Write([]byte("found\n")) // who is not there does not want it
			_ = conn.Close()
		}
	}()
	find := func() bool {
		out, err := y.hosts["vm1"].run(t.Context(), "bash -c 'head -n 1 </dev/tcp/127.0.0.1/7000'", nil)
		return err == nil && out == "found\n"
	}
	require.True(t, find())
	s.forwards[0].host.close() // the connection, which nobody told
	require.Eventually(t, find, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, listeners[0].Close())
	<-served
	require.Eventually(t, func() bool { return !find() }, 20*time.Second, 50*time.Millisecond)
}

// testIPv6: so are links broken between addresses of IPv6, and it is counted.
func (y *yard) testIPv6(t *testing.T) {
	inv := y.inventory
	inv.Machines = slices.Clone(inv.Machines[:3])
	for i := range inv.Machines {
		inv.Machines[i].Address = fmt.Sprintf("fd99::%d", i+1)
		inv.Machines[i].SSH.Host = inv.Machines[i].Address
	}
	require.NoError(t, inv.Validate())
	g := y.groundOf(t, SSHOptions{Inventory: inv})
	r, err := newRun(g, Options{Log: t.Logf})
	require.NoError(t, err)
	require.NoError(t, r.begin(t.Context(), nil))
	links := isolating(g.Machines(), "vm2")
	links[Link{"vm1", "vm3"}] = Condition{BytesPerSecond: 100_000}
	require.NoError(t, g.SetLinks(t.Context(), links))
	require.Eventually(t, func() bool {
		all := g.Packets()
		return all[Link{"vm1", "vm2"}].Cut > 0 && all[Link{"vm2", "vm1"}].Cut > 0 && all[Link{"vm1", "vm3"}].Delivered > 0
	}, 20*time.Second, 100*time.Millisecond)
	require.NoError(t, g.SetLinks(t.Context(), nil))
	require.NoError(t, r.awaitReady(t.Context(), healTime))
	require.NoError(t, g.Close(t.Context()))
	y.nothingLeft(t)
}
