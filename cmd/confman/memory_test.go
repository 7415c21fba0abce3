package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/config"
)

// machine makes the files of a kernel, by their paths.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return root
}

func TestMemoryLimit(t *testing.T) {
	const self, groups = "proc/self/cgroup", "sys/fs/cgroup/"
	service := map[string]string{
		self: "0::/system.slice/confman.service\n",
		groups + "system.slice/confman.service/memory.max":  "max\n",
		groups + "system.slice/confman.service/memory.high": "max\n",
		groups + "system.slice/memory.max":                  "2147483648\n",
		groups + "system.slice/memory.high":                 "1073741824\n",
	}
	for _, c := range []struct {
		name    string
		environ []string
		setting int
		files   map[string]string
		want    int64
		source  string
	}{
		{name: "nobody says anything", files: map[string]string{self: "0::/\n"}},
		{name: "no control groups"},
		{name: "of the older kind", files: map[string]string{self: "4:memory:/a\n", groups + "a/memory.max": "1073741824\n"}},
		{name: "a group above", files: service, want: 805306368, source: "75% of the control group's 1073741824 bytes"},
		{
			name: "a container", files: map[string]string{self: "0::/\n", groups + "memory.max": "536870912\n"},
			want: 402653184, source: "75% of the control group's 536870912 bytes",
		},
		{
			name: "next to nothing", files: map[string]string{self: "0::/\n", groups + "memory.max": "1000000\n"},
			want: config.MinMemoryBytes, source: "75% of the control group's 1000000 bytes",
		},
		{name: "the setting", setting: 123 << 20, files: service, want: 123 << 20, source: "Limits.MemoryBytes"},
		{
			name: "the runtime's variable", environ: []string{"A=b", "GOMEMLIMIT=1GiB"}, setting: 123 << 20, files: service,
			want: debug.SetMemoryLimit(-1), source: "GOMEMLIMIT",
		},
		{name: "the runtime's variable says none", environ: []string{"GOMEMLIMIT=off"}, setting: 123 << 20, files: service},
		{name: "the runtime's variable says nothing", environ: []string{"GOMEMLIMIT="}, setting: 123 << 20, want: 123 << 20, source: "Limits.MemoryBytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, source := memoryLimit(c.environ, c.setting, machine(t, c.files))
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.source, source)
		})
	}
}

func TestMemoryIsLimited(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	m := limitMemory(nil, 1<<40, machine(t, nil), log)
	assert.Len(t, m.ballast, heapBallast)
	assert.Zero(t, m.flushBytes)
	assert.Equal(t, int64(1<<40), debug.SetMemoryLimit(-1))
	assert.Contains(t, said.String(), "bytes=1099511627776 by=Limits.MemoryBytes")
	said.Reset()
	m = limitMemory(nil, 0, machine(t, nil), log)
	assert.Len(t, m.ballast, heapBallast)
	assert.Zero(t, m.flushBytes)
	assert.Empty(t, said.String())
	m = limitMemory(nil, minFlushLimit-1, machine(t, nil), log)
	assert.Len(t, m.ballast, heapBallast)
	assert.Equal(t, smallFlushBytes, m.flushBytes)
	assert.Zero(t, limitMemory(nil, minFlushLimit, machine(t, nil), log).flushBytes)
	m = limitMemory(nil, config.MinMemoryBytes, machine(t, nil), log)
	assert.Empty(t, m.ballast, "there is no room for more garbage")
	assert.Equal(t, smallFlushBytes, m.flushBytes)
	assert.Equal(t, smallOverlayBytes, m.overlayBytes)
}
