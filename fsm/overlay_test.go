package fsm

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What OverlayBytes says is what the heap grew by, within a quarter: for the
// many puts of an import, and for one key written over and over, each in a
// transaction of its own.
func TestOverlayBytesAreHonest(t *testing.T) {
	const n = 30_000
	for _, c := range []struct {
		name string
		ents func() []Entry
	}{
		{"import", func() []Entry { return benchEntries(t, n) }},
		{"idempotency keys", func() (ents []Entry) {
			for i := range n {
				cmd := keyed(fmt.Sprint(i), 1, del("none"))
				cmd.Origin = Origin{1, 1, uint64(i + 1)}
				ents = append(ents, Entry{Index: Index(i + 1), Term: 1, Data: encode(t, cmd)})
			}
			return ents
		}},
		{"hot key", func() (ents []Entry) {
			for i := range n {
				cmd := Command{Origin: Origin{1, 1, uint64(i + 1)}, Ops: []Op{put("hot/key", fmt.Sprint(i))}}
				ents = append(ents, Entry{Index: Index(i + 1), Term: 1, Data: encode(t, cmd)})
			}
			return ents
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			ents := c.ents()
			before := heap()
			_, err := r.s.Apply(ents)
			require.NoError(t, err)
			grown := heap() - before
			runtime.KeepAlive(ents)
			said := float64(r.s.OverlayBytes())
			t.Logf("says %.0f, grew by %.0f", said, grown)
			assert.InEpsilon(t, grown, said, 0.25)
		})
	}
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
