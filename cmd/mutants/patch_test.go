package main

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/planted"
)

// leastMutants is how many planted bugs there are at least.
const leastMutants = 25

func load(t *testing.T) (root string, all []mutant) {
	t.Helper()
	root, err := planted.ModuleRoot(t.Context())
	require.NoError(t, err)
	all, err = loadMutants(filepath.Join(root, mutantsDir))
	require.NoError(t, err)
	return root, all
}

// TestPatchesApply: every patch has a whole header, applies and leaves Go behind.
// Whether it compiles takes a build each, and is seen by "make mutants".
func TestPatchesApply(t *testing.T) {
	root, all := load(t)
	assert.GreaterOrEqual(t, len(all)-1, leastMutants)
	_, found := find(all, canaryName)
	assert.True(t, found, "there is no canary")
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			overlay, err := m.Apply(t.Context(), root, t.TempDir())
			require.NoError(t, err)
			assert.Len(t, overlay, len(m.Files))
			for _, copied := range overlay {
				_, err := parser.ParseFile(token.NewFileSet(), copied, nil, parser.SkipObjectResolution)
				assert.NoError(t, err)
			}
		})
	}
}

const goodHeader = "# breaks: b\n# promise: p\n# judges: state, stop\n"

const goodDiff = `--- a/wal/a.go
+++ b/wal/a.go
@@ -2,7 +2,7 @@
 
 // A.
 
-const a = 1
+const a = 2
 
 // B.
 
`

func TestParseMutant(t *testing.T) {
	m, err := parseMutant("x", []byte(goodHeader+"# world: --nodes 1\n# hole: none yet\n"+goodDiff))
	require.NoError(t, err)
	assert.Equal(t, []string{"state", "stop"}, m.judges)
	assert.Equal(t, []string{"--nodes", "1"}, m.world)
	assert.Equal(t, "none yet", m.hole)
	assert.Equal(t, []string{"wal/a.go"}, m.Files)

	for name, c := range map[string]struct{ patch, says string }{
		"no header":      {goodDiff, "the header needs"},
		"no value":       {"# breaks\n" + goodHeader + goodDiff, `want "# key: value"`},
		"unknown key":    {"# author: me\n" + goodHeader + goodDiff, "no such key"},
		"unknown judge":  {"# breaks: b\n# promise: p\n# judges: fate\n" + goodDiff, `judge "fate"`},
		"no diff":        {goodHeader, "changes no file"},
		"the simulator":  {goodHeader + "--- a/sim/a.go\n+++ b/sim/a.go\n", "sim/a.go: bugs are planted in"},
		"a test":         {goodHeader + "--- a/wal/a_test.go\n+++ b/wal/a_test.go\n", "wal/a_test.go: bugs are planted in"},
		"out of the way": {goodHeader + "--- a/wal/a.go\n+++ b/wal/../a.go\n", "wal/../a.go: bugs are planted in"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseMutant("x", []byte(c.patch))
			assert.ErrorContains(t, err, c.says)
		})
	}
}
