package confman

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noNodes are directories whose logs are no node's.
var noNodes = []string{"cmd/sim", "cmd/mutants", "cmd/lincheck", "cmd/jepsen", "sim", "jepsen", "linearizability"}

// logged are the lines that the sources below root log, as the table of a page has them: level and message.
func logged(t *testing.T, root string) map[string]bool {
	levels := map[string]string{"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error"}
	all := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(noNodes, filepath.ToSlash(rel)) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			level, at := levels[method.Sel.Name], 0
			if method.Sel.Name == "LogAttrs" && len(call.Args) > 2 {
				level, at = "", 2
				if l, ok := call.Args[1].(*ast.SelectorExpr); ok {
					level = strings.ToLower(strings.TrimPrefix(l.Sel.Name, "Level"))
				}
			}
			if level == "" || len(call.Args) <= at {
				return true
			}
			if lit, ok := call.Args[at].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				message, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				all[level+" "+message] = true
			}
			return true
		})
		return nil
	}))
	return all
}

// listed are the lines that the tables of a page have, whose first two columns are level and message.
func listed(page string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		if len(cells) == 4 && strings.HasPrefix(cells[1], "`") {
			all[cells[0]+" "+strings.Trim(cells[1], "`")] = true
		}
	}
	return all
}

// wrongRows is how a page's tables differ from the sources.
func wrongRows(logged, listed map[string]bool) (wrong []string) {
	for line := range logged {
		if !listed[line] {
			wrong = append(wrong, fmt.Sprintf("no row for %q", line))
		}
	}
	for line := range listed {
		if !logged[line] {
			wrong = append(wrong, fmt.Sprintf("nothing logs %q", line))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// TestLogsAreDocumented: what an operator finds in a log is on the page about it, with its level.
func TestLogsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/logs-and-traces.md")
	require.NoError(t, err)
	lines := logged(t, ".")
	require.Greater(t, len(lines), 40, "the calls were not found")
	assert.Empty(t, wrongRows(lines, listed(string(page))), "docs/logs-and-traces.md: add, change or remove rows")
}

// TestLogTablesCanFail shows the check sources and a page that differ.
func TestLogTablesCanFail(t *testing.T) {
	root := t.TempDir()
	src := "package a\n\nfunc f() {\n\tx.log.Info(\"one\", 1)\n\tlog.Warn(\"two\")\n\tl.LogAttrs(c, slog.LevelError, \"three\")\n\terr.Error()\n\tx.Info(y)\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "a.go"), []byte(src), 0o600))
	lines := logged(t, root)
	require.Equal(t, map[string]bool{"info one": true, "warn two": true, "error three": true}, lines)
	page := "| level | message | when | what to do |\n| --- | --- | --- | --- |\n| info | `one` | x | y |\n| info | `two` | x | y |\n"
	assert.Equal(t, []string{`no row for "error three"`, `no row for "warn two"`, `nothing logs "info two"`}, wrongRows(lines, listed(page)))
}
