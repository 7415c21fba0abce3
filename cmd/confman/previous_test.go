package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// build is a program that was built for a test.
type build struct {
	path  string
	about about // what it says of itself
	of    string
}

// previous is the program of the release before this one, built once for all tests: of the newest tag that this commit
// descends from, or, before there is one, of these sources with the versions of commands and of the wire that they
// add taken back. The program itself has no switch for that.
var previous = sync.OnceValues(func() (build, error) {
	if _, err := program(); err != nil {
		return build{}, err
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return build{}, err
	}
	b := build{path: filepath.Join(programDir, "previous"), of: releaseBefore(root)}
	if b.of == "" {
		b.of, err = "this commit with lowered versions", buildLowered(root, b.path)
	} else {
		err = buildTag(root, b.of, b.path)
	}
	if err != nil {
		return build{}, err
	}
	b.about, err = aboutOf(b.path)
	return b, err
})

// releaseBefore is the newest tag of a release that the commit at root descends from; "" if there is none, or
// no repository.
func releaseBefore(root string) string {
	out, err := exec.Command("git", "-C", root, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*.[0-9]*.[0-9]*", "HEAD^").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// buildTag builds the program of a tag.
func buildTag(root, tag, path string) error {
	dir, err := os.MkdirTemp(programDir, "tag-")
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "sources.tar")
	for _, line := range [][]string{
		{"git", "-C", root, "archive", "--output", archive, tag},
		{"tar", "-x", "-C", dir, "-f", archive},
		{"go", "build", "-C", dir, "-o", path, "./cmd/confman"},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s of %s: %w: %s", line[0], tag, err, out)
		}
	}
	return nil
}

// lowered are the constants that say what a program goes together with, by the file that they are in.
var lowered = map[string]*regexp.Regexp{
	"fsm/version.go":                     regexp.MustCompile(`(?m)^(\tVersion += )(\d+)$`),
	"transport/grpctransport/version.go": regexp.MustCompile(`(?m)^(\tWireVersion += )(\d+)$`),
}

// buildLowered builds the sources at root with each constant of lowered one less, but not less than 1.
func buildLowered(root, path string) error {
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for name, constant := range lowered {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		m := constant.FindAllSubmatch(text, -1)
		if len(m) != 1 {
			return fmt.Errorf("%s: %d constants match %v, want 1", name, len(m), constant)
		}
		n, err := strconv.Atoi(string(m[0][2]))
		if err != nil {
			return err
		}
		text = constant.ReplaceAll(text, fmt.Appendf(nil, "${1}%d", max(n-1, 1)))
		file := filepath.Join(programDir, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		overlay.Replace[filepath.Join(root, name)] = file
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	list := filepath.Join(programDir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-C", root, "-overlay", list, "-o", path, "./cmd/confman").CombinedOutput(); err != nil {
		return fmt.Errorf("go build -overlay: %w: %s", err, out)
	}
	return nil
}

// aboutOf is what a program says of itself.
func aboutOf(path string) (about, error) {
	var a about
	out, err := exec.Command(path, "version", "-o", "json").Output()
	return a, errors.Join(err, json.Unmarshal(out, &a))
}

// TestPreviousReleaseIsOlder: an upgrade from it shows something.
func TestPreviousReleaseIsOlder(t *testing.T) {
	old, err := previous()
	require.NoError(t, err)
	now, err := program()
	require.NoError(t, err)
	this, err := aboutOf(now)
	require.NoError(t, err)
	t.Logf("the release before: %s, which says %+v", old.of, old.about)
	assert.Equal(t, aboutThis().CommandVersion, this.CommandVersion)
	assert.Equal(t, aboutThis().WireVersion, this.WireVersion)
	assert.LessOrEqual(t, old.about.CommandVersion, this.CommandVersion)
	assert.GreaterOrEqual(t, old.about.CommandVersion, this.OldestCommandVersion, "a cluster cannot be upgraded over what this program has forgotten")
	assert.LessOrEqual(t, old.about.WireVersion, this.WireVersion)
	assert.GreaterOrEqual(t, old.about.WireVersion, this.OldestWireVersion, "the two do not understand each other")
}

// TestPreviousReleaseIsBuiltOfATag: the two ways to build it, on a repository made for that.
func TestPreviousReleaseIsBuiltOfATag(t *testing.T) {
	_, err := program()
	require.NoError(t, err)
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", root, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	write("go.mod", "module example.org/m\n\ngo 1.26\n")
	write("cmd/confman/main.go", `package main

import (
	"fmt"

	"example.org/m/fsm"
	"example.org/m/transport/grpctransport"
)

func main() {
	fmt.Printf("{\"command_version\": %d, \"wire_version\": %d}", fsm.Version, grpctransport.WireVersion)
}
`)
	versions := func(commands, wire int) {
		write("fsm/version.go", fmt.Sprintf("package fsm\n\nconst (\n\tMinVersion = 1\n\tVersion    = %d\n)\n", commands))
		write("transport/grpctransport/version.go", fmt.Sprintf("package grpctransport\n\nconst (\n\tMinWireVersion = 1\n\tWireVersion    = %d\n)\n", wire))
	}
	says := func(path string) about {
		a, err := aboutOf(path)
		require.NoError(t, err)
		return a
	}
	path := filepath.Join(t.TempDir(), "program")
	versions(1, 4)
	require.Empty(t, releaseBefore(root), "no repository")
	git("init", "-q")
	git("add", "-A")
	git("commit", "-qm", "one")
	require.Empty(t, releaseBefore(root), "no tag")
	require.NoError(t, buildLowered(root, path))
	assert.Equal(t, about{CommandVersion: 1, WireVersion: 3}, says(path), "there is none before the first")
	git("tag", "v0.9.0")
	require.Empty(t, releaseBefore(root), "this is the release itself")
	versions(2, 5)
	git("commit", "-qam", "two")
	git("tag", "unrelated")
	require.Equal(t, "v0.9.0", releaseBefore(root))
	require.NoError(t, buildTag(root, "v0.9.0", path))
	assert.Equal(t, about{CommandVersion: 1, WireVersion: 4}, says(path))
	git("tag", "v0.10.0")
	require.Equal(t, "v0.9.0", releaseBefore(root))
	git("commit", "-q", "--allow-empty", "-m", "three")
	require.Equal(t, "v0.10.0", releaseBefore(root))
}
