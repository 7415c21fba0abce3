package jepsen

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Inventory says which machines there are and how they are reached, as docs/chaos.md tells people.
type Inventory struct {
	// Dir is what a run makes on each machine, works in, and removes (default /var/lib/confman-jepsen).
	Dir string `yaml:"dir"`
	// DeadMan is after how long without the harness a machine undoes everything by itself (default 30 s).
	DeadMan time.Duration `yaml:"deadMan"`
	// SSH is how machines are reached that do not say otherwise.
	SSH InventoryLogin `yaml:"ssh"`
	// Allow is what is not done unless it is allowed.
	Allow struct {
		Clock bool `yaml:"clock"` // to set the machines' wall clocks
	} `yaml:"allow"`
	// Settings are sections of docs/settings.md, for all nodes; Env is for their processes.
	Settings map[string]any     `yaml:"settings"`
	Env      map[string]string  `yaml:"env"`
	Machines []InventoryMachine `yaml:"machines"`
}

// InventoryMachine is one machine.
type InventoryMachine struct {
	Name     string         `yaml:"name"`
	Address  string         `yaml:"address"` // for the other nodes and for clients: an IP address
	APIPort  int            `yaml:"apiPort"`
	RaftPort int            `yaml:"raftPort"`
	Spare    bool           `yaml:"spare"` // it does not form the cluster; members may come there later
	SSH      InventoryLogin `yaml:"ssh"`
	// Disk is where a small file system of the node's own is mounted, which may be filled, and does not fail; "": the data is in Dir, on one
	// that fails on demand.
	Disk string `yaml:"disk"`
}

// InventoryLogin is how SSH reaches a machine. The zero value of a field means what Inventory.SSH has, or the default.
type InventoryLogin struct {
	Host       string `yaml:"host"`       // default: the machine's address
	Port       int    `yaml:"port"`       // default 22
	User       string `yaml:"user"`       // default root
	Sudo       bool   `yaml:"sudo"`       // the user becomes root by "sudo -n"
	Key        string `yaml:"key"`        // a file with a private key; default: the keys of the agent
	KnownHosts string `yaml:"knownHosts"` // the file with the machines' keys; default ~/.ssh/known_hosts
}

const (
	defaultInventoryDir = "/var/lib/confman-jepsen"
	defaultDeadMan      = 30 * time.Second
	// A machine must not undo everything because the harness was slow to say that it lives.
	leastDeadMan = 3 * time.Second
	// More machines than a cluster has members, and spares.
	maxMachines = 16
)

// The names end up in the arguments of programs there.
var (
	nodeName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	remotePath = regexp.MustCompile(`^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ReadInventory reads a file of YAML, or JSON, with defaults filled in. Paths in it are as seen from where it is.
func ReadInventory(path string) (Inventory, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the caller's
	if err != nil {
		return Inventory{}, err
	}
	var inv Inventory
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&inv); err != nil {
		return Inventory{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := inv.fill(filepath.Dir(path)); err != nil {
		return Inventory{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := inv.Validate(); err != nil {
		return Inventory{}, fmt.Errorf("%s: %w", path, err)
	}
	return inv, nil
}

// fill sets the defaults; relative paths are below dir.
func (inv *Inventory) fill(dir string) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	local := func(path string) string {
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			return filepath.Join(home, rest)
		}
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	}
	inv.Dir = cmp.Or(inv.Dir, defaultInventoryDir)
	inv.DeadMan = cmp.Or(inv.DeadMan, defaultDeadMan)
	for i := range inv.Machines {
		m := &inv.Machines[i]
		m.SSH = InventoryLogin{
			Host: cmp.Or(m.SSH.Host, inv.SSH.Host, m.Address), Port: cmp.Or(m.SSH.Port, inv.SSH.Port, 22), User: cmp.Or(m.SSH.User, inv.SSH.User, "root"),
			Sudo: m.SSH.Sudo || inv.SSH.Sudo, Key: local(cmp.Or(m.SSH.Key, inv.SSH.Key)),
			KnownHosts: local(cmp.Or(m.SSH.KnownHosts, inv.SSH.KnownHosts, "~/.ssh/known_hosts")),
		}
	}
	return nil
}

// Validate reports everything wrong with a filled inventory, or nil.
func (inv Inventory) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !remotePath.MatchString(inv.Dir) || strings.Count(inv.Dir, "/") < 2 {
		wrong("dir: %q is removed in the end: it must be an absolute path with two parts or more, of letters, digits and ._-", inv.Dir)
	}
	if inv.DeadMan < leastDeadMan || inv.DeadMan%time.Second != 0 {
		wrong("deadMan: %v: it must be whole seconds, %v at least", inv.DeadMan, leastDeadMan)
	}
	for name := range inv.Env {
		if !envName.MatchString(name) {
			wrong("env: %q is no name", name)
		}
	}
	nodes, seen := 0, map[string]bool{}
	unique := func(what, value string) {
		if seen[what+value] {
			wrong("machines: two have %s %s", what, value)
		}
		seen[what+value] = true
	}
	families := map[bool]bool{}
	for _, m := range inv.Machines {
		if !m.Spare {
			nodes++
		}
		if !nodeName.MatchString(m.Name) {
			wrong("machines: %q is no name", m.Name)
		}
		ip, err := netip.ParseAddr(m.Address)
		if err != nil || ip.Zone() != "" || ip.IsUnspecified() {
			wrong("%s: address: %q must be an IP address: rules are made of it", m.Name, m.Address)
		}
		families[ip.Is4()] = true
		if m.APIPort < 1 || m.APIPort > 65535 || m.RaftPort < 1 || m.RaftPort > 65535 || m.APIPort == m.RaftPort {
			wrong("%s: apiPort %d and raftPort %d must be two ports", m.Name, m.APIPort, m.RaftPort)
		}
		if m.APIPort == m.SSH.Port || m.RaftPort == m.SSH.Port {
			wrong("%s: port %d is that of SSH, which must not be cut", m.Name, m.SSH.Port)
		}
		if m.Disk != "" && !remotePath.MatchString(m.Disk) {
			wrong("%s: disk: %q must be an absolute path of letters, digits and ._-", m.Name, m.Disk)
		}
		unique("name", m.Name)
		unique("address", m.Address)
		unique("ssh", fmt.Sprintf("%s:%d", m.SSH.Host, m.SSH.Port))
	}
	if nodes != 1 && nodes != 3 && nodes != 5 {
		wrong("machines: %d without spare: true form the cluster, which must be 1, 3 or 5", nodes)
	}
	if len(inv.Machines) > maxMachines {
		wrong("machines: %d, %d at most", len(inv.Machines), maxMachines)
	}
	if len(families) > 1 {
		wrong("machines: some addresses are IPv4 and some IPv6: one link has one address")
	}
	return errors.Join(errs...)
}
