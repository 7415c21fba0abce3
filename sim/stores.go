package sim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// storesPrefix begins the name of each directory of stores; the id of the process
// that it is of follows, so that what a killed one left can be told.
const storesPrefix = "confman-sim-"

// storesBase is where the directories of stores are: in memory, if there is a file
// system for it.
func storesBase() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err == nil && info.IsDir() {
		return shm
	}
	return os.TempDir()
}

// RemoveLeftStores removes the directories of stores whose process is gone: it was
// killed in the middle of a world. It returns how many there were. What belongs to
// another user, or carries no process's id, stays.
func RemoveLeftStores() (removed int, err error) { return removeLeftStores(storesBase()) }

func removeLeftStores(base string) (removed int, err error) {
	dirs, err := filepath.Glob(filepath.Join(base, storesPrefix+"*-*"))
	if err != nil {
		return 0, fmt.Errorf("sim: left stores: %w", err)
	}
	for _, dir := range dirs {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), storesPrefix), "-")
		pid, err := strconv.Atoi(id)
		if err != nil || pid <= 0 || !gone(pid) {
			continue
		}
		if err := os.RemoveAll(dir); errors.Is(err, os.ErrPermission) {
			continue
		} else if err != nil {
			return removed, fmt.Errorf("sim: left stores: %w", err)
		}
		removed++
	}
	return removed, nil
}

// gone tells whether there is certainly no process of that id.
func gone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0)) // asks, and sends nothing
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
