package main

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/jepsen"
	"github.com/confman/confman/planted"
)

// leastBroken is how many broken builds there are at least.
const leastBroken = 12

func loadAll(t *testing.T) (root string, all []brokenBuild) {
	t.Helper()
	root, err := planted.ModuleRoot(t.Context())
	require.NoError(t, err)
	all, err = loadBroken(root)
	require.NoError(t, err)
	return root, all
}

// TestBrokenBuildsApply: every patch has a whole header, applies and leaves Go behind. Whether it compiles takes a build
// each, and is seen by "make jepsen-broken".
func TestBrokenBuildsApply(t *testing.T) {
	root, all := loadAll(t)
	assert.GreaterOrEqual(t, len(all), leastBroken)
	for _, b := range all {
		t.Run(b.Name, func(t *testing.T) {
			overlay, err := b.Apply(t.Context(), root, t.TempDir())
			require.NoError(t, err)
			assert.Len(t, overlay, len(b.Files))
			for _, copied := range overlay {
				_, err := parser.ParseFile(token.NewFileSet(), copied, nil, parser.SkipObjectResolution)
				assert.NoError(t, err)
			}
		})
	}
}

const (
	brokenHeader = "# breaks: b\n# promise: p\n# judges: bank, stop\n# run: --workload bank --nodes 5\n"
	brokenDiff   = "--- a/wal/log.go\n+++ b/wal/log.go\n"
)

func TestParseBroken(t *testing.T) {
	root, err := planted.ModuleRoot(t.Context())
	require.NoError(t, err)
	b, err := parseBroken(root, "x", []byte(brokenHeader+brokenDiff))
	require.NoError(t, err)
	assert.Equal(t, []string{"bank", "stop"}, b.judges)
	f, err := b.flags()
	require.NoError(t, err)
	assert.Equal(t, 5, f.local.Nodes)
	assert.Equal(t, []string{"bank"}, f.o.Workloads)

	b, err = parseBroken(root, "x", []byte(brokenHeader+"# plants: vote-not-persisted\n"))
	require.NoError(t, err)
	assert.Equal(t, []string{"node/core_storage.go"}, b.Files)

	for name, c := range map[string]struct{ text, says string }{
		"no run":        {"# breaks: b\n# promise: p\n# judges: bank\n" + brokenDiff, "needs breaks, promise, judges and run"},
		"unknown key":   {"# author: me\n" + brokenHeader + brokenDiff, "no such key"},
		"unknown flag":  {brokenHeader + "# run: --fate\n" + brokenDiff, "--fate"},
		"its own seed":  {brokenHeader + "# run: --seed 3\n" + brokenDiff, "--seed is not its own"},
		"no flags":      {brokenHeader + "# run: bank\n" + brokenDiff, "is no flag"},
		"both":          {brokenHeader + "# plants: vote-not-persisted\n" + brokenDiff, "and has a diff"},
		"no such":       {brokenHeader + "# plants: nothing\n", "nothing.patch"},
		"no diff":       {brokenHeader, "changes no file"},
		"not what runs": {brokenHeader + "--- a/sim/a.go\n+++ b/sim/a.go\n", "sim/a.go: bugs are planted in"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseBroken(root, "x", []byte(c.text))
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestChosenOf(t *testing.T) {
	_, all := loadAll(t)
	got, err := chosenOf(all, nil)
	require.NoError(t, err)
	assert.Len(t, got, len(all))
	got, err = chosenOf(all, []string{all[2].Name})
	require.NoError(t, err)
	assert.Equal(t, all[2].Name, got[0].Name)
	_, err = chosenOf(all, []string{"nothing"})
	assert.ErrorContains(t, err, "there is no jepsen/broken/nothing.patch")
}

// fakeRuns answers runs of a breaker: those of the sound build and of the broken one by seed.
func fakeRuns(sound, broken map[uint64]*jepsen.Result) func(context.Context, *brokenBuild, string, uint64, string, func(*jepsen.Result) bool) (*jepsen.Result, error) {
	return func(_ context.Context, _ *brokenBuild, _ string, seed uint64, name string, _ func(*jepsen.Result) bool) (*jepsen.Result, error) {
		of := broken
		if name == soundName {
			of = sound
		}
		if res := of[seed]; res != nil {
			return res, nil
		}
		return &jepsen.Result{After: time.Second}, nil
	}
}

// TestHunt: what is caught by a judge that the patch names, in a run that the sound build passes, is caught, and nothing else.
func TestHunt(t *testing.T) {
	wrong := func(judges ...string) *jepsen.Result {
		res := &jepsen.Result{After: time.Second, Err: errors.New("wrong")}
		for _, j := range judges {
			res.Wrong = append(res.Wrong, jepsen.Wrong{Judge: j, Text: "text"})
		}
		return res
	}
	for name, c := range map[string]struct {
		sound, broken map[uint64]*jepsen.Result
		tries         int
		judges, says  string
	}{
		"at once":       {broken: map[uint64]*jepsen.Result{1: wrong("bank")}, tries: 1, judges: "bank"},
		"later":         {broken: map[uint64]*jepsen.Result{3: wrong("stop", "watch", "bank")}, tries: 3, judges: "stop, bank"},
		"never":         {tries: 3, says: "it is not caught"},
		"by accident":   {broken: map[uint64]*jepsen.Result{2: wrong("watch")}, tries: 2, judges: "watch", says: "by accident"},
		"the sound one": {broken: map[uint64]*jepsen.Result{2: wrong("bank")}, sound: map[uint64]*jepsen.Result{2: wrong("bank")}, tries: 2, judges: "bank", says: "fails without it too"},
	} {
		t.Run(name, func(t *testing.T) {
			b := breaker{tries: 3, passed: map[string]error{}, once: fakeRuns(c.sound, c.broken)}
			got := b.hunt(t.Context(), brokenBuild{judges: []string{"bank", "stop"}}, "program")
			assert.Equal(t, c.tries, got.tries)
			assert.Equal(t, time.Duration(c.tries)*time.Second, got.after)
			assert.Equal(t, c.judges, got.judges())
			if c.says != "" {
				require.ErrorContains(t, got.err, c.says)
				return
			}
			require.NoError(t, got.err)
		})
	}
}

// TestBrokenTable: a row is replaced, stays, or goes with its patch.
func TestBrokenTable(t *testing.T) {
	named := func(name string) brokenBuild {
		return brokenBuild{Patch: planted.Patch{Name: name}, promise: "p", breaks: "b|c", run: "--x"}
	}
	page := filepath.Join(t.TempDir(), "page.md")
	first := brokenTable{[]caught{
		{build: named("a"), wrong: []jepsen.Wrong{{Judge: "bank", Text: "one\ntwo"}}, tries: 2, after: 3 * time.Second},
		{build: named("gone"), tries: 3, err: errors.New("it is not caught")},
		{build: named("z"), tries: 3, err: errors.New("it is not caught")},
	}}
	require.NoError(t, first.write(page, []brokenBuild{named("a"), named("gone"), named("z")}))
	require.ErrorIs(t, first.err(), errNotCaught)
	require.ErrorContains(t, first.err(), "z: it is not caught")

	second := brokenTable{[]caught{{build: named("z"), wrong: []jepsen.Wrong{{Judge: "stop", Text: "three"}}, tries: 1, after: time.Second}}}
	require.NoError(t, second.err())
	all := []brokenBuild{named("a"), named("new"), named("z")}
	require.NoError(t, second.write(page, all))
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(b), "2 of 3 are caught")
	assert.Contains(t, string(b), "| a | p: b\\|c | `--x` | bank | 3.0 (2) | one |\n| z | p: b\\|c | `--x` | stop | 1.0 (1) | three |\n")
	assert.NotContains(t, string(b), "gone")

	require.NoError(t, first.write(page, all))
	b, err = os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(b), "1 of 3 are caught")
}

func TestMerge(t *testing.T) {
	o := jepsen.LocalOptions{Sections: map[string]any{"Data": map[string]any{"MinFreeBytes": 0}}}
	require.NoError(t, merge(&o, []string{"Data.CatchUpBytes=1", "Log.Level=debug"}))
	assert.Equal(t, map[string]any{
		"Data": map[string]any{"MinFreeBytes": 0, "CatchUpBytes": 1.0}, "Log": map[string]any{"Level": "debug"},
	}, o.Sections)
	for _, bad := range []string{"Data", "Data=1", "Data.CatchUpBytes", ".x=1"} {
		require.ErrorContains(t, merge(&o, []string{bad}), "is not SECTION.KEY=VALUE")
	}
}

// TestSaid: a judge's words are one line of text, whatever the value that they quote.
func TestSaid(t *testing.T) {
	assert.Equal(t, "read v?8?, and not “v18”", said("read v\xb18\x01, and not “v18”\nmore"))
}
