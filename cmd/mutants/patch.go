package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// mutantsDir is where the patches are, below the module's root.
	mutantsDir  = "sim/mutants"
	patchSuffix = ".patch"

	// canaryName is the mutant that no world survives.
	canaryName = "canary"
)

// planted are the directories in which a bug may be planted: code that ships and that
// worlds run. A bug in the simulator proves nothing about the simulator.
var planted = []string{"fsm/", "node/", "transport/", "wal/"}

// judges are the names a patch may give: those of package sim, and those of package
// linearizability as sim calls them.
var judges = []string{
	"answers", "durability", "freshness", "idempotency", "invariant", "linearizability", "liveness", "not-applied", "policy",
	"porcupine", "room", "session", "split-brain", "staleness", "state", "stop", "time", "traffic", "watch", "wire",
}

// mutant is one planted bug: a unified diff behind a header of such lines:
//
//	# breaks: what the code does wrong
//	# promise: what users lose by it
//	# judges: durability, state
//	# world: --nodes 1
//	# hole: what the simulator does not do yet
//
// The first three are a must. judges are those that are meant to catch it: one of
// another name caught it by accident. world narrows the worlds, where only some can
// show the bug. hole explains a survivor, which fails the run all the same; who
// closes the hole takes the line out.
type mutant struct {
	name    string
	breaks  string
	promise string
	judges  []string
	world   []string
	hole    string
	files   []string // that it changes, below the module's root
	patch   []byte
}

// loadMutants reads all patches in dir, in order of name. It reports all that is
// wrong with any of them.
func loadMutants(dir string) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+patchSuffix))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s holds no patch", dir)
	}
	var out []mutant
	var errs []error
	for _, path := range paths {
		b, err := os.ReadFile(path) //nolint:gosec // the sources' own patches
		if err != nil {
			return nil, err
		}
		m, err := parseMutant(strings.TrimSuffix(filepath.Base(path), patchSuffix), b)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
		out = append(out, m)
	}
	return out, errors.Join(errs...)
}

func find(all []mutant, name string) (mutant, bool) {
	i := slices.IndexFunc(all, func(m mutant) bool { return m.name == name })
	if i < 0 {
		return mutant{}, false
	}
	return all[i], true
}

// parseMutant reads a patch with its header.
func parseMutant(name string, patch []byte) (mutant, error) {
	m := mutant{name: name, patch: patch}
	header := true
	lines := bufio.NewScanner(bytes.NewReader(patch))
	for lines.Scan() {
		line := lines.Text()
		if comment, ok := strings.CutPrefix(line, "# "); ok && header {
			if err := m.header(comment); err != nil {
				return m, err
			}
			continue
		}
		header = false
		if file, ok := strings.CutPrefix(line, "+++ b/"); ok {
			m.files = append(m.files, file)
		}
	}
	if err := lines.Err(); err != nil {
		return m, err
	}
	return m, m.validate()
}

func (m *mutant) header(comment string) error {
	key, value, _ := strings.Cut(comment, ": ")
	if value == "" {
		return fmt.Errorf("header line %q: want \"# key: value\"", comment)
	}
	switch key {
	case "breaks":
		m.breaks = value
	case "promise":
		m.promise = value
	case "judges":
		m.judges = strings.Split(value, ", ")
	case "world":
		m.world = strings.Fields(value)
	case "hole":
		m.hole = value
	default:
		return fmt.Errorf("header line %q: there is no such key", comment)
	}
	return nil
}

func (m *mutant) validate() error {
	var errs []error
	if m.breaks == "" || m.promise == "" || len(m.judges) == 0 {
		errs = append(errs, errors.New("the header needs breaks, promise and judges"))
	}
	for _, j := range m.judges {
		if !slices.Contains(judges, j) {
			errs = append(errs, fmt.Errorf("judge %q: there is none of that name", j))
		}
	}
	if len(m.files) == 0 {
		errs = append(errs, errors.New("it changes no file"))
	}
	for _, f := range m.files {
		in := slices.ContainsFunc(planted, func(dir string) bool { return strings.HasPrefix(f, dir) })
		if !in || strings.HasSuffix(f, "_test.go") || filepath.ToSlash(filepath.Clean(f)) != f {
			errs = append(errs, fmt.Errorf("%s: bugs are planted in the code below %s", f, strings.Join(planted, ", ")))
		}
	}
	return errors.Join(errs...)
}

// apply makes patched copies of m's files below dir and returns what to lay over
// what: absolute paths of sources to those of the copies.
//
// git does it, which every machine that has the sources has: it applies a patch
// whose context is there word for word, and nothing else, but lets lines have moved, so
// that an edit elsewhere in a file breaks no patch.
func (m *mutant) apply(ctx context.Context, root, dir string) (map[string]string, error) {
	overlay := map[string]string{}
	for _, f := range m.files {
		b, err := os.ReadFile(filepath.Join(root, f)) //nolint:gosec // validate saw where it is
		if err != nil {
			return nil, err
		}
		copied := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(copied), 0o750); err != nil {
			return nil, err
		}
		if err := os.WriteFile(copied, b, 0o600); err != nil { //nolint:gosec // below dir: validate saw to it
			return nil, err
		}
		overlay[filepath.Join(root, f)] = copied
	}
	cmd := exec.CommandContext(ctx, "git", "apply", "-")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(m.patch)
	// Within a repository git would skip what is not below its current directory, so
	// it must not take dir for a part of one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	cmd.Env = append(cmd.Env, "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the patch does not apply: %w: %s", err, firstLine(string(out)))
	}
	for source, copied := range overlay {
		same, err := sameContent(source, copied)
		if err != nil {
			return nil, err
		}
		if same {
			return nil, fmt.Errorf("the patch does not change %s", source)
		}
	}
	return overlay, nil
}

func sameContent(a, b string) (bool, error) {
	x, err := os.ReadFile(a) //nolint:gosec // a source
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b) //nolint:gosec // its copy
	return bytes.Equal(x, y), err
}

// build compiles cmd/sim with overlay into dir and returns the program's path.
func build(ctx context.Context, root, dir string, overlay map[string]string) (string, error) {
	b, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	over := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(over, b, 0o600); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "sim.bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", over, "-o", bin, "./cmd/sim") //nolint:gosec // paths of this program's own
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not compile: %w: %s", err, lastLine(string(out)))
	}
	return bin, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
