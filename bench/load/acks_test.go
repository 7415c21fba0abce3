package load

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAcks: a gap is as long as nobody is answered well, and errors are none.
func TestAcks(t *testing.T) {
	for name, put := range map[string]func(*Values) MakePut{"Confman": PutConfman, "etcd": PutEtcd} {
		t.Run(name, func(t *testing.T) {
			var down, wrong atomic.Bool
			f := &fake{values: map[string]string{}, changed: map[string]uint64{}}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case down.Load():
					http.Error(w, "no leader", http.StatusServiceUnavailable)
				case wrong.Load():
					_, _ = w.Write([]byte("{}"))
				case name == "etcd":
					f.etcd(w, r)
				default:
					f.confman(w, r)
				}
			}))
			defer s.Close()
			a := NewAcks(2, put(values(t, 32)), s.Listener.Addr().String())
			defer a.Close()
			acked := func() uint64 {
				_, n, err := a.Longest()
				require.NoError(t, err)
				return n
			}
			require.Eventually(t, func() bool { return acked() > 10 }, 10*time.Second, time.Millisecond)
			a.Begin()
			down.Store(true)
			const gap = 50 * time.Millisecond
			require.Eventually(t, func() bool {
				longest, _, _ := a.Longest()
				return longest > gap
			}, 10*time.Second, time.Millisecond)
			before := acked()
			down.Store(false)
			require.Eventually(t, func() bool { return acked() > before+10 }, 10*time.Second, time.Millisecond)
			longest, _, err := a.Longest()
			require.NoError(t, err)
			assert.Greater(t, longest, gap)
			wrong.Store(true)
			require.Eventually(t, func() bool {
				_, _, err := a.Longest()
				return err != nil
			}, 10*time.Second, time.Millisecond)
		})
	}
}
