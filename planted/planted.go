// Package planted lays known bugs over the sources, to show that those who look for bugs find them. A bug is a patch of
// the code that ships; what is built with it is the program with that bug, and the tree is not touched.
package planted

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

// Suffix is how the names of the files end that hold patches.
const Suffix = ".patch"

// Patch is a unified diff behind a header of such lines:
//
//	# key: value
type Patch struct {
	Name  string   // of the file, without Suffix
	Files []string // that it changes, below the module's root
	diff  []byte
}

// Load reads the files of all patches in dir, in order of name, and reports all that each finds wrong with any of them.
func Load(dir string, each func(name string, text []byte) error) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+Suffix))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s holds no patch", dir)
	}
	var errs []error
	for _, path := range paths {
		b, err := os.ReadFile(path) //nolint:gosec // the sources' own patches
		if err != nil {
			return err
		}
		if err := each(strings.TrimSuffix(filepath.Base(path), Suffix), b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// Parse reads a patch; header is told each line of its header.
func Parse(name string, text []byte, header func(key, value string) error) (Patch, error) {
	p := Patch{Name: name, diff: text}
	inHeader := true
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if comment, ok := strings.CutPrefix(line, "# "); ok && inHeader {
			key, value, _ := strings.Cut(comment, ": ")
			if value == "" {
				return p, fmt.Errorf("header line %q: want \"# key: value\"", comment)
			}
			if err := header(key, value); err != nil {
				return p, fmt.Errorf("header line %q: %w", comment, err)
			}
			continue
		}
		inHeader = false
		if file, ok := strings.CutPrefix(line, "+++ b/"); ok {
			p.Files = append(p.Files, file)
		}
	}
	return p, lines.Err()
}

// ErrKey is what header says of a key that it does not know.
var ErrKey = errors.New("there is no such key")

// Within says what is wrong with where p plants its bug: only in code, not in tests, below one of dirs.
func (p *Patch) Within(dirs []string) error {
	if len(p.Files) == 0 {
		return errors.New("it changes no file")
	}
	var errs []error
	for _, f := range p.Files {
		in := slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(f, dir) })
		if !in || strings.HasSuffix(f, "_test.go") || filepath.ToSlash(filepath.Clean(f)) != f {
			errs = append(errs, fmt.Errorf("%s: bugs are planted in the code below %s", f, strings.Join(dirs, ", ")))
		}
	}
	return errors.Join(errs...)
}

// Apply makes patched copies of p's files below dir and returns what to lay over
// what: absolute paths of sources to those of the copies.
//
// git does it, which every machine that has the sources has: it applies a patch
// whose context is there word for word, and nothing else, but lets lines have moved, so
// that an edit elsewhere in a file breaks no patch.
func (p *Patch) Apply(ctx context.Context, root, dir string) (map[string]string, error) {
	overlay := map[string]string{}
	for _, f := range p.Files {
		b, err := os.ReadFile(filepath.Join(root, f)) //nolint:gosec // Within saw where it is
		if err != nil {
			return nil, err
		}
		copied := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(copied), 0o750); err != nil {
			return nil, err
		}
		if err := os.WriteFile(copied, b, 0o600); err != nil { //nolint:gosec // below dir: Within saw to it
			return nil, err
		}
		overlay[filepath.Join(root, f)] = copied
	}
	cmd := exec.CommandContext(ctx, "git", "apply", "-")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(p.diff)
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

// Build compiles the program of a package below root, such as ./cmd/sim, with an overlay into dir, and returns its path.
func Build(ctx context.Context, root, dir, program string, overlay map[string]string) (string, error) {
	b, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return "", err
	}
	over := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(over, b, 0o600); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, filepath.Base(program)+".bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", over, "-o", bin, program) //nolint:gosec // paths of the caller's own
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not compile: %w: %s", err, lastLine(string(out)))
	}
	return bin, nil
}

// ModuleRoot is the directory of go.mod.
func ModuleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w: run it inside the module", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
