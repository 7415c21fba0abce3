package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goldenAnswer has every field set that is remembered.
var goldenAnswer = Result{
	Outcome: Applied, Revision: 300, Else: true, FailedCompare: 2, Current: 299, Floor: 7, Replayed: true,
	Ops: []OpResult{
		{Revision: 300, Created: true, Changed: true},
		{Changed: true, Removed: 200, Restored: 9999},
		{},
	},
}

// Answers are in databases on disk, and part of the state hash: their encoding is the same on all
// replicas and changes only together with the layout.
func TestGoldenAnswer(t *testing.T) {
	p, i := &goldenCommand.Principal, &goldenCommand.Idempotency
	key := answerKey(p, i.Key)
	b := encodeAnswer(key, uint64(IdempotencyRetention), i, &goldenAnswer)
	requireGolden(t, "answer_v1", append([]byte(key), b...))
	_, err := unseal(answers, key, b)
	require.NoError(t, err)
	got, err := decodeAnswer(b, i)
	require.NoError(t, err)
	require.Equal(t, goldenAnswer, got)
	for n := range len(b) {
		_, err := decodeAnswer(b[:n], i)
		require.ErrorIs(t, err, ErrDamaged, "cut at %d", n)
	}
	_, err = decodeAnswer(append(b, 0), i)
	require.ErrorIs(t, err, ErrDamaged)
	other := Idempotency{Key: i.Key}
	got, err = decodeAnswer(b, &other)
	require.NoError(t, err)
	require.Equal(t, Result{Outcome: KeyReused}, got)
}

func keyed(key string, request byte, ops ...Op) Command {
	return Command{Idempotency: Idempotency{Key: key, Request: [32]byte{request}}, Ops: ops}
}

// The same key and request is done once, whatever comes between; another request, or principal, is
// another matter.
func TestRepeatedKeys(t *testing.T) {
	r := newReplica(t)
	cmd := keyed("k", 1, put("a", "1"))
	first := r.do(cmd)
	require.Equal(t, Applied, first.Outcome)
	replayed := func(name string) {
		t.Helper()
		again := r.do(cmd)
		want := first
		want.Replayed, want.Origin, want.Index = true, again.Origin, again.Index
		require.Equal(t, want, again, name)
	}
	replayed("at once")
	r.put("a", "2")
	replayed("after another write")
	r.flush()
	replayed("from the database")
	r.crash()
	replayed("after a crash")

	reused := r.do(keyed("k", 2, put("a", "1")))
	require.Equal(t, KeyReused, reused.Outcome)
	require.False(t, reused.Replayed)
	require.Nil(t, reused.Ops)
	require.Equal(t, Revision(2), reused.Revision, "the store's")
	rec, _ := r.get("a")
	require.Equal(t, "2", string(rec.Value))

	cmd.Principal = user("somebody")
	require.Equal(t, Applied, r.do(Command{Ops: []Op{putNamespace("", Namespace{Bindings: []Binding{bind("editor", "somebody")}})}}).Outcome)
	require.Equal(t, Applied, r.do(cmd).Outcome, "the key is the principal's own")
	cmd.Principal.Roles, cmd.Principal.Groups = []string{"role"}, [][16]byte{{1}}
	require.True(t, r.do(cmd).Replayed, "whose roles may change")
	require.Equal(t, uint64(2), r.s.State().Answers)
	require.NoError(t, scrub(r.s))
}

// A principal's name ends where the key begins: no other pair of them is taken for it.
func TestIdentitiesDoNotRunIntoEachOther(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct {
		p   Principal
		key string
	}{
		{Principal{}, "ab"},
		{Principal{Kind: User}, "ab"},
		{Principal{Issuer: "a"}, "b"},
		{Principal{Tenant: "a"}, "b"},
		{Principal{Object: "a"}, "b"},
		{Principal{App: "a"}, "b"},
		{Principal{App: "ab"}, ""},
		{Principal{Object: "a", App: "b"}, ""},
	} {
		key, name := answerKey(&c.p, c.key), fmt.Sprintf("%+v", c)
		require.Empty(t, seen[key], name)
		seen[key] = name
	}
}

func TestOnlyWhatWasDoneIsRemembered(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	cmd := keyed("k", 1, put("a", "2"))
	cmd.Compares = []Compare{{Kind: RevisionIs, Key: "a", Revision: 7}}
	cmd.Idempotency.OnlyIfDone = true
	require.Equal(t, CompareFailed, r.do(cmd).Outcome)
	require.Zero(t, r.s.State().Answers)
	cmd.Compares[0].Revision = 1
	require.Equal(t, Applied, r.do(cmd).Outcome)
	cmd.Compares[0].Revision = 7
	require.True(t, r.do(cmd).Replayed)

	cmd.Idempotency.Key, cmd.Idempotency.OnlyIfDone = "other", false
	require.Equal(t, CompareFailed, r.do(cmd).Outcome)
	again := r.do(cmd)
	require.Equal(t, CompareFailed, again.Outcome)
	require.Equal(t, Revision(2), again.Current)
	require.True(t, again.Replayed)
}

// An answer is there for IdempotencyRetention of replicated time, and not a nanosecond less; then its
// key is free for another request, in the same Apply, the same flush or a later one.
func TestAnswersExpireInTime(t *testing.T) {
	for _, flush := range []string{"never", "before it expires", "after it expired"} {
		t.Run("flushed "+flush, func(t *testing.T) {
			r := newReplica(t)
			r.maintain(Maintenance{Elapsed: 5})
			require.Equal(t, Applied, r.do(keyed("k", 1, put("a", "1"))).Outcome)
			r.maintain(Maintenance{Elapsed: IdempotencyRetention - 1})
			require.True(t, r.do(keyed("k", 1, put("a", "1"))).Replayed)
			require.Equal(t, KeyReused, r.do(keyed("k", 2, put("a", "2"))).Outcome)
			if flush == "before it expires" {
				r.flush()
			}
			require.False(t, r.maintain(Maintenance{Elapsed: 1}).Busy)
			require.Zero(t, r.s.State().Answers)
			v := r.view(t)
			_, known, err := v.Answer(&Principal{}, &Idempotency{Key: "k"})
			require.NoError(t, err)
			require.False(t, known)
			if flush == "after it expired" {
				r.flush()
			}
			require.Equal(t, Applied, r.do(keyed("k", 2, put("a", "2"))).Outcome)
			r.maintain(Maintenance{Elapsed: IdempotencyRetention - 1})
			require.True(t, r.do(keyed("k", 2, put("a", "2"))).Replayed, "the new answer does not expire with the old one")
			require.Equal(t, uint64(1), r.s.State().Answers)
			r.flush()
			require.NoError(t, scrub(r.s))
			require.Equal(t, int64(2), r.s.state.answers.count)
		})
	}
}

// More answers that expire at once than one command forgets: the others go with the next ones.
func TestAnswersExpireInParts(t *testing.T) {
	r := newReplica(t)
	var cmds []Command
	for i := range MaxMaintenance + 10 {
		cmds = append(cmds, keyed(fmt.Sprint(i), 1, put("a", fmt.Sprint(i))))
	}
	r.doAll(cmds)
	require.True(t, r.maintain(Maintenance{Elapsed: IdempotencyRetention}).Busy)
	require.Equal(t, uint64(10), r.s.State().Answers)
	require.False(t, r.maintain(Maintenance{}).Busy)
	require.Zero(t, r.s.State().Answers)
	require.Equal(t, tally{}, r.s.state.answers)
	r.flush()
	require.NoError(t, scrub(r.s))
}

func TestAnswersFull(t *testing.T) {
	r := newReplica(t)
	known := keyed("known", 1, put("a", "1"))
	require.Equal(t, Applied, r.do(known).Outcome)
	held := r.s.state.answers.bytes
	r.s.state.answers.bytes = MaxAnswersBytes - 1
	require.Equal(t, Applied, r.do(keyed("last", 1, put("a", "2"))).Outcome)
	before := r.s.State()
	full := r.do(keyed("new", 1, put("a", "3")))
	require.Equal(t, AnswersFull, full.Outcome)
	require.Equal(t, before.Revision, full.Revision)
	require.Equal(t, before.Answers, r.s.State().Answers)
	require.True(t, r.do(known).Replayed, "what is known is answered")
	require.Equal(t, Applied, r.put("a", "3").Outcome, "what has no key is done")
	r.s.state.answers.bytes += held - (MaxAnswersBytes - 1)
	r.maintain(Maintenance{Elapsed: IdempotencyRetention})
	require.Equal(t, tally{}, r.s.state.answers)
	require.Equal(t, Applied, r.do(keyed("new", 1, put("a", "4"))).Outcome, "there is room again")
	r.flush()
	require.NoError(t, scrub(r.s))
}

// View.Answer says what a repeat would.
func TestAnswerOfAView(t *testing.T) {
	r := newReplica(t)
	cmd := keyed("k", 1, put("a", "1"), Op{Kind: DeleteTree, Key: "none/"})
	first := r.do(cmd)
	for _, flushed := range []bool{false, true} {
		if flushed {
			r.flush()
		}
		v := r.view(t)
		got, known, err := v.Answer(&cmd.Principal, &cmd.Idempotency)
		require.NoError(t, err)
		require.True(t, known)
		assert.Equal(t, Result{Outcome: Applied, Revision: 1, Ops: first.Ops, Replayed: true}, got)
		got, known, err = v.Answer(&cmd.Principal, &Idempotency{Key: "k", Request: [32]byte{9}})
		require.NoError(t, err)
		require.True(t, known)
		assert.Equal(t, Result{Outcome: KeyReused}, got)
		for _, key := range []string{"", "j", "kk", strings.Repeat("x", MaxIdempotencyKeyBytes)} {
			_, known, err = v.Answer(&cmd.Principal, &Idempotency{Key: key})
			require.NoError(t, err)
			require.False(t, known, key)
		}
	}
}

func TestTheClockOfTheStateIsMeasuredTime(t *testing.T) {
	r := newReplica(t)
	r.maintain(Maintenance{Elapsed: time.Minute})
	r.put("a", "1")
	r.maintain(Maintenance{Elapsed: time.Second})
	require.Equal(t, time.Minute+time.Second, r.s.State().Time)
	r.crash()
	require.Equal(t, time.Minute+time.Second, r.s.State().Time)
	ch, err := r.view(t).Change(1)
	require.NoError(t, err)
	require.Equal(t, time.Minute, ch.Time)
}
