package work

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/bench/meter"
)

// Machine is where and of what it was measured.
type Machine struct {
	At         time.Time `json:"at"`
	Processors int       `json:"processors"`
	Model      string    `json:"model"`
	Kernel     string    `json:"kernel"`
	Go         string    `json:"go"` // that built this program
	Confman    string    `json:"confman"`
	Etcd       string    `json:"etcd,omitempty"`
	Sync       float64   `json:"sync_ms"` // what 4 KiB and their fdatasync take, in the median
	Command    []string  `json:"command"`
}

// syncs are how many Machine makes.
const syncs = 200

// machine asks for all of it; what cannot be told is empty.
func (r *Run) machine(ctx context.Context) (m Machine, err error) {
	m = Machine{At: time.Now(), Processors: meter.Processors(), Go: runtime.Version(), Command: os.Args}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.Model = model(string(text))
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.Confman = firstLines(ctx, 2, r.Confman, "version")
	if r.Options.Etcd != "" {
		m.Etcd = firstLines(ctx, 1, r.Options.Etcd, "--version")
	}
	m.Sync, err = r.sync()
	return m, err
}

// model is the processors' name in /proc/cpuinfo.
func model(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// firstLines are the first lines that a program prints, as one.
func firstLines(ctx context.Context, n int, program string, args ...string) string {
	text, err := exec.CommandContext(ctx, program, args...).Output() //nolint:gosec // what is measured
	if err != nil {
		return ""
	}
	lines := strings.SplitN(string(text), "\n", n+1)
	return strings.Join(strings.Fields(strings.Join(lines[:min(n, len(lines))], " ")), " ")
}

// sync measures the disk.
func (r *Run) sync() (float64, error) {
	f, err := os.CreateTemp(r.Data, "confman-bench-sync-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is a few pages
	defer f.Close()
	page := make([]byte, 4<<10)
	if _, err := f.WriteAt(page, syncs<<12); err != nil {
		return 0, err
	}
	all := make([]time.Duration, 0, syncs)
	for i := range syncs {
		start := time.Now()
		if _, err := f.WriteAt(page, int64(i)<<12); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return millis(all[syncs/2]), nil
}

// Names are of the programs' versions, short.
func (m Machine) Names() string {
	names := []string{m.Confman, m.Etcd}
	return strings.Join(slices.DeleteFunc(names, func(s string) bool { return s == "" }), ", ")
}

// CommandLine is what was called.
func (m Machine) CommandLine() string {
	if len(m.Command) == 0 {
		return ""
	}
	return strings.Join(append([]string{filepath.Base(m.Command[0])}, m.Command[1:]...), " ")
}
