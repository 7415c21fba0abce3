package jepsen

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var built struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

func TestMain(m *testing.M) {
	if os.Getenv(harnessOf) != "" {
		fmt.Fprintln(os.Stderr, beHarness())
		os.Exit(1)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// confman is the program, built once for all tests. Tests that need it are named E2E, and are not among the short ones.
func confman(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "jepsen-test-"); built.err == nil { //nolint:usetesting // it outlives the first test
			built.out, built.err = exec.Command("go", "build", "-o", filepath.Join(built.dir, "confman"), "../cmd/confman").CombinedOutput()
		}
	})
	require.NoErrorf(t, built.err, "%s", built.out)
	return filepath.Join(built.dir, "confman")
}
