package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// verdict is what "sim worker" says of a seed: one line of JSON.
type verdict struct {
	Seed    uint64 `json:"seed"`
	Judge   string `json:"judge"`
	Failure string `json:"failure"`
	Trouble string `json:"trouble"`
}

// hunt runs the worlds of consecutive seeds in several processes until one fails.
type hunt struct {
	bin   string
	world []string // flags of the worlds
	from  uint64
	seeds int
	jobs  int

	mu       sync.Mutex
	next     int // seeds given out
	start    time.Time
	took     time.Duration // until the first failure, or the end
	failures []verdict
	err      error // the first that ended a worker
}

// run returns the failure with the least seed, nil if all seeds passed. Which it is
// does not depend on jobs: seeds are given out in order, and all that were are
// waited for. ctx bounds it; past it, or if a process dies, the error says so.
func (h *hunt) run(ctx context.Context) (*verdict, error) {
	h.start = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range min(h.jobs, h.seeds) {
		wg.Go(func() {
			if err := h.worker(ctx); err != nil {
				h.mu.Lock()
				if h.err == nil {
					h.err = err
				}
				h.mu.Unlock()
				cancel() // the others' seeds decide nothing any more
			}
		})
	}
	wg.Wait()
	if h.err != nil {
		return nil, h.err
	}
	if len(h.failures) == 0 {
		h.took = time.Since(h.start)
		return nil, nil
	}
	first := &h.failures[0]
	for i := range h.failures {
		if h.failures[i].Seed < first.Seed {
			first = &h.failures[i]
		}
	}
	return first, nil
}

const (
	// maxStderr bounds what is kept of a worker's last words, in bytes.
	maxStderr = 4 << 10

	// killTime bounds the wait for a worker that was killed.
	killTime = 10 * time.Second
)

// worker feeds one process until there are no seeds.
func (h *hunt) worker(ctx context.Context) (err error) {
	cmd := exec.CommandContext(ctx, h.bin, append([]string{"worker"}, h.world...)...) //nolint:gosec // built by this program
	// Worlds are single threads; two let the collector and the judges run beside.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "GOGC=400")
	cmd.WaitDelay = killTime
	words := &head{max: maxStderr}
	cmd.Stderr = words
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	seed, err := h.feed(in, answers)
	err = errors.Join(err, in.Close(), cmd.Wait())
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("seed %d: no answer: %w", seed, context.Cause(ctx))
	default:
		return fmt.Errorf("the process died of seed %d: %w: %s", seed, err, firstLine(words.String()))
	}
}

// feed gives seeds and takes verdicts, one for one. It returns the last seed given.
func (h *hunt) feed(in io.Writer, answers io.Reader) (uint64, error) {
	dec := json.NewDecoder(answers)
	last := h.from
	for {
		seed, ok := h.take()
		if !ok {
			return last, nil
		}
		last = seed
		if _, err := fmt.Fprintln(in, seed); err != nil {
			return last, err
		}
		var v verdict
		if err := dec.Decode(&v); err != nil {
			return last, err
		}
		switch {
		case v.Trouble != "":
			return last, fmt.Errorf("the world could not be run: %s", v.Trouble)
		case v.Failure != "":
			h.fail(v)
		}
	}
}

func (h *hunt) take() (seed uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == h.seeds || len(h.failures) > 0 {
		return 0, false
	}
	h.next++
	return h.from + uint64(h.next-1), true
}

func (h *hunt) fail(v verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures = append(h.failures, v)
	h.took = time.Since(h.start)
}

// head keeps the first max bytes written to it.
type head struct {
	bytes.Buffer
	max int
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.max - h.Len(); room > 0 {
		h.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
