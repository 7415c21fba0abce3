package hist

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEmpty(t *testing.T) {
	var h Hist
	assert.Zero(t, h.Quantile(0.5))
	assert.Zero(t, h.Count())
}

// TestBucketsAreInOrder: each bucket's middle is counted in it, and none is passed over.
func TestBucketsAreInOrder(t *testing.T) {
	for i := range len(Hist{}.counts) - 1 {
		require.Equal(t, i, bucket(middle(i)), "%s", middle(i))
		require.Less(t, middle(i), middle(i+1))
	}
	assert.Equal(t, len(Hist{}.counts)-1, bucket(1<<62))
	assert.Zero(t, bucket(-5))
}

func TestQuantiles(t *testing.T) {
	var a, b Hist
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]time.Duration, 0, 10_000)
	for i := range cap(all) {
		d := time.Duration(r.Int64N(int64(1) << (10 + r.IntN(20))))
		all = append(all, d)
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(&b)
	slices.Sort(all)
	assert.EqualValues(t, len(all), a.Count())
	assert.Equal(t, all[len(all)-1], a.Max())
	for _, q := range []float64{0.0001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(0, int(q*float64(len(all)))-1)]
		assert.InEpsilon(t, float64(want)+1, float64(a.Quantile(q))+1, 1.0/64, "%g", q)
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	var h Hist
	assert.Zero(t, testing.AllocsPerRun(100, func() { h.Add(time.Millisecond) }))
}
