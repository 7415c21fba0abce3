package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// reports are the denials that a node was told, report by report. Like those of a cluster they are
// held against what the store takes.
type reports struct {
	Node
	tb   testing.TB
	done chan struct{}
	slow time.Duration // each takes this long

	mu    sync.Mutex
	err   error
	taken [][]fsm.Denial
	asked []time.Time
}

// fail has reports fail with err from now on; nil: none.
func (r *reports) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// got are the reports that were taken, at when one was tried.
func (r *reports) got() [][]fsm.Denial {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

func (r *reports) at() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

func (r *reports) Propose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error) {
	select {
	case <-time.After(r.slow):
	case <-ctx.Done():
		return fsm.Result{}, &node.WriteError{Outcome: node.Unknown, Err: ctx.Err()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, time.Now())
	if _, err := cmd.Encode(); err != nil {
		return fsm.Result{}, err
	}
	if r.err != nil {
		return fsm.Result{}, r.err
	}
	r.taken = append(r.taken, cmd.Denials)
	return fsm.Result{Outcome: fsm.Recorded}, nil
}

func (r *reports) Done() <-chan struct{} { return r.done }

func newReports(tb testing.TB) (*reports, *denialLog, *strings.Builder) {
	tb.Helper()
	var log strings.Builder
	r := &reports{tb: tb, done: make(chan struct{})}
	return r, &denialLog{node: r, now: time.Now, log: slog.New(slog.NewTextHandler(&log, nil))}, &log
}

func denial(kind fsm.DenialKind, who, reason string) *fsm.Denial {
	now := time.Now().UnixNano()
	return &fsm.Denial{Kind: kind, Principal: who, Verbs: fsm.VerbRead, Path: "a/x", Reason: reason, Count: 1, First: now, Last: now}
}

// TestDenialsAreCounted: like with like, in one report in DenialInterval.
func TestDenialsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _ := newReports(t)
		start := time.Now()
		for i := range 1000 {
			what := denial(fsm.DeniedRead, "cert:a", "forbidden")
			what.Path = fmt.Sprint("a/", i)
			d.add(what)
			d.add(denial(fsm.DeniedRead, "cert:b", "forbidden"))
			time.Sleep(time.Millisecond)
		}
		assert.Empty(t, r.got())
		time.Sleep(DenialInterval)
		synctest.Wait()
		require.Len(t, r.got(), 1)
		require.Len(t, r.got()[0], 2)
		first := r.got()[0][0]
		assert.Equal(t, "cert:a", first.Principal)
		assert.Equal(t, "a/0", first.Path, "that of the first")
		assert.EqualValues(t, 1000, first.Count)
		assert.Equal(t, start.UnixNano(), first.First)
		assert.Equal(t, start.Add(999*time.Millisecond).UnixNano(), first.Last)

		for range 300 { // for 30 s
			d.add(denial(fsm.DeniedWrite, "cert:a", "forbidden"))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(DenialInterval)
		synctest.Wait()
		total := uint64(0)
		for i := range r.got()[1:] {
			total += count(r.got()[i+1])
			assert.GreaterOrEqual(t, r.at()[i+1].Sub(r.at()[i]), DenialInterval)
		}
		assert.EqualValues(t, 300, total)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.LessOrEqual(t, len(r.got()), 5, "where there is nothing to report, nothing is")
	})
}

// TestDenialsAreBounded: a report has few rows, and the rest in one; strangers have not all of them.
func TestDenialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _ := newReports(t)
		for _, reason := range auth.Reasons() {
			d.add(denial(fsm.DeniedAccess, "", string(reason)))
		}
		for i := range 100 {
			d.add(denial(fsm.DeniedRead, fmt.Sprint("cert:", i), "forbidden"))
		}
		time.Sleep(DenialInterval + time.Second)
		synctest.Wait()
		require.Len(t, r.got(), 1)
		rows := r.got()[0]
		require.Len(t, rows, fsm.MaxDenials)
		assert.EqualValues(t, len(auth.Reasons())+100, count(rows))
		strangers := 0
		for i := range rows[:len(rows)-1] {
			if rows[i].Kind == fsm.DeniedAccess {
				strangers++
			}
		}
		assert.Equal(t, maxStrangerRows, strangers)
		assert.Equal(t, otherReasons, rows[len(rows)-1].Reason)
	})
}

// TestDenialsOfOneCaller: who is refused all kinds of things leaves room for others.
func TestDenialsOfOneCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, _ := newReports(t)
		for verb := fsm.Verbs(1); verb != 0 && len(verb.Names()) > 0; verb <<= 1 {
			for _, kind := range []fsm.DenialKind{fsm.DeniedRead, fsm.DeniedWrite} {
				what := denial(kind, "cert:loud", "forbidden")
				what.Verbs = verb
				d.add(what)
			}
		}
		d.add(denial(fsm.DeniedRead, "cert:quiet", "forbidden"))
		time.Sleep(DenialInterval + time.Second)
		synctest.Wait()
		require.Len(t, r.got(), 1)
		rows := r.got()[0]
		require.Len(t, rows, 3)
		for _, row := range rows[:2] {
			assert.Equal(t, "cert:loud", row.Principal)
			assert.Equal(t, (^fsm.Verbs(0)).Names(), row.Verbs.Names())
			assert.EqualValues(t, len(row.Verbs.Names()), row.Count)
		}
		assert.Equal(t, "cert:quiet", rows[2].Principal)
	})
}

// TestDenialsAreKept while they cannot be reported, within the same bounds.
func TestDenialsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, log := newReports(t)
		r.fail(&node.WriteError{Outcome: node.NotApplied, Err: node.ErrNoQuorum})
		for i := range 200 { // and for 200 s
			d.add(denial(fsm.DeniedRead, fmt.Sprint("cert:", i), "forbidden"))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.Greater(t, len(r.at()), 10, "it is tried again and again")
		assert.Empty(t, r.got())
		r.fail(nil)
		time.Sleep(2 * DenialInterval)
		synctest.Wait()
		require.Len(t, r.got(), 1)
		require.Len(t, r.got()[0], fsm.MaxDenials)
		assert.EqualValues(t, 200, count(r.got()[0]))
		assert.Equal(t, "cert:0", r.got()[0][0].Principal, "the first stay")
		assert.Empty(t, log.String())

		r.fail(fmt.Errorf("it does not encode"))
		d.add(denial(fsm.DeniedRead, "cert:a", "forbidden"))
		time.Sleep(DenialInterval + time.Second)
		synctest.Wait()
		assert.Contains(t, log.String(), "refused=1", "it would not be taken another time")

		close(r.done)
		r.fail(&node.WriteError{Outcome: node.NotApplied, Err: node.ErrStopped})
		d.add(denial(fsm.DeniedRead, "cert:a", "forbidden"))
		before := len(r.at())
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, r.at(), before, "the node has stopped")
	})
}

// TestDenialsWhenTheServerStops: they are reported within the time that it has, else the log has them.
func TestDenialsWhenTheServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d, log := newReports(t)
		d.add(denial(fsm.DeniedRead, "cert:a", "forbidden"))
		d.close(t.Context())
		require.Len(t, r.got(), 1)
		assert.Empty(t, log.String())

		d.add(denial(fsm.DeniedRead, "cert:a", "forbidden"))
		r.slow = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		d.close(ctx)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Contains(t, log.String(), "refused=1")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, r.got(), 1, "nothing is reported afterwards")
	})
}

// TestDenialsOfTheAPI: what is refused is in the audit, once, and nothing of what was sent to be let in.
func TestDenialsOfTheAPI(t *testing.T) {
	f := newGuarded(t)
	secret := "eyJhbGciOiJSUzI1NiJ9"
	f.do("GET", config+"/a/x", "", as("eve"), "X-Request-Id: first")
	f.do("GET", config+"/b/x", "", as("eve"))
	f.do("PUT", config+"/a/x", "1", as("ann"))
	f.do("GET", config+"/a/x", "", "Authorization: Basic "+secret)
	f.do("GET", config+"/a/x", "", as(secret), as(secret))
	f.do("GET", config+"/a//x?access_token="+secret, "")
	f.do("GET", config+"/a/x", "", as("no-roles"))
	f.do("GET", config+"/a/x", "", as("keys-unavailable")) // nobody was refused
	f.denials.report(t.Context())
	v, err := f.node.store.View()
	require.NoError(t, err)
	defer v.Close()
	got := map[string]uint64{}
	require.NoError(t, v.Audit(v.AuditEnd(), func(e fsm.AuditEntry, _ fsm.AuditPosition) bool {
		if d := e.Denied; d != nil {
			assert.NotContains(t, fmt.Sprintf("%+v", d), secret)
			got[fmt.Sprint(d.Kind, " ", d.Principal, " ", d.Verbs, " ", d.Path, " ", d.Reason)] = d.Count
			if d.Principal == user("eve") {
				assert.Equal(t, "first", d.RequestID)
				assert.Equal(t, "192.0.2.1", d.Source.String())
			}
		}
		return true
	}))
	assert.Equal(t, map[string]uint64{
		"1 " + user("eve") + " read a/x forbidden":  2,
		"2 " + user("ann") + " write a/x forbidden": 1,
		"3  none a/x missing-token":                 2,
		"3  none a/x malformed":                     1,
		"3  none a/x no-roles":                      1,
	}, got)
}
