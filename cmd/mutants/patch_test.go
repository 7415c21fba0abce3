package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leastMutants is how many planted bugs there are at least.
const leastMutants = 25

func load(t *testing.T) (root string, all []mutant) {
	t.Helper()
	root, err := moduleRoot(t.Context())
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
		t.Run(m.name, func(t *testing.T) {
			overlay, err := m.apply(t.Context(), root, t.TempDir())
			require.NoError(t, err)
			assert.Len(t, overlay, len(m.files))
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
	assert.Equal(t, []string{"wal/a.go"}, m.files)

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

// TestApply: lines may have moved, and nothing else may differ.
func TestApply(t *testing.T) {
	m, err := parseMutant("x", []byte(goodHeader+goodDiff))
	require.NoError(t, err)
	const source = "package wal\n\n// A.\n\nconst a = 1\n\n// B.\n\nconst b = 1\n"
	for name, c := range map[string]struct{ old, new, says string }{
		"as it was":     {},
		"lines before":  {old: "package wal\n", new: "// Package wal.\npackage wal\n\nimport \"fmt\"\n"},
		"another value": {old: "a = 1", new: "a = 3", says: "the patch does not apply"},
		"other context": {old: "// A.", new: "// The a.", says: "the patch does not apply"},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			path, before := filepath.Join(root, "wal", "a.go"), strings.Replace(source, c.old, c.new, 1)
			require.NoError(t, os.Mkdir(filepath.Dir(path), 0o750))
			require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
			overlay, err := m.apply(t.Context(), root, dir)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			got, err := os.ReadFile(overlay[path])
			require.NoError(t, err)
			assert.Equal(t, strings.Replace(before, "a = 1", "a = 2", 1), string(got))
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, before, string(kept), "the tree is touched")
		})
	}
}
