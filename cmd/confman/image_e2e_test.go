package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// senderMiB is how much more memory a node may take that sends its database: the
// window of pieces, the wire's buffers and the collector's slack, which heapBallast adds to; and an
// overlay on its way to a flush of 16 MiB, the size of those beside an image, with as much again until it is collected.
const senderMiB = 32 + heapBallast>>20 + 2*16

// keepNoLog makes the nodes of a fleet keep no more of the log than they must.
func (f *fleet) keepNoLog() { f.edit("Data", "CatchUpBytes", 1) }

// edit changes a setting of all nodes.
func (f *fleet) edit(section, name string, value any) {
	f.tb.Helper()
	for _, p := range f.nodes {
		text, err := os.ReadFile(p.config)
		require.NoError(f.tb, err)
		var c map[string]any
		require.NoError(f.tb, json.Unmarshal(text, &c))
		settings, _ := c[section].(map[string]any)
		if settings == nil {
			settings = map[string]any{}
		}
		settings[name] = value
		c[section] = settings
		text, err = json.Marshal(c)
		require.NoError(f.tb, err)
		require.NoError(f.tb, os.WriteFile(p.config, text, 0o600))
	}
}

// TestE2EFollowerTakesAnImage: a follower that was down during an import finds the
// log gone on without it, and takes the database. What sends it stays small. Then a
// node whose database is damaged, and one whose database is gone, are rebuilt.
func TestE2EFollowerTakesAnImage(t *testing.T) {
	dir := tree(t)
	f := newFleet(t, 3)
	f.keepNoLog()
	f.start(f.nodes...)
	f.await(f.nodes...)

	late := f.others(f.leader())[0]
	f.stop(late)
	for _, into := range []string{"i18n/cldr", "copy/cldr"} {
		r := f.confman("import", into, dir)
		require.Zero(t, r.code, "%s%s", r.out, r.err)
	}
	// Processes without the garbage of an import show what sending takes.
	senders := f.others(late)
	f.stop(senders...)
	f.start(senders...)
	f.await(senders...)
	before := max(memory(t, senders[0], "RssAnon"), memory(t, senders[1], "RssAnon"))

	f.start(late)
	most := before
	f.until(readyWait, "the follower is ready", func() bool {
		for _, p := range senders {
			most = max(most, memory(t, p, "RssAnon"))
		}
		a, err := f.send("GET", late.url()+"/health/ready", "")
		return err == nil && a.status == 200
	})
	info, err := os.Stat(filepath.Join(late.data, "store.db"))
	require.NoError(t, err)
	t.Logf("the image: %d MiB; a sender's anonymous memory: %.0f MiB before, at most %.0f MiB while it sent", info.Size()>>20, before, most)
	if !testing.Short() && info.Size() > 64<<20 {
		assert.Contains(t, late.output(), "an image took the store's place")
	}
	assert.LessOrEqual(t, most, before+senderMiB)
	want := f.converge()

	for what, harm := range map[string]func(path string){
		"damaged": func(path string) { flipBytes(t, path) },
		"gone":    func(path string) { require.NoError(t, os.Remove(path)) },
	} {
		f.stop(late)
		harm(filepath.Join(late.data, "store.db"))
		f.start(late)
		f.await(late)
		assert.Equal(t, want.Revision, f.converge().Revision, what) // converge compares the hashes: time goes on in them
	}
}

// flipBytes damages both of bbolt's meta pages.
func flipBytes(tb testing.TB, path string) {
	tb.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(tb, err)
	for _, at := range []int64{30, 4096 + 30} {
		_, err := file.WriteAt([]byte{0xff}, at)
		require.NoError(tb, err)
	}
	require.NoError(tb, file.Close())
}
