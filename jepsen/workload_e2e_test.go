package jepsen

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// execute makes one run on this machine, which must be as it should be; what is left of one that is not is kept.
func execute(t *testing.T, o Options) *Result {
	t.Helper()
	o.Log = t.Logf
	sections, err := o.Sections()
	require.NoError(t, err)
	ground, err := NewLocal(LocalOptions{Program: confman(t), Dir: t.TempDir(), Sections: sections})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, ground.Close(ctx))
	})
	res, err := Execute(t.Context(), ground, o)
	require.NoError(t, err)
	for i := range res.Verdict {
		t.Log(res.Verdict[i].String())
	}
	if res.Err != nil {
		dir, err := os.MkdirTemp("", "jepsen-failed-") //nolint:usetesting // it is kept
		require.NoError(t, err)
		require.NoError(t, res.Save(t.Context(), dir, ground, o, []string{t.Name()}))
		require.NoError(t, res.Err, "kept in %s", dir)
	}
	return res
}

// mixes are workloads that are run together: all of them, in few runs.
var mixes = [][]string{
	{"register", linearizability.Bank, linearizability.Set, "bounded"},
	{"watch", linearizability.ListAppend, "idempotent", "sessions", "import"},
	{"auth", "register"},
}

// TestMixes: no workload is forgotten.
func TestMixes(t *testing.T) {
	mixed := map[string]bool{}
	for _, mix := range mixes {
		for _, name := range mix {
			mixed[name] = true
		}
	}
	for name := range workloads {
		assert.True(t, mixed[name], name)
	}
}

// TestE2EWorkloads: all judges are satisfied with a cluster to which nothing happens, and with one whose nodes are killed; there
// is enough of each kind of operation, and each judge has something to see.
func TestE2EWorkloads(t *testing.T) {
	for _, nemeses := range [][]string{nil, {"kill-one"}} {
		for _, mix := range mixes {
			o := Options{
				Seed: 1, Workloads: mix, Nemeses: nemeses, Time: 6 * time.Second, Clients: 3, Pace: 15 * time.Millisecond,
				Quiet: 500 * time.Millisecond, Held: 500 * time.Millisecond,
			}
			t.Run(filepath.Join(append(append([]string{}, nemeses...), mix...)...), func(t *testing.T) {
				res := execute(t, o)
				assert.True(t, res.History.HasChanges)
				judged := map[string]int{}
				for i := range res.Verdict {
					judged[res.Verdict[i].Judge] = res.Verdict[i].Count
				}
				for _, name := range mix {
					if judge := judgeOf[name]; judge != "" {
						assert.NotZero(t, judged[judge], "%s has nothing to see", judge)
					}
				}
			})
		}
	}
}

// judgeOf are the judges that are there for a workload above all.
var judgeOf = map[string]string{
	"register": linearizability.Porcupine, linearizability.Bank: linearizability.Bank, linearizability.Set: linearizability.Set,
	linearizability.ListAppend: linearizability.ListAppend, "bounded": linearizability.Staleness, "watch": linearizability.Watches,
	"idempotent": linearizability.Idempotency, "sessions": linearizability.Sessions,
}
