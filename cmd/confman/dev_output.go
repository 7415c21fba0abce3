package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxLineBytes bounds what is kept of a line that has not ended.
const maxLineBytes = 64 << 10

// prefixWriter puts a prefix before each line. Lines of writers that share a lock
// do not mix.
type prefixWriter struct {
	to     io.Writer
	lock   *sync.Mutex
	prefix string
	rest   []byte // of the last line
}

// Write prints the lines that are whole; it never fails, so that a node is not
// stopped by a terminal that went away.
func (w *prefixWriter) Write(p []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.rest = append(w.rest, p...)
	for {
		n := bytes.IndexByte(w.rest, '\n')
		if n < 0 && len(w.rest) <= maxLineBytes {
			return len(p), nil
		}
		if n < 0 {
			n = maxLineBytes
		}
		w.print(w.rest[:n])
		w.rest = append(w.rest[:0], bytes.TrimPrefix(w.rest[n:], []byte("\n"))...)
	}
}

// end prints what has no line break.
func (w *prefixWriter) end() {
	w.lock.Lock()
	defer w.lock.Unlock()
	if len(w.rest) > 0 {
		w.print(w.rest)
		w.rest = nil
	}
}

func (w *prefixWriter) print(line []byte) {
	_, _ = fmt.Fprintf(w.to, "%s%s\n", w.prefix, line)
}

// prefixOf is what a node's lines begin with, in a colour of its own on a terminal.
func prefixOf(name string, i int, color bool) string {
	if !color {
		return name + " | "
	}
	colors := [...]int{36, 33, 35, 32, 34} // cyan, yellow, magenta, green, blue
	return fmt.Sprintf("\x1b[%dm%s |\x1b[0m ", colors[i%len(colors)], name)
}
