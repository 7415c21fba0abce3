package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// sample is a small part of the tree below, in the repository.
	sample = "../../testdata/cldr/main"
	// archive, if it is there, holds the real tree: Unicode CLDR, 603,066 leaves.
	archive = "../../../shared/data/cldr-numbers-full-*.tgz"
	// sampleCopies make an import of the sample last long enough to kill a node in it.
	sampleCopies = 24
)

// tree is a directory of JSON files to import: the real one if it is there and
// tests need not be short, else copies of the sample.
func tree(tb testing.TB) string {
	tb.Helper()
	found, err := filepath.Glob(archive)
	require.NoError(tb, err)
	if !testing.Short() && len(found) > 0 {
		dir := tb.TempDir()
		require.NoError(tb, unpack(found[0], dir))
		return filepath.Join(dir, "package", "main")
	}
	dir := tb.TempDir()
	for i := range sampleCopies {
		require.NoError(tb, os.CopyFS(filepath.Join(dir, fmt.Sprintf("copy%02d", i)), os.DirFS(sample)))
	}
	return dir
}

// unpack writes the JSON files of a .tgz below dir.
func unpack(name, dir string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !strings.HasSuffix(h.Name, ".json") {
			continue
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		if err := errors.Join(root.MkdirAll(filepath.Dir(h.Name), 0o700), root.WriteFile(h.Name, text, 0o600)); err != nil {
			return err
		}
	}
}

// leavesBelow are the leaves of all JSON files in a directory, by file path and
// path inside it. It shares no code with the program.
func leavesBelow(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	leaves := map[string]string{}
	require.NoError(tb, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".json") {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return leavesOf(filepath.ToSlash(rel), text, leaves)
	}))
	return leaves
}

// leavesOf adds the leaves of a JSON text to those there are.
func leavesOf(prefix string, text []byte, leaves map[string]string) error {
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return fmt.Errorf("%s: %w", prefix, err)
	}
	var walk func(path string, node any) error
	walk = func(path string, node any) error {
		if object, ok := node.(map[string]any); ok {
			for name, member := range object {
				if err := walk(strings.TrimPrefix(path+"/"+name, "/"), member); err != nil {
					return err
				}
			}
			return nil
		}
		if _, twice := leaves[path]; twice {
			return fmt.Errorf("%s is there twice", path)
		}
		leaf, err := json.Marshal(node)
		leaves[path] = string(leaf)
		return err
	}
	return walk(prefix, tree)
}

// requireSameLeaves compares two trees and names the first differences.
func requireSameLeaves(tb testing.TB, want, got map[string]string) {
	tb.Helper()
	var wrong []string
	for path, leaf := range want {
		if other, ok := got[path]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s: missing, want %s", path, leaf))
		} else if other != leaf {
			wrong = append(wrong, fmt.Sprintf("%s: %s, want %s", path, other, leaf))
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			wrong = append(wrong, path+": not in the input")
		}
	}
	require.Emptyf(tb, wrong[:min(len(wrong), 10)], "%d differences", len(wrong))
}

// TestLeafComparisonCanFail shows the comparison one difference of each kind.
func TestLeafComparisonCanFail(t *testing.T) {
	want, got := map[string]string{}, map[string]string{}
	require.NoError(t, leavesOf("f", []byte(`{"a": {"b": 1.50, "c": [1, {"d": 2}]}, "e": {}}`), want))
	require.Equal(t, map[string]string{"f/a/b": "1.50", "f/a/c": `[1,{"d":2}]`}, want)
	for name, text := range map[string]string{
		"value":   `{"a": {"b": 1.5, "c": [1, {"d": 2}]}}`,
		"missing": `{"a": {"b": 1.50}}`,
		"extra":   `{"a": {"b": 1.50, "c": [1, {"d": 2}], "x": null}}`,
	} {
		t.Run(name, func(t *testing.T) {
			clear(got)
			require.NoError(t, leavesOf("f", []byte(text), got))
			double := &recorder{TB: t}
			requireSameLeaves(double, want, got)
			require.True(t, double.failed)
		})
	}
}

// recorder takes note of a failure instead of failing.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) FailNow()              {}
func (r *recorder) Helper()               {}
