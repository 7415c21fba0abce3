package node

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

// calledMarks are the names with which the package's sources call mark.
func calledMarks(t *testing.T) []string {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || lastName(call.Fun) != "mark" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			require.True(t, ok, "%s: a mark's name is written where it is called", path)
			name, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			names = append(names, name)
			return true
		})
	}
	return names
}

// TestMarks: the list has all places that are marked, each once, and nothing else.
func TestMarks(t *testing.T) {
	called := calledMarks(t)
	slices.Sort(called)
	assert.Equal(t, called, Marks())
	assert.Equal(t, slices.Compact(slices.Clone(called)), called, "a name is of one place")
}

// TestMarkIsTold: the observer hears of a place, and the core does without one.
func TestMarkIsTold(t *testing.T) {
	for _, watched := range []bool{false, true} {
		s := newStage(t, 3, false)
		var told []string
		if watched {
			s.settings.Mark = func(name string) { told = append(told, name) }
		}
		s.start(s.nodes[0])
		c := s.nodes[0].core
		c.full = true
		effects := c.Step(Propose{Request: 1, Command: []byte("x")})
		require.Len(t, effects, 1)
		require.ErrorIs(t, effects[0].(ProposeReply).Err, ErrStorageFull)
		if watched {
			assert.Contains(t, told, "write refused: disk full")
		}
	}
}
