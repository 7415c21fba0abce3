package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/planted"
)

func testRunner(t *testing.T, root string) *runner {
	t.Helper()
	return &runner{
		root: root, dir: t.TempDir(), seeds: 20, controlSeeds: 2, from: 1, jobs: 2,
		worldTime: 20 * time.Second, budget: time.Minute,
	}
}

// TestEndToEnd plants an easy bug, for real, and then lets another judge have caught it.
func TestEndToEnd(t *testing.T) {
	root, all := load(t)
	r := testRunner(t, root)
	var out bytes.Buffer
	tab := table{out: &out, total: 2, start: time.Now()}
	require.NoError(t, r.trust(t.Context(), all, &tab))

	m, found := find(all, "equal-put-makes-revision")
	require.True(t, found)
	tab.add(r.judge(t.Context(), m))
	require.NoError(t, tab.err())
	assert.Regexp(t, `equal-put-makes-revision +\d+ seeds .* state .* the entry at index`, out.String())

	m.judges = []string{"liveness"}
	require.ErrorContains(t, r.judge(t.Context(), m).err, "caught by accident")

	page := filepath.Join(t.TempDir(), "mutants.md")
	require.NoError(t, tab.write(page, r.worldTime, r.jobs))
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(b), "1 of 2 are caught as they should be, 1 of them within 100 seeds. The run took ")
	assert.Contains(t, string(b), "**The run ended early: only 1")
	assert.Contains(t, string(b), "| equal-put-makes-revision | ")
}

// fakeSim writes a program that stands in for cmd/sim: script reads seeds and answers.
func fakeSim(t *testing.T, script string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "sim")
	require.NoError(t, os.WriteFile(bin, []byte("#!/bin/sh\n"+script), 0o700))
	return bin
}

func TestHunt(t *testing.T) {
	cases := []struct {
		name   string
		script string
		found  uint64
		says   string
	}{
		{"all pass", "while read s; do echo '{\"seed\":'$s'}'; done", 0, ""},
		{"two fail", "while read s; do\ncase $s in 17|18) echo '{\"seed\":'$s',\"judge\":\"state\",\"failure\":\"state: bad\"}';;\n*) echo '{\"seed\":'$s'}';; esac\ndone", 17, ""},
		{"it dies", "read s; echo last words >&2; exit 3", 0, "last words"},
		{"it hangs", "exec sleep 60", 0, "budget"},
		{"no world", "read s; echo '{\"seed\":'$s',\"trouble\":\"no space\"}'", 0, "no space"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := testRunner(t, "")
			if c.says == "budget" {
				r.budget = 100 * time.Millisecond
			}
			ctx, cancel := r.bound(t.Context())
			defer cancel()
			_, found, err := r.hunt(ctx, fakeSim(t, c.script), nil, 10, 20)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			if c.found == 0 {
				assert.Nil(t, found)
				return
			}
			require.NotNil(t, found)
			assert.Equal(t, c.found, found.Seed)
		})
	}
}

// TestDeserved: a seed that fails without the bug too proves nothing about the bug.
func TestDeserved(t *testing.T) {
	r := testRunner(t, "")
	m := &mutant{judges: []string{"state"}}
	found := &verdict{Seed: 7, Judge: "state"}
	r.control = fakeSim(t, "read s; echo '{\"seed\":'$s'}'")
	require.NoError(t, r.deserved(t.Context(), m, found))
	r.control = fakeSim(t, "read s; echo '{\"seed\":'$s',\"judge\":\"state\",\"failure\":\"state: bad\"}'")
	assert.ErrorContains(t, r.deserved(t.Context(), m, found), "fails without it too")
}

// TestTrust: a control that fails, and a canary that lives, end the run.
func TestTrust(t *testing.T) {
	root, all := load(t)
	r := testRunner(t, root)
	r.worldTime = 500 * time.Millisecond // too little traffic: every world fails
	require.ErrorContains(t, r.trust(t.Context(), all, &table{out: &bytes.Buffer{}}), "control: the code fails with nothing planted")

	canary, found := find(all, canaryName)
	require.True(t, found)
	harmless, err := parseMutant(canaryName, []byte(goodHeader+`--- a/wal/limits.go
+++ b/wal/limits.go
@@ -1,3 +1,4 @@
 package wal
 
+// Nothing is wrong.
 const (
`))
	require.NoError(t, err)
	require.NotEqual(t, canary.Files, harmless.Files)
	r = testRunner(t, root)
	assert.ErrorIs(t, r.trust(t.Context(), []mutant{harmless}, &table{out: &bytes.Buffer{}}), errSurvived)
}

func named(name string) mutant { return mutant{Patch: planted.Patch{Name: name}} }

func TestChoose(t *testing.T) {
	all := []mutant{named("a"), named(canaryName), named("b")}
	got, err := choose(all, nil)
	require.NoError(t, err)
	assert.Equal(t, []mutant{named("a"), named("b")}, got)
	got, err = choose(all, []string{"b"})
	require.NoError(t, err)
	assert.Equal(t, []mutant{named("b")}, got)
	_, err = choose(all, []string{"c"})
	assert.ErrorContains(t, err, "there is no sim/mutants/c.patch")
}
