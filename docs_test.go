package confman

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// namedTest is how docs name a test: with its directory, none for the root; a target of make is
	// as good.
	namedTest   = regexp.MustCompile("`(?:([a-z/]+)\\.)?((?:Test|Fuzz)[A-Z]\\w*)`")
	namedTarget = regexp.MustCompile("`make ([a-z0-9-]+)")
	// calledTarget is how scripts of CI call one.
	calledTarget = regexp.MustCompile(`(?m)^\s*(?:if )?(?:make|part) ([a-z0-9-]+)`)
)

// tests are all test functions below root, as docs name them.
func tests(t *testing.T, root string) map[string]bool {
	all := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				all[strings.TrimPrefix(filepath.ToSlash(dir)+"."+fn.Name.Name, "..")] = true
			}
		}
		return nil
	}))
	return all
}

// unproven is what is wrong with a page of threats: rows of its tables of three columns whose last
// one names no test, and names of none that there is.
func unproven(page string, tests, targets map[string]bool) (wrong []string, rows int) {
	for n, line := range strings.Split(page, "\n") {
		bad := func(format string, args ...any) {
			wrong = append(wrong, fmt.Sprintf("line %d: %s", n+1, fmt.Sprintf(format, args...)))
		}
		for _, m := range namedTest.FindAllStringSubmatch(line, -1) {
			if name := strings.TrimPrefix(m[1]+"."+m[2], "."); !tests[name] {
				bad("there is no %s", name)
			}
		}
		for _, m := range namedTarget.FindAllStringSubmatch(line, -1) {
			if !targets[m[1]] {
				bad("there is no make %s", m[1])
			}
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.HasPrefix(cells[0], "---") {
			continue
		}
		switch last := strings.TrimSpace(cells[2]); {
		case last == "test": // the head
		case namedTest.MatchString(last) || namedTarget.MatchString(last):
			rows++
		default:
			bad("no test: %s", cells[0])
		}
	}
	return wrong, rows
}

// targets are those that the Makefile has a rule for.
func targets(t *testing.T) map[string]bool {
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		all[m[1]] = true
	}
	return all
}

// TestTargetsExist: for a target that is .PHONY and has no rule, make does nothing, and is content.
func TestTargetsExist(t *testing.T) {
	all := targets(t)
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	_, phony, found := strings.Cut(string(makefile), "\n.PHONY: ")
	require.True(t, found)
	phony, _, _ = strings.Cut(phony, "\n")
	for _, target := range strings.Fields(phony) {
		assert.Truef(t, all[target], "there is no rule for make %s", target)
	}
	named := 0
	for pattern, names := range map[string]*regexp.Regexp{"*.md": namedTarget, "docs/*.md": namedTarget, ".ci/*": calledTarget} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range names.FindAllStringSubmatch(string(text), -1) {
				named++
				assert.Truef(t, all[m[1]], "%s: there is no make %s", file, m[1])
			}
		}
	}
	assert.Greater(t, named, 20, "they were not found")
}

func TestThreatModelNamesItsTests(t *testing.T) {
	page, err := os.ReadFile("docs/threat-model.md")
	require.NoError(t, err)
	threats, _, found := strings.Cut(string(page), "\n## If it happens")
	require.True(t, found)
	wrong, rows := unproven(threats, tests(t, "."), targets(t))
	assert.Empty(t, wrong)
	assert.Greater(t, rows, 40, "the tables were not found")
}

// TestThreatModelCanFail shows the check a page with what it is there for.
func TestThreatModelCanFail(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a", "b"), 0o750))
	src := []byte("package b\n\nfunc TestIs(t *testing.T) {}\n\nfunc (x) TestMethod() {}\n")
	for _, name := range []string{"c_test.go", "a/b/c_test.go"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), src, 0o600))
	}
	known := tests(t, root)
	require.Equal(t, map[string]bool{"TestIs": true, "a/b.TestIs": true}, known)
	page := []string{
		"| threat | defence | test |", "| --- | --- | --- |",
		"| x | y | `a/b.TestIs`, `TestIs` |", "| x | y | `make vuln` |",
		"| x | y | `a.TestIs` |", "| x | y | it is obvious |", "| x | y | `make nothing` |", "and `a/b.TestMethod`",
	}
	wrong, rows := unproven(strings.Join(page, "\n"), known, map[string]bool{"vuln": true})
	assert.Equal(t, []string{
		"line 5: there is no a.TestIs", "line 6: no test: x", "line 7: there is no make nothing", "line 8: there is no a/b.TestMethod",
	}, slices.Sorted(slices.Values(wrong)))
	assert.Equal(t, 4, rows)
}
