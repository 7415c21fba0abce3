// Package meter reads what the kernel counts: processor time and memory of processes and of the machine, and bytes written to a disk.
// (What it counts as written by a process is no use here: a page that becomes dirty counts as all of the large folio that it
// is in, a hundred times of what is written then.)
package meter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of processor times in /proc: USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the processor time that a process has used since its start.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(text)
}

// parseStat takes utime and stime, fields 14 and 15. The second field, the name, may hold spaces and parentheses.
func parseStat(text []byte) (time.Duration, error) {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is short")
	}
	var sum time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// CPUs is that of several processes.
func CPUs(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		one, err := CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// Own is the processor time of this process.
func Own() (time.Duration, error) {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0, err
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()), nil
}

// Machine is what all processors have done since the machine began.
type Machine struct {
	Processes time.Duration // the kernel's own threads, too
	Kernel    time.Duration // of that, these threads
	Interrupt time.Duration // what interrupts took; what is sent over loopback is, for the most part
	Steal     time.Duration // what the host took away
}

// ReadMachine reads /proc/stat, and what the kernel's threads used.
func ReadMachine() (Machine, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	m, err := parseMachine(text)
	if err != nil {
		return m, err
	}
	m.Kernel, err = kernelThreads()
	return m, err
}

// kernelThreads is the processor time of all threads of the kernel that there are.
func kernelThreads() (sum time.Duration, err error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, dir := range all {
		if _, err := strconv.Atoi(dir.Name()); err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + dir.Name() + "/stat")
		if err != nil || !ofKernel(text) {
			continue // it has ended, or is none
		}
		used, err := parseStat(text)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// ofKernel says whether /proc/PID/stat is of a thread of the kernel: a child of number 2.
func ofKernel(text []byte) bool {
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	return len(fields) > 1 && fields[1] == "2"
}

// parseMachine takes the first line: user, nice, system, idle, iowait, irq, softirq, steal. What guests used is in user.
func parseMachine(text []byte) (m Machine, err error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return m, errors.New("/proc/stat does not begin with the sum of all processors")
	}
	var n [8]time.Duration
	for i := range n {
		v, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		n[i] = time.Duration(v) * tick
	}
	return Machine{Processes: n[0] + n[1] + n[2], Interrupt: n[5] + n[6], Steal: n[7]}, nil
}

// Anon is a process's anonymous memory in bytes: what no file backs.
func Anon(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseAnon(text)
}

// parseAnon takes a line of KiB out of /proc/PID/status.
func parseAnon(text []byte) (int64, error) {
	const name = "RssAnon"
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			fields := strings.Fields(rest)
			if len(fields) == 0 {
				break
			}
			n, err := strconv.ParseInt(fields[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s", name)
}

// Processors is how many there are.
func Processors() int { return runtime.NumCPU() }

// sector is the unit of /sys/dev/block/*/stat, whatever the disk's own is.
const sector = 512

// DiskWritten is how many bytes have been written to the disk that a directory is on, by everybody.
func DiskWritten(dir string) (int64, error) {
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(at.Dev), unix.Minor(at.Dev)))
	if err != nil {
		return 0, err
	}
	return parseDisk(text)
}

// parseDisk takes the seventh field, sectors written.
func parseDisk(text []byte) (int64, error) {
	fields := strings.Fields(string(text))
	if len(fields) < 7 {
		return 0, errors.New("the disk's stat is short")
	}
	n, err := strconv.ParseInt(fields[6], 10, 64)
	return n * sector, err
}
