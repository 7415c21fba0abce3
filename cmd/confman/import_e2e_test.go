package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestE2EImportSurvivesItsLeader kills the leader's process in the middle of an
// import and starts it again later. Nobody helps the import along.
func TestE2EImportSurvivesItsLeader(t *testing.T) {
	dir := tree(t)
	input := leavesBelow(t, dir)
	f := up(t, 3)

	importing := f.begin("import", "i18n/cldr", dir)
	leader := f.leader()
	reached := func(p *proc, revision uint64) func() bool {
		return func() bool {
			s, ok := f.standing(p)
			return ok && s.Revision >= revision
		}
	}
	f.until(readyWait, "the import has begun", reached(leader, 3))
	f.kill(leader)
	require.False(t, importing.over(), "the import was over before the kill")

	survivor := f.others(leader)[0]
	before, ok := f.standing(survivor)
	require.True(t, ok)
	f.until(readyWait, "the import goes on without the old leader", reached(survivor, before.Revision+3))
	f.start(leader)
	r := importing.result()
	require.Zero(t, r.code, "%s%s", r.out, r.err)
	t.Logf("%s", r.out)

	f.await(f.nodes...)
	after := f.converge()
	output := filepath.Join(t.TempDir(), "export.json")
	r = f.confman("export", "i18n/cldr", "--out", output)
	require.Zero(t, r.code, r.err)
	text, err := os.ReadFile(output)
	require.NoError(t, err)
	got := make(map[string]string, len(input))
	require.NoError(t, leavesOf("", text, got))
	requireSameLeaves(t, input, got)

	r = f.confman("import", "i18n/cldr", dir)
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, " 0 changed, ")
	assert.Equal(t, after.Revision, f.converge().Revision, "a second import changes nothing")
}
