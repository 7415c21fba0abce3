package main

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	tab := table{out: &out, start: time.Now().Add(-3 * time.Minute)}
	quick := result{mutant: named("quick"), seeds: 3, took: 2 * time.Second}
	quick.caught = &verdict{Judge: "state", Failure: "state: at 1s: it | differs\nreplay"}
	slow := quick
	slow.mutant.Name, slow.seeds = "slow", quickSeeds+1
	accident := quick
	accident.mutant.Name, accident.err = "accident", errors.New("by accident")
	for _, r := range []result{quick, slow, accident, {mutant: named("alive"), seeds: 2000, err: errSurvived}} {
		tab.add(r)
	}
	tab.summary()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 5)
	assert.Regexp(t, `^quick +3 seeds +2.0 s  state +at 1s: it \| differs$`, lines[0])
	assert.Regexp(t, `^accident .* FAILED: by accident state `, lines[2])
	assert.Regexp(t, `^alive +2000 seeds .* FAILED: it survives`, lines[3])
	assert.Equal(t, "2 of 4 planted bugs are caught as they should be, 1 within 100 seeds; it took 3m0s", lines[4])

	err := tab.err()
	require.ErrorIs(t, err, errSurvived)
	require.ErrorContains(t, err, "accident: by accident")
	assert.NotContains(t, err.Error(), "quick")

	long := said(&verdict{Judge: "state", Failure: "state: " + strings.Repeat("ü", maxSaid)})
	assert.Equal(t, strings.Repeat("ü", maxSaid/2)+"…", long)
	assert.Equal(t, `a \| b &lt;c> \*d\*`, cell("a | b <c> *d*"))
}

func TestUsage(t *testing.T) {
	for _, args := range []string{
		"--seeds 0", "--jobs 0", "--control-seeds 0", "--time 0s", "--budget 0s", "--no-such-flag",
		"--only no-such-bug", "--only canary --out " + filepath.Join(t.TempDir(), "out.md"),
	} {
		cmd := command()
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(io.Discard)
		var usage usageError
		assert.ErrorAs(t, cmd.ExecuteContext(t.Context()), &usage, args)
	}
}
