package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestResultsAreKept: a run changes its own result only, and the page only between its markers.
func TestResultsAreKept(t *testing.T) {
	dir := t.TempDir()
	file, page := filepath.Join(dir, "results.json"), filepath.Join(dir, "page.md")
	text := "# Page\n"
	for _, name := range []string{"scenarios", "matrix", "nemeses"} {
		text += "<!-- " + name + " -->\nwhat was\n<!-- end of " + name + " -->\nafter " + name + "\n"
	}
	require.NoError(t, os.WriteFile(page, []byte(text), 0o600))
	for name, result := range map[string]string{"kill-all": resultGood, "kill-one": resultWrong} {
		r, err := noteResult(file, func(r *results) { r.Scenarios[name] = outcome{Result: result, Date: "2026-01-02", Seconds: 12.3} })
		require.NoError(t, err)
		require.NoError(t, r.show(page))
	}
	r, err := loadResults(file)
	require.NoError(t, err)
	assert.Equal(t, resultGood, r.Scenarios["kill-all"].Result)
	shown, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(shown), "`jepsen scenario kill-all`")
	assert.Contains(t, string(shown), "good, 12 s, 2026-01-02")
	assert.Contains(t, string(shown), "wrong, 12 s, 2026-01-02")
	assert.Contains(t, string(shown), "after nemeses\n")
	assert.NotContains(t, string(shown), "what was\n")
	require.Error(t, r.show(file), "a page without markers")
}
