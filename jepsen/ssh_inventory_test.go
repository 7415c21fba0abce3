package jepsen

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readInventory(t *testing.T, text string) (Inventory, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return ReadInventory(path)
}

func TestInventory(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	inv, err := readInventory(t, `
ssh: {user: admin, sudo: true, key: ~/.ssh/staging, knownHosts: /etc/hosts.known}
allow: {clock: true}
machines:
  - {name: a, address: 10.0.0.1, apiPort: 5000, raftPort: 5001}
  - {name: b, address: 10.0.0.2, apiPort: 5000, raftPort: 5001, ssh: {host: b.example, port: 2222, user: root}}
  - {name: c, address: 10.0.0.3, apiPort: 5000, raftPort: 5001, disk: /mnt/small}
  - {name: d, address: 10.0.0.4, apiPort: 5000, raftPort: 5001, spare: true}
`)
	require.NoError(t, err)
	assert.Equal(t, "/var/lib/confman-jepsen", inv.Dir)
	assert.Equal(t, 30*time.Second, inv.DeadMan)
	assert.True(t, inv.Allow.Clock)
	assert.Equal(t, InventoryLogin{
		Host: "10.0.0.1", Port: 22, User: "admin", Sudo: true, Key: "/home/me/.ssh/staging", KnownHosts: "/etc/hosts.known",
	}, inv.Machines[0].SSH)
	assert.Equal(t, "b.example", inv.Machines[1].SSH.Host)
	assert.Equal(t, "root", inv.Machines[1].SSH.User)
}

// TestInventoryAsJSON: JSON is YAML, too.
func TestInventoryAsJSON(t *testing.T) {
	inv, err := readInventory(t, `{"deadMan": "1m", "machines": [{"name": "a", "address": "::1", "apiPort": 1, "raftPort": 2}]}`)
	require.NoError(t, err)
	assert.Equal(t, time.Minute, inv.DeadMan)
}

func TestInventoryFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a word that means nothing": {"machine: []", "field machine not found"},
		"no machines":               {"machines: []", "must be 1, 3 or 5"},
		"a directory to lose":       {"dir: /var", "removed in the end"},
		"a directory with tricks":   {"dir: /var/lib/../etc", "removed in the end"},
		"a hasty watchdog":          {"deadMan: 1s", "3s at least"},
		"a name for an address":     {"machines: [{name: a, address: host, apiPort: 1, raftPort: 2}]", "must be an IP address"},
		"a name for a shell":        {"machines: [{name: 'a;b', address: 10.0.0.1, apiPort: 1, raftPort: 2}]", "is no name"},
		"one port for all":          {"machines: [{name: a, address: 10.0.0.1, apiPort: 1, raftPort: 1}]", "must be two ports"},
		"the port of SSH":           {"machines: [{name: a, address: 10.0.0.1, apiPort: 22, raftPort: 1}]", "must not be cut"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readInventory(t, c.text)
			require.ErrorContains(t, err, c.want)
		})
	}
}
