package jepsen

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// harnessOf is a variable that makes this test's program a harness of the program that it names, which is to be killed.
const harnessOf = "JEPSEN_TEST_HARNESS_OF"

// beHarness starts a cluster, says which processes it has, and waits to be killed.
func beHarness() error {
	o := LocalOptions{Program: os.Getenv(harnessOf), Dir: os.Args[1], Loopback: os.Args[2] == "loopback"}
	ground, err := NewLocal(o)
	if err != nil {
		return err
	}
	r, err := newRun(ground, Options{})
	if err != nil {
		return err
	}
	if err := r.begin(context.Background(), nil); err != nil {
		return err
	}
	for _, m := range ground.Machines() {
		fmt.Println(ground.procs[m.Name].pid())
	}
	fmt.Println("ready")
	select {}
}

// TestE2EKilledHarness: no process is left of a harness that is killed, and a namespace lives no longer than what is in it.
func TestE2EKilledHarness(t *testing.T) {
	for name := range grounds {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(self, t.TempDir(), name)
			cmd.Env = append(os.Environ(), harnessOf+"="+confman(t))
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			var pids []string
			for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
				pids = append(pids, lines.Text())
			}
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait(), "it was killed")
			require.Len(t, pids, 3)
			for _, pid := range pids {
				require.Eventually(t, func() bool { return hasEnded(pid) }, 20*time.Second, time.Millisecond, "process %s is left", pid)
			}
		})
	}
}

// hasEnded: there is no such process, or nobody has asked yet how it ended.
func hasEnded(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}
