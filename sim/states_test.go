package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// countedNames are the literals that the package's sources count: whole names, and
// beginnings of those that are put together.
func countedNames(t *testing.T) (names, beginnings []string) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	counted := func(e ast.Expr) {
		into := &names
		for sum, ok := e.(*ast.BinaryExpr); ok; sum, ok = e.(*ast.BinaryExpr) {
			e, into = sum.X, &beginnings
		}
		if literal, ok := e.(*ast.BasicLit); ok {
			name, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			*into = append(*into, name)
		}
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if fun, ok := n.Fun.(*ast.SelectorExpr); ok && fun.Sel.Name == "count" {
					counted(n.Args[0])
				}
			case *ast.IndexExpr:
				if x, ok := n.X.(*ast.SelectorExpr); ok && x.Sel.Name == "fired" {
					counted(n.Index)
				}
			}
			return true
		})
	}
	return names, beginnings
}

// TestStates: whatever the sources count has its name in one of the lists, and what
// is listed is counted somewhere.
func TestStates(t *testing.T) {
	names, beginnings := countedNames(t)
	require.Greater(t, len(names), 30, "the search lost the places that count")
	require.NotEmpty(t, beginnings)
	for _, name := range names {
		assert.True(t, slices.Contains(States(), name) || slices.Contains(Faults(), name), "%q is counted, and in no list", name)
	}
	for _, name := range States() {
		begins := func(b string) bool { return strings.HasPrefix(name, b) }
		assert.True(t, slices.Contains(names, name) || slices.ContainsFunc(beginnings, begins), "%q is listed, and never counted", name)
	}
	all := slices.Concat(Faults(), Marks(), States())
	slices.Sort(all)
	assert.Equal(t, slices.Compact(slices.Clone(all)), all, "a name is in two lists")
	for name, why := range Holes() {
		assert.Contains(t, all, name, "a hole must be a name that is counted")
		assert.NotContains(t, Faults(), name, "a fault that cannot happen is none")
		assert.NotEmpty(t, why)
	}
}

// TestMarksAreCounted: a world hears of the core's marks.
func TestMarksAreCounted(t *testing.T) {
	w := built(t, 1)
	w.setup.node.Mark("x")
	assert.Equal(t, uint64(1), w.judge.fired[markPrefix+"x"])
}
