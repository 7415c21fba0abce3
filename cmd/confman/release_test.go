package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReleaseHasNoFailpoints: what is shipped cannot be told to fail. A build
// that shares a cache with make test-failpoints would be able to.
func TestReleaseHasNoFailpoints(t *testing.T) {
	path, err := program()
	require.NoError(t, err)
	symbols, err := exec.Command("go", "tool", "nm", path).Output()
	require.NoError(t, err)
	require.Contains(t, string(symbols), "confman/wal.(*Log).Append", "the symbols are not those of the program")
	assert.NotContains(t, string(symbols), "pingcap/failpoint")
	assert.NotContains(t, string(symbols), "confman/faultpoint", "it is not inlined to nothing")
}
