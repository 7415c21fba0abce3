package jepsen

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// losing has clients write until the power of all nodes is lost, starts them again, and returns what was acknowledged and is not
// there.
func losing(t *testing.T, r *Run, round int) (missing []string) {
	t.Helper()
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	var acknowledged sync.Map
	var count atomic.Int64
	var clients sync.WaitGroup
	for i, name := range r.Members() {
		clients.Go(func() {
			for n := 0; writing.Err() == nil; n++ {
				key := fmt.Sprintf("k/%d/%d/%d", round, i, n)
				if _, _, err := r.At(name).Put(writing, key, []byte(key), "text/plain", client.WriteOptions{}); err == nil {
					acknowledged.Store(key, true)
					count.Add(1)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return count.Load() >= 60 }, 30*time.Second, time.Millisecond, "nothing is written")
	ended, end := context.WithCancel(t.Context())
	end() // a run may end in the middle of it: no disk stays out
	require.NoError(t, r.Ground.LosePower(ended, r.Members()...))
	stop()
	clients.Wait()
	for _, name := range r.Members() {
		require.False(t, r.Ground.Runs(name))
		require.NoError(t, r.StartNode(t.Context(), name))
	}
	starting, giveUp := context.WithCancelCause(t.Context())
	defer giveUp(nil)
	for _, name := range r.Members() {
		go func() {
			if err := r.Ground.Ended(starting, name); starting.Err() == nil {
				giveUp(fmt.Errorf("%s ended: %w", name, err))
			}
		}()
	}
	if err := r.awaitReady(starting, 30*time.Second); err != nil {
		return []string{fmt.Sprintf("%v: %v", err, context.Cause(starting))}
	}
	acknowledged.Range(func(key, _ any) bool {
		rec, _, err := r.At(r.Members()[0]).Get(t.Context(), key.(string), client.ReadOptions{Consistency: client.Linearizable})
		if err != nil || string(rec.Value) != key.(string) {
			missing = append(missing, fmt.Sprintf("%s: %v", key, err))
		}
		return true
	})
	t.Logf("round %d: %d writes acknowledged, %d of them are missing", round, count.Load(), len(missing))
	return missing
}

func TestE2EPowerLoss(t *testing.T) {
	r := localRun(t, LocalOptions{})
	if err := r.Ground.Can(PowerLoss); err != nil {
		t.Skipf("it takes /dev/fuse and the right to mount: %v", err)
	}
	for round := range 5 {
		require.Empty(t, losing(t, r, round))
	}
}

// TestE2EPowerLossWithoutSyncs is the canary of the one before: a program that syncs nothing loses what it acknowledged.
func TestE2EPowerLossWithoutSyncs(t *testing.T) {
	r := localRun(t, LocalOptions{Program: withoutSyncs(t)})
	if err := r.Ground.Can(PowerLoss); err != nil {
		t.Skipf("it takes /dev/fuse and the right to mount: %v", err)
	}
	for round := range 10 {
		if missing := losing(t, r, round); len(missing) > 0 {
			t.Logf("lost as it should be: %s", missing[0])
			return
		}
	}
	t.Fatal("nothing was lost")
}

// withoutSyncs is the program with a log that does not sync its files.
func withoutSyncs(t *testing.T) string {
	t.Helper()
	confman(t) // it says when there is none
	dir := t.TempDir()
	source, err := filepath.Abs("../wal/log.go")
	require.NoError(t, err)
	text, err := os.ReadFile(source)
	require.NoError(t, err)
	const sync = "if err := l.current.file.Sync(); err != nil {"
	require.Contains(t, string(text), sync)
	changed := filepath.Join(dir, "log.go")
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(text), sync, "if err := error(nil); err != nil {", 1)), 0o600))
	overlay := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, source, changed), 0o600))
	program := filepath.Join(dir, "confman")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "../cmd/confman").CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	return program
}

// TestE2EBrokenDisk: a node whose disk breaks ends or refuses, the others go on, and it is back when the disk is whole.
func TestE2EBrokenDisk(t *testing.T) {
	r := localRun(t, LocalOptions{})
	ctx := t.Context()
	if err := r.Ground.Can(DiskFaults); err != nil {
		t.Skipf("it takes /dev/fuse and the right to mount: %v", err)
	}
	put := func(n int) error {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		var err error
		for ctx.Err() == nil {
			for _, name := range r.Members() {
				if _, _, err = r.At(name).Put(ctx, "x", fmt.Appendf(nil, "%d", n), "text/plain", client.WriteOptions{}); err == nil {
					return nil
				}
			}
		}
		return err
	}
	for n, c := range []struct {
		name  string
		state DiskState
		ends  bool
	}{
		{"slow", DiskState{SyncDelay: 50 * time.Millisecond}, false},
		{"full", DiskState{Bytes: 1 << 20}, false},
		{"syncs fail", DiskState{SyncError: true}, true},
		{"read-only", DiskState{ReadOnly: true}, true},
	} {
		who := r.Leader(ctx)
		require.NotEmpty(t, who)
		require.NoError(t, r.Ground.SetDisk(ctx, who, c.state), c.name)
		require.NoError(t, put(n), c.name)
		if c.ends {
			waiting, cancel := context.WithTimeout(ctx, 20*time.Second)
			_ = r.Ground.Ended(waiting, who) // how it ended
			cancel()
			require.False(t, r.Ground.Runs(who), c.name)
		}
		require.NoError(t, r.Ground.SetDisk(ctx, who, DiskState{}))
		if c.ends {
			require.NoError(t, r.StartNode(ctx, who))
		}
		require.NoError(t, r.awaitReady(ctx, 30*time.Second), c.name)
	}
}

// TestE2EDamage: a node that finds its disk damaged says so, and does not serve what is not true.
func TestE2EDamage(t *testing.T) {
	for name, o := range map[string]LocalOptions{"fuse": {}, "plain": {PlainDisk: true}} {
		t.Run(name, func(t *testing.T) {
			r := localRun(t, o)
			ctx := t.Context()
			who := r.Members()[0]
			_, err := r.Damage(ctx, who, Damage{Kind: FlipDatabase})
			require.Error(t, err, "it runs")
			for i := range 100 {
				_, _, err := r.At(r.Leader(ctx)).Put(ctx, fmt.Sprintf("k/%d", i), make([]byte, 1000), "text/plain", client.WriteOptions{})
				require.NoError(t, err)
			}
			require.NoError(t, r.KillNode(ctx, who))
			for _, kind := range []DamageKind{FlipDatabase, LoseDatabase} {
				did, err := r.Damage(ctx, who, Damage{Kind: kind, Seed: 3})
				require.NoError(t, err)
				t.Log(did)
				require.NoError(t, r.StartNode(ctx, who))
				require.NoError(t, r.awaitReady(ctx, 30*time.Second), "its peers have all of it")
				require.NoError(t, r.KillNode(ctx, who))
			}
			for _, kind := range []DamageKind{FlipLog, LoseDirectory} {
				did, err := r.Damage(ctx, who, Damage{Kind: kind, Seed: 3})
				require.NoError(t, err)
				t.Log(did)
				require.NoError(t, r.StartNode(ctx, who))
				refused := func() bool {
					s, err := r.Standing(ctx, who)
					return !r.Ground.Runs(who) || err == nil && !s.Ready
				}
				require.Eventually(t, refused, 20*time.Second, 20*time.Millisecond)
				if r.Ground.Runs(who) {
					require.NoError(t, r.KillNode(ctx, who))
				}
			}
		})
	}
}

// TestDamage does each damage to a directory that looks like a node's.
func TestDamage(t *testing.T) {
	t.Parallel()
	dataDir := func(t *testing.T, segments int) string {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, dataLog), 0o700))
		for i := range segments {
			b := make([]byte, 20_000)
			copy(b[segmentBegin:], strings.Repeat("x", 10_000))
			b[segmentPrev+1] = 10 // 2560
			require.NoError(t, os.WriteFile(filepath.Join(dir, dataLog, fmt.Sprintf("wal-%016x.log", i+1)), b, 0o600))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, dataStore), []byte(strings.Repeat("y", 40_000)), 0o600))
		return dir
	}
	for _, c := range []struct {
		kind     DamageKind
		segments int
		want     string
	}{
		{FlipLog, 3, `flipped bit \d of byte \d+ of wal-000000000000000[12].log \(a closed segment\)`},
		{FlipLog, 1, `flipped bit \d of byte \d+ of wal-0000000000000001.log \(the first half of the open segment; none is closed yet\)`},
		{TruncateLog, 3, `cut wal-000000000000000[12].log off at \d+ of 2560 bytes \(a closed segment\)`},
		{FlipDatabase, 1, `flipped bit \d of byte \d+ of store.db \(the database\)`},
		{TruncateDatabase, 1, `cut store.db off at \d+ of \d+ bytes`},
		{LoseDatabase, 1, `removed store.db`},
		{LoseDirectory, 1, `removed all that was in the data directory`},
	} {
		for seed := range uint64(20) {
			dir := dataDir(t, c.segments)
			did, err := harm(dir, Damage{Kind: c.kind, Seed: seed})
			require.NoError(t, err)
			assert.Regexp(t, "^"+c.want+"$", did)
		}
	}
	_, err := harm(t.TempDir(), Damage{Kind: FlipLog})
	require.Error(t, err)
	_, err = harm(dataDir(t, 1), Damage{Kind: FlipRecord, Key: "a/b", Value: "v1"})
	require.ErrorContains(t, err, `does not hold "a/b" with the value "v1"`)
	_, err = harm(t.TempDir(), Damage{Kind: LoseDatabase})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestFlipRecord: the same bit of a value changes wherever the record is, and nowhere else.
func TestFlipRecord(t *testing.T) {
	t.Parallel()
	record := func(key, value string) string {
		b := make([]byte, recordTexts)
		b[recordType], b[recordType+1] = byte(len(textType)), 9
		return key + string(b) + textType + "user:e/me" + value
	}
	dir := t.TempDir()
	before := strings.Repeat("-", 100) + record("a/b", "v17") + record("a/b", "v9") + "a/b v17" + strings.Repeat("-", 50) + record("a/b", "v17") + "a/b"
	require.NoError(t, os.WriteFile(filepath.Join(dir, dataStore), []byte(before), 0o600))
	did, err := harm(dir, Damage{Kind: FlipRecord, Seed: 5, Key: "a/b", Value: "v17"})
	require.NoError(t, err)
	assert.Contains(t, did, "the value of a/b; it is there 2 times")
	b, err := os.ReadFile(filepath.Join(dir, dataStore))
	require.NoError(t, err)
	places := recordValues([]byte(before), "a/b", "v17")
	require.Len(t, places, 2)
	var bits []string
	for i := range b {
		if b[i] != before[i] {
			for n, from := range places {
				if at := int64(i) - from; at >= 0 && at < 3 {
					bits = append(bits, fmt.Sprint(at, b[i]^before[i]))
					places[n] = -100
				}
			}
		}
	}
	require.Len(t, bits, 2)
	assert.Equal(t, bits[0], bits[1])
	_, err = harm(dir, Damage{Kind: FlipRecord, Key: "a/b"})
	require.ErrorContains(t, err, "has no value")
}
