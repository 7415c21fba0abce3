package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A replica that remembers which keys have few superseded records, and one that looks each time, come to the same state at each
// index: whatever is kept, by whichever commands, with keys that go and come back.
func TestWhatIsKnownOfPastsChangesNothing(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		knows, looks := newReplica(t), newReplica(t)
		few := 0
		for n := range 400 {
			cmd := Command{Origin: Origin{1, 1, uint64(n + 1)}}
			key := fmt.Sprintf("k/%d", random.IntN(6))
			switch random.IntN(8) {
			case 0:
				cmd.Ops = []Op{del(key)}
			case 1:
				cmd.Ops = []Op{{Kind: DeleteTree, Key: "k/"}}
			case 2, 3:
				cmd = Command{Maintenance: &Maintenance{Elapsed: 1, KeepVersions: 1 + random.IntN(30), KeepFor: 300}}
			default:
				cmd.Ops = []Op{put(key, fmt.Sprint(n))}
			}
			data := encode(t, cmd)
			ent := []Entry{{Index: knows.s.State().Applied + 1, Term: 1, Data: data}}
			for key := range knows.s.pasts {
				if knows.s.pasts.few(key, 1+random.IntN(30)) {
					few++
				}
			}
			clear(looks.s.pasts)
			a, err := knows.s.Apply(ent)
			require.NoError(t, err)
			b, err := looks.s.Apply(ent)
			require.NoError(t, err)
			require.Equal(t, b, a, "seed %d, command %d", seed, n)
			require.Equal(t, looks.s.State().Hash, knows.s.State().Hash, "seed %d, command %d", seed, n)
		}
		require.Positive(t, few, "something was known")
	}
}

func TestPastsAreBounded(t *testing.T) {
	p := pasts{}
	for n := range maxPasts + 1 {
		p.looked(fmt.Sprint(n), 3)
	}
	require.Len(t, p, 1)
	require.False(t, p.few(fmt.Sprint(0), 100), "nothing is known of it any more")
	key := fmt.Sprint(maxPasts)
	require.True(t, p.few(key, 3))
	p.changed(key)
	require.False(t, p.few(key, 3))
	for range 100 {
		p.changed(key)
	}
	require.False(t, p.few(key, 1000), "so many cost room to go over")
}
