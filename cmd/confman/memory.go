package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/confman/confman/config"
)

// memoryShare is what part of the memory that the control group allows is the process's own, in
// percent: the rest is for the pages of the database that are mapped, the log's files, and what the
// runtime cannot help exceeding for moments.
const memoryShare = 75

const (
	// heapBallast is memory that is never touched, and so takes none, but counts for Go's runtime as in use: it
	// collects garbage when the heap has doubled, and that of a node which holds little is a few MiB, which
	// requests fill many times a second. So up to this much more garbage lies around at a time.
	heapBallast = 48 << 20
	// minBallastLimit is the least limit of memory with a ballast, which counts there, too.
	minBallastLimit = 768 << 20

	// What a node gathers for a flush, and at most, under a limit of less than minFlushLimit. A flush has all pages that it
	// changes in memory, two of 4 KiB for each changed key of a large database: 330 MiB for 48 MiB of small values.
	minFlushLimit     = 1536 << 20
	smallFlushBytes   = 16 << 20
	smallOverlayBytes = 32 << 20
)

// memoryPlan is how a node uses what it may.
type memoryPlan struct {
	// ballast is to be kept while the node runs.
	ballast []byte
	// flushBytes and overlayBytes are those of node.Settings; 0: its defaults.
	flushBytes, overlayBytes int
}

// limitMemory tells Go's runtime how much memory to stay below, so that a node collects garbage in
// time and is not killed: what GOMEMLIMIT says, or else the setting, or else memoryShare of what
// the control group of this process allows. Without any there is no limit. root is that of the
// file system.
func limitMemory(environ []string, setting int, root string, log *slog.Logger) memoryPlan {
	limit, source := memoryLimit(environ, setting, root)
	var m memoryPlan
	if limit == 0 || limit >= minBallastLimit {
		m.ballast = make([]byte, heapBallast)
	}
	if limit != 0 && limit < minFlushLimit {
		m.flushBytes, m.overlayBytes = smallFlushBytes, smallOverlayBytes
	}
	if limit == 0 {
		return m
	}
	if source != goMemLimit { // which the runtime knows itself
		debug.SetMemoryLimit(limit)
	}
	log.Info("memory is limited", slog.Int64("bytes", debug.SetMemoryLimit(-1)), slog.String("by", source))
	return m
}

const goMemLimit = "GOMEMLIMIT"

// memoryLimit is how much, 0 if there is no limit, and who says so.
func memoryLimit(environ []string, setting int, root string) (bytes int64, source string) {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, goMemLimit+"="); ok && value != "" {
			if value == "off" {
				return 0, ""
			}
			return debug.SetMemoryLimit(-1), goMemLimit
		}
	}
	if setting > 0 {
		return int64(setting), "Limits.MemoryBytes"
	}
	if allowed := groupLimit(root); allowed > 0 {
		return max(allowed/100*memoryShare+allowed%100*memoryShare/100, config.MinMemoryBytes), fmt.Sprintf("%d%% of the control group's %d bytes", memoryShare, allowed)
	}
	return 0, ""
}

// groupLimit is the least memory that the control group (cgroup v2) of this process, or one that it
// is in, allows before it slows the process down or ends it; 0 if none has a limit.
func groupLimit(root string) int64 {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) //nolint:gosec // the kernel's, but in tests
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for at := filepath.Clean("/" + group); ; at = filepath.Dir(at) {
			for _, name := range [...]string{"memory.max", "memory.high"} {
				text, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", at, name))
				if err != nil {
					continue // the root group has none; in a namespace, others are not shown
				}
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 { // else "max"
					least = min(least, n)
				}
			}
			if at == "/" {
				break
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
