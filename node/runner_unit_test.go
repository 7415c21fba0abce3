package node

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

func newInbox() *inbox {
	b := new(inbox)
	b.init()
	return b
}

func TestInboxRefusesRequestsPastItsBounds(t *testing.T) {
	b := newInbox()
	w := newWaiter(true)
	for range MaxQueuedRequests {
		require.NoError(t, b.request(w, []byte{1}, 0))
	}
	require.ErrorIs(t, b.request(w, []byte{1}, 0), ErrOverloaded)
	require.Len(t, b.take(), MaxQueuedRequests)
	require.NoError(t, b.request(w, []byte{1}, 0), "there is room again")
	b.take()

	require.NoError(t, b.request(w, make([]byte, MaxQueuedRequestBytes+1), 0), "one alone always fits")
	require.ErrorIs(t, b.request(w, []byte{1}, 0), ErrOverloaded)
	require.NoError(t, b.request(newWaiter(false), nil, 0), "a read has no bytes")
	require.Len(t, b.close(), 2)
	require.ErrorIs(t, b.request(w, nil, 0), ErrStopped)
}

func TestInboxMakesReceiversWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		m := transport.Message{Forward: &transport.Forward{}}
		for range MaxQueuedMessages {
			b.receive([]transport.Message{m})
		}
		arrived := make(chan struct{})
		go func() {
			b.receive([]transport.Message{m})
			close(arrived)
		}()
		synctest.Wait()
		select {
		case <-arrived:
			t.Fatal("a message came in past the bound")
		default:
		}
		b.report(Proved{})           // workers never wait
		b.hint(Unreachable{Peer: 2}) // dropped
		require.Len(t, b.take(), MaxQueuedMessages+1)
		<-arrived
		require.Len(t, b.take(), 1)

		// Bytes bound as well, and closing lets everyone go.
		big := transport.Message{Forward: &transport.Forward{Command: make([]byte, MaxQueuedMessageBytes)}}
		b.receive([]transport.Message{big})
		go b.receive([]transport.Message{m})
		synctest.Wait()
		require.Len(t, b.close(), 1)
		synctest.Wait()
		require.Empty(t, b.take())
	})
}

func TestQueueKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[int]()
		const n = 10_000
		go func() {
			for i := range n {
				q.put(i)
			}
		}()
		next := 0
		for next < n {
			<-q.wake
			for _, i := range q.take() {
				require.Equal(t, next, i)
				next++
			}
		}
	})
}

// entriesOf makes consecutive entries of one term.
func entriesOf(first uint64, n int, term uint64, bytes int) []*raftpb.Entry {
	var ents []*raftpb.Entry
	for i := range n {
		ents = append(ents, &raftpb.Entry{Index: new(first + uint64(i)), Term: new(term), Data: make([]byte, bytes)})
	}
	return ents
}

// Merging changes neither what the log holds in the end nor whether it is synced.
func TestMergeBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var group []Effect
		var want []*raftpb.Entry
		var hard *raftpb.HardState
		sync, last := false, uint64(0)
		for i := range rapid.IntRange(1, 20).Draw(t, "appends") {
			b := wal.Batch{Sync: rapid.Bool().Draw(t, "sync")}
			sync = sync || b.Sync
			if rapid.Bool().Draw(t, "hard") {
				b.HardState = &raftpb.HardState{Term: new(uint64(i))}
				hard = b.HardState
			}
			if n := rapid.IntRange(0, 5).Draw(t, "entries"); n > 0 {
				first := last + 1
				if last > 0 && rapid.IntRange(0, 4).Draw(t, "replaces") == 0 {
					first = rapid.Uint64Range(1, last).Draw(t, "first")
				}
				bytes := rapid.SampledFrom([]int{0, 10, maxMergeBytes / 3}).Draw(t, "bytes")
				b.Entries = entriesOf(first, n, uint64(i+1), bytes)
				want = append(want[:first-1], b.Entries...)
				last = first + uint64(n) - 1
			}
			group = append(group, Append{Seq: uint64(i + 1), Batch: b})
		}
		lengths := make([]int, len(group))
		for i, e := range group {
			lengths[i] = len(e.(Append).Batch.Entries)
		}

		out := mergeBatches(group)

		var got []*raftpb.Entry
		var gotHard *raftpb.HardState
		for i, b := range out {
			size := 0
			for j, e := range b.Entries {
				if j > 0 && e.GetIndex() != b.Entries[j-1].GetIndex()+1 {
					t.Fatalf("batch %d is not consecutive", i)
				}
				size += entryBytes(e)
			}
			if len(b.Entries) > 5 && size > maxMergeBytes {
				t.Fatalf("batch %d has %d bytes", i, size)
			}
			if len(b.Entries) > 0 {
				got = append(got[:b.Entries[0].GetIndex()-1], b.Entries...)
			}
			if b.HardState != nil {
				gotHard = b.HardState
			}
			if b.Sync != (sync && i == len(out)-1) {
				t.Fatalf("batch %d of %d: sync is %v", i+1, len(out), b.Sync)
			}
		}
		if !reflect.DeepEqual(got, want) || gotHard != hard {
			t.Fatalf("merged into another log")
		}
		for i, e := range group {
			if len(e.(Append).Batch.Entries) != lengths[i] {
				t.Fatalf("the batch of append %d was changed", i+1)
			}
		}
	})
}

func TestMergeBatchesIsOneWriteForWritesInARow(t *testing.T) {
	var group []Effect
	for i := range 64 {
		group = append(group, Append{Seq: uint64(i + 1), Batch: wal.Batch{Entries: entriesOf(uint64(i+1), 1, 1, 100), Sync: true}})
	}
	out := mergeBatches(group)
	require.Len(t, out, 1)
	assert.Len(t, out[0].Entries, 64)
	assert.True(t, out[0].Sync)
}

// A field that Status gains must not be forgotten by the comparison.
func TestSameStatusSeesEveryField(t *testing.T) {
	typ := reflect.TypeFor[Status]()
	for i := range typ.NumField() {
		var a, b Status
		f := reflect.ValueOf(&b).Elem().Field(i)
		switch f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Uint64, reflect.Uint8:
			f.SetUint(1)
		case reflect.Int64, reflect.Int:
			f.SetInt(1)
		case reflect.Interface:
			f.Set(reflect.ValueOf(errors.New("damaged")))
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		default:
			t.Fatalf("%s: this test does not know its kind", typ.Field(i).Name)
		}
		assert.False(t, sameStatus(a, b), typ.Field(i).Name)
		assert.True(t, sameStatus(b, b), typ.Field(i).Name)
	}
}

func TestReady(t *testing.T) {
	good := NodeStatus{Status: Status{Leader: 2, Fresh: true}, Formed: true, Staleness: ReadyAge}
	for name, c := range map[string]struct {
		change func(*NodeStatus)
		want   bool
	}{
		"as it should be": {func(*NodeStatus) {}, true},
		"not formed":      {func(s *NodeStatus) { s.Formed = false }, false},
		"an election":     {func(s *NodeStatus) { s.Leader, s.Staleness = 0, LeaderlessReadyAge }, true},
		"no leader":       {func(s *NodeStatus) { s.Leader, s.Staleness = 0, LeaderlessReadyAge+1 }, false},
		"never confirmed": {func(s *NodeStatus) { s.Fresh = false }, false},
		"too long ago":    {func(s *NodeStatus) { s.Staleness++ }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			c.change(&s)
			assert.Equal(t, c.want, ready(s))
		})
	}
}

func TestFreshnessIsWidened(t *testing.T) {
	_, ok := Freshness{}.Age()
	assert.False(t, ok)
	f := Freshness{at: bootTime() - time.Hour, proven: true, drift: DefaultClockDriftPPM}
	age, ok := f.Age()
	require.True(t, ok)
	// A clock that lost 500 in a million measured an hour: 1.8 s more have passed.
	assert.GreaterOrEqual(t, age, time.Hour+1800*time.Millisecond)
	assert.Less(t, age, time.Hour+10*time.Second)
}

// The queue in front of the loop is full: nothing was proposed, and the caller hears so.
func TestOverload(t *testing.T) {
	r := &Runner{stop: make(chan struct{})}
	r.inbox.init()
	r.member.Store(&member{})
	r.status.Store(&Status{Leader: 3})
	for range MaxQueuedRequests {
		require.NoError(t, r.inbox.request(newWaiter(false), nil, 0))
	}
	_, err := r.Propose(t.Context(), put("a", "b"))
	var we *WriteError
	require.ErrorAs(t, err, &we)
	assert.Equal(t, &WriteError{Outcome: NotApplied, Leader: 3, Err: ErrOverloaded}, we)
	require.ErrorIs(t, r.Linearize(t.Context()), ErrOverloaded)

	_, err = r.Propose(t.Context(), &fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "//"}}})
	require.Error(t, err)
	assert.NotErrorAs(t, err, &we, "it does not encode")
}

func TestDeadlineLeavesRoomForTheAnswer(t *testing.T) {
	r := &Runner{cfg: RunnerConfig{Settings: Settings{TickInterval: 50 * time.Millisecond}}}
	for name, c := range map[string]struct {
		timeout, want time.Duration // timeout 0: none
	}{
		"none":      {0, MaxWriteWait},
		"long":      {time.Hour, time.Hour - 100*time.Millisecond},
		"short":     {100 * time.Millisecond, 50 * time.Millisecond},
		"long past": {-time.Hour, -30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if c.timeout != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.timeout)
				defer cancel()
			}
			before := bootTime()
			got := r.deadline(ctx, MaxWriteWait) - before
			assert.InDelta(t, c.want.Seconds(), got.Seconds(), 0.04)
		})
	}
}
