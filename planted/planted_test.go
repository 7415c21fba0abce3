package planted_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/planted"
)

const diff = `--- a/wal/a.go
+++ b/wal/a.go
@@ -2,7 +2,7 @@
 
 // A.
 
-const a = 1
+const a = 2
 
 // B.
 
`

func TestParse(t *testing.T) {
	got := map[string]string{}
	p, err := planted.Parse("x", []byte("# a: 1\n# b: 2: 3\n"+diff), func(key, value string) error {
		got[key] = value
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "1", "b": "2: 3"}, got)
	assert.Equal(t, []string{"wal/a.go"}, p.Files)
	require.NoError(t, p.Within([]string{"wal/"}))
	require.ErrorContains(t, p.Within([]string{"fsm/"}), "wal/a.go: bugs are planted in")

	_, err = planted.Parse("x", []byte("# a\n"), func(string, string) error { return nil })
	require.ErrorContains(t, err, `want "# key: value"`)
	_, err = planted.Parse("x", []byte("# a: 1\n"), func(string, string) error { return planted.ErrKey })
	require.ErrorIs(t, err, planted.ErrKey)
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	require.ErrorContains(t, planted.Load(dir, nil), "holds no patch")
	for _, name := range []string{"b.patch", "a.patch", "c.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	var got []string
	wrong := errors.New("wrong")
	err := planted.Load(dir, func(name string, text []byte) error {
		got = append(got, name+" "+string(text))
		if name == "a" {
			return wrong
		}
		return nil
	})
	require.ErrorIs(t, err, wrong)
	require.ErrorContains(t, err, "a.patch: wrong")
	assert.Equal(t, []string{"a a.patch", "b b.patch"}, got)
}

// TestApply: lines may have moved, and nothing else may differ.
func TestApply(t *testing.T) {
	p, err := planted.Parse("x", []byte(diff), nil)
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
			overlay, err := p.Apply(t.Context(), root, dir)
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
