package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

// command runs a command line against endpoints.
func command(t *testing.T, endpoints, in string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	e := env{in: strings.NewReader(in), out: &out, err: &errs, environ: []string{endpointsVariable + "=" + endpoints}}
	code := run(t.Context(), e, args)
	return result{code, out.String(), errs.String()}
}

// refused runs a command line against an address where nobody listens. It goes on trying until its time
// is up: it gets as much as a starved machine takes to be refused once.
func refused(t *testing.T, endpoints, in string, args ...string) result {
	t.Helper()
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		r := command(t, endpoints, in, append(slices.Clip(args), "--timeout", wait.String())...)
		if strings.Contains(r.err, "connection refused") || wait > time.Minute {
			return r
		}
	}
}

// split takes a command line apart as a shell does: quotes, no escapes.
func split(line string) []string {
	var (
		args   []string
		arg    strings.Builder
		quote  rune
		inside bool
	)
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inside = c, true
		case quote == 0 && c == ' ':
			if inside {
				args = append(args, arg.String())
				arg.Reset()
			}
			inside = false
		default:
			arg.WriteRune(c)
			inside = true
		}
	}
	if inside {
		args = append(args, arg.String())
	}
	return args
}

var seconds = regexp.MustCompile(`[0-9.]+ s, [0-9]+ leaves/s|in [0-9.]+ s;|"(seconds|leaves_per_second)": [0-9.e+-]+`)

// TestCommands holds the conversations of testdata/commands: command lines, what
// they print and how they exit, against one store for each file.
//
//	file name=PATH     writes its input to a file below DIR
//	fault ...          makes the server answer a problem once
//	lose               makes the server apply a request and lose the answer
//	denied             has the audit tell of what was denied
//	contend times=N    has somebody else change each namespace that is read, N times
//	damage revision=N  makes the history's verification find a change that differs
//	run [endpoints=..] runs the command lines of its input
func TestCommands(t *testing.T) {
	// One worker sends files in their order, so that revisions are the same each time.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	datadriven.Walk(t, filepath.Join("testdata", "commands"), func(t *testing.T, path string) {
		api, url := newFakeAPI(t)
		dir := t.TempDir()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		nobody := "http://" + l.Addr().String()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "file":
				var name string
				d.ScanArgs(t, "name", &name)
				name = filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
				require.NoError(t, os.WriteFile(name, []byte(d.Input), 0o644))
				return ""
			case "fault":
				var (
					status        int
					name, outcome string
				)
				d.ScanArgs(t, "status", &status)
				d.ScanArgs(t, "name", &name)
				d.MaybeScanArgs(t, "outcome", &outcome)
				api.faults = append(api.faults, fakeProblem(status, name, outcome, d.HasArg("retryable"), "as injected"))
				return ""
			case "lose":
				api.faults = append(api.faults, api.lose)
				return ""
			case "denied":
				api.denied = fakeDenied
				return ""
			case "contend":
				d.ScanArgs(t, "times", &api.contended)
				return ""
			case "damage":
				d.ScanArgs(t, "revision", &api.damaged)
				return ""
			case "run":
				var b strings.Builder
				for line := range strings.SplitSeq(d.Input, "\n") {
					line, in, _ := strings.Cut(line, " <<< ")
					args := split(strings.NewReplacer("DIR", dir, "URL", url, "NOBODY", nobody).Replace(line))
					require.Equal(t, "confman", args[0])
					var r result
					if d.HasArg("nobody") {
						r = refused(t, nobody, in, args[1:]...)
					} else {
						r = command(t, url, in, args[1:]...)
					}
					fmt.Fprintf(&b, "$ %s\n%s", line, r.out)
					for e := range strings.SplitSeq(strings.TrimSuffix(r.err, "\n"), "\n") {
						if e != "" {
							fmt.Fprintf(&b, "! %s\n", e)
						}
					}
					if r.code != 0 {
						fmt.Fprintf(&b, "exit %d\n", r.code)
					}
				}
				text := strings.NewReplacer(dir, "DIR", url, "URL", nobody, "NOBODY", l.Addr().String(), "NOBODY").Replace(b.String())
				if d.HasArg("nobody") { // the clock says whether there is time for another attempt
					text = regexp.MustCompile(` \(after \d+ attempts\)`).ReplaceAllString(text, "")
				}
				text = regexp.MustCompile(`after \d+ attempts`).ReplaceAllString(text, "after N attempts")
				// Columns are as wide as the addresses are long.
				text = regexp.MustCompile(`(?m)^((?:NODE|node1|-) .*?) {2,}(.*)$`).ReplaceAllStringFunc(text, func(s string) string {
					return regexp.MustCompile(` {2,}`).ReplaceAllString(s, "  ")
				})
				return seconds.ReplaceAllStringFunc(text, func(s string) string {
					return regexp.MustCompile(`[0-9.]+(e[+-][0-9]+)?`).ReplaceAllString(s, "N")
				})
			}
			t.Fatalf("unknown directive %s", d.Cmd)
			return ""
		})
	})
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := command(t, "", "", "completion", shell)
		assert.Equal(t, exitOK, r.code)
		assert.NotEmpty(t, r.out)
	}
	r := command(t, "", "", "__complete", "get", "k", "--consistency", "")
	assert.Equal(t, "linearizable\nbounded\nlocal\n:4\n", r.out)
}

func TestHelpNamesTheExitCodes(t *testing.T) {
	r := command(t, "", "", "--help")
	assert.Equal(t, exitOK, r.code)
	for _, code := range []int{exitOK, exitError, exitUsage, exitNotFound, exitConflict, exitUnavailable, exitUnknown, exitNotHeld, exitDenied} {
		assert.Contains(t, r.out, fmt.Sprintf("%d ", code))
	}
}

func TestTerminalGetsALineBreak(t *testing.T) {
	_, url := newFakeAPI(t)
	require.Zero(t, command(t, url, "", "put", "a", "text").code)
	var out, errs bytes.Buffer
	e := env{out: &out, err: &errs, outTerminal: true}
	require.Zero(t, run(context.Background(), e, []string{"get", "a", "--endpoints", url}), errs.String())
	assert.Equal(t, "text\n", out.String())
}
