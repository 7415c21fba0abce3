package node

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// coreImports is all that the core needs: no I/O, no clock, no randomness.
var coreImports = []string{
	"bytes", "cmp", "encoding/binary", "errors", "fmt", "hash/crc32", "hash/fnv", "maps", "math", "slices", "time",
	"go.etcd.io/raft/v3", "go.etcd.io/raft/v3/raftpb", "go.etcd.io/raft/v3/tracker", "google.golang.org/protobuf/proto",
	"github.com/confman/confman/fsm", "github.com/confman/confman/transport", "github.com/confman/confman/wal",
}

// clockNames are the parts of package time that read or wait for a clock.
var clockNames = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "Sleep", "NewTimer", "NewTicker"}

// impurities lists what in a file keeps it from being a function of its inputs.
func impurities(fset *token.FileSet, f *ast.File) []string {
	var out []string
	say := func(n ast.Node, what string) {
		out = append(out, fmt.Sprintf("line %d: %s", fset.Position(n.Pos()).Line, what))
	}
	for _, spec := range f.Imports {
		if path := strings.Trim(spec.Path.Value, `"`); !slices.Contains(coreImports, path) {
			say(spec, "imports "+path)
		}
	}
	maps := mapNames(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "go statement")
		case *ast.ChanType:
			say(n, "channel")
		case *ast.SelectStmt:
			say(n, "select")
		case *ast.SendStmt:
			say(n, "send on a channel")
		case *ast.RangeStmt:
			if name := lastName(n.X); maps[name] {
				say(n, "range over the map "+name)
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clockNames, n.Sel.Name) {
				say(n, "time."+n.Sel.Name)
			}
		}
		return true
	})
	return out
}

// mapNames are the fields and variables of a file whose type is written as a map,
// or that are made as one.
func mapNames(f *ast.File) map[string]bool {
	out := map[string]bool{}
	isMap := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.MapType:
			return true
		case *ast.CompositeLit:
			_, ok := e.Type.(*ast.MapType)
			return ok
		case *ast.CallExpr:
			if fun, ok := e.Fun.(*ast.Ident); ok && fun.Name == "make" {
				_, ok := e.Args[0].(*ast.MapType)
				return ok
			}
		}
		return false
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if isMap(n.Type) {
				for _, name := range n.Names {
					out[name.Name] = true
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if n.Type != nil && isMap(n.Type) || i < len(n.Values) && isMap(n.Values[i]) {
					out[name.Name] = true
				}
			}
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				if i < len(n.Rhs) && isMap(n.Rhs[i]) {
					out[lastName(l)] = true
				}
			}
		}
		return true
	})
	return out
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// TestCoreIsPure keeps the core one that a simulator can drive: the same inputs
// give the same effects.
func TestCoreIsPure(t *testing.T) {
	files, err := filepath.Glob("core*.go")
	require.NoError(t, err)
	checked := 0
	for _, path := range append(files, "input.go", "effect.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		require.NoError(t, err)
		assert.Empty(t, impurities(fset, f), path)
		checked++
	}
	require.GreaterOrEqual(t, checked, 7, "the glob lost the core")
}

// TestPurityCanFail shows the check one of everything.
func TestPurityCanFail(t *testing.T) {
	const src = `package node
import ("os"; "time")
type s struct { m map[int]int }
func f(x s) {
	go f(x)
	c := make(chan int)
	c <- 1
	select {}
	for range x.m {}
	local := map[int]int{}
	for range local {}
	_ = time.Now()
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "core_bad.go", src, 0)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"line 2: imports os", "line 5: go statement", "line 6: channel", "line 7: send on a channel",
		"line 8: select", "line 9: range over the map m", "line 11: range over the map local", "line 12: time.Now",
	}, impurities(fset, f))
}
