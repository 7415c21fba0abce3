package confman

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const house = "github.com/confman/confman/"

// arrows lists what each package may import from the house; absent: nothing.
var arrows = map[string][]string{
	"auth":                    {},
	"auth/localissuer":        {},
	"wal":                     {"faultpoint"},
	"fsm":                     {"faultpoint"},
	"transport/grpctransport": {"faultpoint", "tlsfiles", "transport", "transport/grpctransport/wire"},
	"node":                    {"faultpoint", "fsm", "transport", "wal"},
	"httpapi":                 {"auth", "fsm", "node", "tlsfiles"},
	"sim":                     {"fsm", "linearizability", "node", "transport", "wal"},
	"jepsen":                  {"client", "jepsen/losefs", "jepsen/tcpproxy", "jepsen/tunnet", "linearizability"},
	"jepsen/tcpproxy":         {"jepsen/tunnet"},
	"cmd/confman":             {"auth", "auth/localissuer", "client", "config", "fsm", "httpapi", "node", "tlsfiles", "transport", "transport/grpctransport", "wal"},
	"cmd/sim":                 {"linearizability", "sim"},
	"cmd/jepsen":              {"jepsen", "planted"},
	"cmd/lincheck":            {"linearizability"},
	"cmd/mutants":             {"planted"},
}

// imports maps each package below root to what its sources, tests aside, import.
// It parses them itself: the test cache does not see what a child "go list"
// reads, and a wrong arrow would stay green.
func imports(t *testing.T, root string) map[string][]string {
	out := map[string][]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path == filepath.Join(root, "bench") {
			return fs.SkipDir // a module of its own
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		from := filepath.ToSlash(rel)
		for _, spec := range f.Imports {
			out[from] = append(out[from], strings.Trim(spec.Path.Value, `"`))
		}
		return nil
	}))
	return out
}

// wrongArrows lists the imports within the house that arrows does not allow.
func wrongArrows(imports map[string][]string) []string {
	var wrong []string
	for _, from := range slices.Sorted(maps.Keys(imports)) {
		for _, path := range imports[from] {
			to, ours := strings.CutPrefix(path, house)
			if ours && !slices.Contains(arrows[from], to) {
				wrong = append(wrong, fmt.Sprintf("%s must not import %s", from, to))
			}
		}
	}
	return wrong
}

func TestArrows(t *testing.T) {
	got := imports(t, ".")
	require.Contains(t, got, "node", "the walk found no sources")
	assert.Empty(t, wrongArrows(got))
}

// TestArrowsCanFail shows the check a tree with a wrong arrow.
func TestArrowsCanFail(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "fsm"), 0o750))
	src := "package fsm\n\nimport _ \"" + house + "node\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "fsm", "a.go"), []byte(src), 0o600))
	assert.Equal(t, []string{"fsm must not import node"}, wrongArrows(imports(t, root)))
}

// TestShippedCodeIsNotTheTests: nothing that cmd/confman links, however far
// down, is of the simulator, the chaos harness or the judges.
func TestShippedCodeIsNotTheTests(t *testing.T) {
	got := imports(t, ".")
	seen := map[string]bool{}
	var visit func(pkg string, by []string)
	visit = func(pkg string, by []string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		by = append(by, pkg)
		for _, banned := range []string{"sim", "jepsen", "linearizability", "planted"} {
			assert.NotEqual(t, banned, pkg, "imported by way of %v", by)
		}
		for _, path := range got[pkg] {
			if to, ours := strings.CutPrefix(path, house); ours {
				visit(to, by)
			}
		}
	}
	visit("cmd/confman", nil)
	require.True(t, seen["node"], "cmd/confman does not import node: the walk is broken")
}

// TestBoltStaysBehindTheStore and TestGRPCStaysBehindTheTransport: one package
// each knows them.
func TestLibrariesStayBehindTheirPackage(t *testing.T) {
	behind := map[string][]string{
		"go.etcd.io/bbolt":                  {"fsm"},
		"google.golang.org/grpc":            {"transport/grpctransport", "transport/grpctransport/wire"},
		"go.etcd.io/raft/v3":                {"node", "sim", "transport", "transport/grpctransport", "transport/grpctransport/wire", "wal"},
		"github.com/spf13/cobra":            {"cmd/confman", "cmd/jepsen", "cmd/lincheck", "cmd/mutants", "cmd/sim"},
		"github.com/pingcap/failpoint":      {"faultpoint"},
		"github.com/anishathalye/porcupine": {"linearizability"},
		"github.com/coreos/go-oidc/v3":      {"auth"},
		"github.com/prometheus":             {"cmd/confman", "httpapi"},
		"github.com/go-jose/go-jose/v4":     {"auth", "auth/localissuer"},
	}
	got := imports(t, ".")
	for _, pkg := range slices.Sorted(maps.Keys(got)) {
		for _, path := range got[pkg] {
			for lib, owners := range behind {
				if path == lib || strings.HasPrefix(path, lib+"/") {
					assert.Contains(t, owners, pkg, "%s imports %s", pkg, path)
				}
			}
		}
	}
}

// TestOnlyTheSimulatorReplacesRandomness: raft draws from crypto/rand.Reader, and
// whoever assigns to it decides elections.
func TestOnlyTheSimulatorReplacesRandomness(t *testing.T) {
	found := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		name := ""
		for _, spec := range f.Imports {
			if spec.Path.Value == `"crypto/rand"` {
				name = "rand"
				if spec.Name != nil {
					name = spec.Name.Name
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			a, ok := n.(*ast.AssignStmt)
			if !ok || name == "" {
				return true
			}
			for _, l := range a.Lhs {
				if s, ok := l.(*ast.SelectorExpr); ok && s.Sel.Name == "Reader" {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == name {
						found++
						assert.Equal(t, "sim", filepath.ToSlash(filepath.Dir(path)), "%s replaces crypto/rand.Reader", path)
					}
				}
			}
			return true
		})
		return nil
	}))
	require.Positive(t, found, "the simulator replaces crypto/rand.Reader; the walk did not see it")
}
