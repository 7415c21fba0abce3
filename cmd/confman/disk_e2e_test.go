package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// smallDisk has room for one segment of the log, the reserve and what a store of
	// one segment holds, but not for a second segment.
	smallDisk = 240 << 20
	// ballast is what is deleted to make room again.
	ballast = 100 << 20
)

// onSmallDisk gives p a disk of its own: a tmpfs in a mount namespace, made in a
// user namespace unless the test is root's, so that nothing stays behind. The
// node is run twice in it: the data of the first life are there in the second.
func onSmallDisk(p *proc, size int) {
	p.wrap = []string{"/bin/sh", "-c", `mount -t tmpfs -o size=` + strconv.Itoa(size) + ` small "$0" || exit 70
		trap : TERM
		"$@"; echo "first life ended: $?"
		"$@"; echo "second life ended: $?"`, p.data}
	p.attr.Cloneflags = syscall.CLONE_NEWNS
	if os.Geteuid() != 0 {
		p.attr.Cloneflags |= syscall.CLONE_NEWUSER
		p.attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		p.attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
}

// inside is a path of p's mount namespace as seen from here.
func (p *proc) inside(path string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "root", path)
}

// TestE2EFullDisk fills the disk of a node: it refuses writes, says why, goes on
// serving reads, keeps all it acknowledged, also over a restart on the full disk,
// and takes writes again once there is room.
func TestE2EFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the right to mount; make e2e runs it")
	}
	f := newFleet(t, 1)
	f.edit("Data", "MinFreeBytes", 0) // its own test has a floor
	p := f.nodes[0]
	require.NoError(t, os.Mkdir(p.data, 0o700))
	onSmallDisk(p, smallDisk+ballast)
	f.start(p)
	f.until(readyWait, "the disk is mounted", func() bool {
		require.True(t, p.runs(), "no disk can be mounted here: this test needs root or user namespaces")
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", p.cmd.Process.Pid))
		return err == nil && strings.Contains(string(mounts), "small "+p.data+" tmpfs")
	})
	require.NoError(t, os.WriteFile(p.inside(filepath.Join(p.data, "ballast")), make([]byte, ballast), 0o600))
	f.await(p)

	value := make([]byte, 512<<10)
	_, _ = rand.Read(value) // never fails
	body := string(value)
	var acknowledged []string
	put := func(key string) reply { return f.ask(p, http.MethodPut, configPath+key, body) }
	var refused reply
	for i := range 1000 {
		key := fmt.Sprintf("fill/%d", i)
		if refused = put(key); refused.status != http.StatusCreated {
			break
		}
		acknowledged = append(acknowledged, key)
	}
	t.Logf("%d values of 512 KiB were taken", len(acknowledged))
	intact := func() {
		t.Helper()
		for _, key := range acknowledged {
			a := f.ask(p, http.MethodGet, configPath+key+"?consistency=linearizable", "", "Accept", "application/octet-stream")
			require.Equal(t, http.StatusOK, a.status, "%s is lost: %s", key, a.body)
			same := a.body == body // require.Equal would print it
			require.True(t, same, "%s is not what was put", key)
		}
	}
	full := func(a reply) {
		t.Helper()
		require.Equal(t, http.StatusInsufficientStorage, a.status, a.body)
		problem := a.problem(t)
		assert.Equal(t, "storage-full", problem.Type)
		assert.Equal(t, "not_applied", problem.Outcome)
	}
	full(refused)
	full(put("fill/more"))
	intact()

	require.NoError(t, p.signal(syscall.SIGTERM))
	f.until(stopWait, "the node stops in order", func() bool { return strings.Contains(p.output(), "first life ended: 0") })
	f.await(p)
	intact()
	full(put("fill/more"))

	require.NoError(t, os.Remove(p.inside(filepath.Join(p.data, "ballast"))))
	f.until(readyWait, "writes are taken again", func() bool { return put("fill/again").status == http.StatusCreated })
	acknowledged = append(acknowledged, "fill/again")
	intact()
	assert.Equal(t, http.StatusNotFound, f.ask(p, http.MethodGet, configPath+"fill/more", "").status, "what was refused was not applied")
}
