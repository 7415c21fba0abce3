package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"github.com/confman/confman/jepsen"
	"github.com/confman/confman/planted"
)

// edit is what a variant's sources have another way: in a file, what matches becomes what with makes of it.
type edit struct {
	file  string
	match *regexp.Regexp
	with  func(m []string) string
}

// variants are the programs that scenarios need beside the one under test: these sources with constants changed, laid over them by the compiler.
// The program itself has no switch for that.
var variants = map[string][]edit{
	// The release before this one, as far as what goes together is concerned.
	jepsen.Older: {
		{"fsm/version.go", regexp.MustCompile(`(?m)^(\tVersion += )(\d+)$`), lowered},
		{"transport/grpctransport/version.go", regexp.MustCompile(`(?m)^(\tWireVersion += )(\d+)$`), lowered},
	},
	jepsen.Forgetful: {
		{"fsm/limits.go", regexp.MustCompile(`(?m)^(\tIdempotencyRetention = )10 \* time\.Minute$`), func(m []string) string {
			return fmt.Sprintf("%s%d * time.Millisecond", m[1], jepsen.ForgetfulRetention.Milliseconds())
		}},
	},
}

// lowered is a constant one less, but not less than 1.
func lowered(m []string) string {
	n, _ := strconv.Atoi(m[2]) // they are digits
	return m[1] + strconv.Itoa(max(n-1, 1))
}

// failpointProgram is what make failpoint-build makes.
const failpointProgram = "bin/confman-failpoints"

// built are the variants that were built, into a directory that main removes.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// variantsOf builds the programs that a scenario needs beside the one under test.
func variantsOf(ctx context.Context, sc *jepsen.Scenario) (map[string]string, error) {
	switch sc.Variant {
	case "":
		return nil, nil
	case jepsen.Failpoints:
		if _, err := os.Stat(failpointProgram); err != nil {
			return nil, &cannotError{fmt.Errorf("%s is not there: make failpoint-build makes it", failpointProgram)}
		}
		path, err := filepath.Abs(failpointProgram)
		return map[string]string{sc.Variant: path}, err
	}
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[sc.Variant]; ok {
		return map[string]string{sc.Variant: path}, nil
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "jepsen-variants-")
		if err != nil {
			return nil, err
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	path, err := buildVariant(ctx, sc.Variant, filepath.Join(built.dir, sc.Variant))
	if err != nil {
		return nil, fmt.Errorf("building %q: %w", sc.Variant, err)
	}
	built.paths[sc.Variant] = path
	return map[string]string{sc.Variant: path}, nil
}

func removeVariants() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // it is in the directory for what is temporary
	}
}

// buildVariant builds it of the module of the current directory, into a new one.
func buildVariant(ctx context.Context, name, dir string) (string, error) {
	root, err := planted.ModuleRoot(ctx)
	if err != nil {
		return "", fmt.Errorf("it needs the sources, and Go: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	overlay := map[string]string{}
	for i, e := range variants[name] {
		source := filepath.Join(root, e.file)
		text, err := os.ReadFile(source) //nolint:gosec // of this module
		if err != nil {
			return "", err
		}
		if n := len(e.match.FindAll(text, -1)); n != 1 {
			return "", fmt.Errorf("%s: %d constants match %v, want 1", e.file, n, e.match)
		}
		changed := e.match.ReplaceAllStringFunc(string(text), func(m string) string { return e.with(e.match.FindStringSubmatch(m)) })
		overlay[source] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(overlay[source], []byte(changed), 0o600); err != nil { //nolint:gosec // below dir
			return "", err
		}
	}
	return planted.Build(ctx, root, dir, "./cmd/confman", overlay)
}
