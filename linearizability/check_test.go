package linearizability

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testBudget = 10 * time.Second

// eventful is a good history with something of everything. Tests break one thing
// of it at a time.
const eventful = `
{"t":0,"type":"event","kind":"start","node":"n1"}
{"t":1,"type":"event","kind":"leader","node":"n1","term":1}
{"t":2,"type":"watch","watch":1,"client":9,"node":"n2","prefix":"a/"}
{"t":10,"type":"call","op":1,"client":1,"session":7,"node":"n1","kind":"put","key":"a/x","value":"v1"}
{"t":15,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":16,"type":"event","kind":"applied","node":"n1","term":1,"index":2,"digest":"d2"}
{"t":17,"type":"watched","watch":1,"revision":1,"key":"a/x","value":"v1"}
{"t":20,"type":"call","op":2,"client":1,"session":7,"node":"n2","kind":"local","key":"a/x","min_revision":1}
{"t":25,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"v1","key_revision":1}
{"t":26,"type":"event","kind":"applied","node":"n2","term":1,"index":2,"digest":"d2"}
{"t":30,"type":"call","op":3,"client":2,"node":"n1","kind":"txn","compares":[{"key":"a/x","revision":1}],"steps":[{"kind":"put","key":"a/x","value":"v3"},{"kind":"put","key":"a/y","value":"w3"},{"kind":"read","key":"b"}]}
{"t":35,"type":"return","op":3,"outcome":"applied","revision":2,"reads":[{}]}
{"t":36,"type":"watched","watch":1,"revision":2,"key":"a/x","value":"v3"}
{"t":36,"type":"watched","watch":1,"revision":2,"key":"a/y","value":"w3"}
{"t":40,"type":"call","op":4,"client":3,"node":"n3","kind":"put","key":"b","value":"u","idempotency_key":"K"}
{"t":45,"type":"return","op":4,"outcome":"unknown"}
{"t":46,"type":"call","op":5,"client":3,"node":"n1","kind":"put","key":"b","value":"u","idempotency_key":"K"}
{"t":48,"type":"return","op":5,"outcome":"applied","revision":3}
{"t":49,"type":"call","op":6,"client":4,"node":"n1","kind":"put","key":"b","value":"refused"}
{"t":50,"type":"return","op":6,"outcome":"not_applied"}
{"t":51,"type":"call","op":7,"client":4,"node":"n1","kind":"read","key":"b"}
{"t":52,"type":"return","op":7,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":3}
{"t":53,"type":"call","op":14,"client":4,"node":"n1","kind":"read","key":"b"}
{"t":54,"type":"return","op":14,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":3}
{"t":60,"type":"event","kind":"fault_begin","fault":1,"name":"isolate","nodes":["n1"],"links":[["n1","n2"]],"minority":["n1"]}
{"t":61,"type":"call","op":8,"client":5,"node":"n1","kind":"put","key":"a/z","value":"cut"}
{"t":62,"type":"call","op":9,"client":1,"session":7,"node":"n1","kind":"local","key":"b","max_staleness":20}
{"t":64,"type":"return","op":9,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":3,"fresh_at":50}
{"t":66,"type":"event","kind":"leader","node":"n2","term":2}
{"t":70,"type":"call","op":10,"client":6,"node":"n2","kind":"txn","steps":[{"kind":"read","key":"a/x"},{"kind":"read","key":"a/y"}]}
{"t":75,"type":"return","op":10,"outcome":"read","revision":3,"reads":[{"found":true,"value":"v3","key_revision":2},{"found":true,"value":"w3","key_revision":2}]}
{"t":80,"type":"event","kind":"fault_end","fault":1}
{"t":90,"type":"call","op":11,"client":7,"node":"n2","kind":"delete","key":"a/y"}
{"t":95,"type":"return","op":11,"outcome":"applied","revision":4}
{"t":96,"type":"watched","watch":1,"revision":4,"key":"a/y","deleted":true}
{"t":97,"type":"call","op":12,"client":7,"node":"n2","kind":"txn","compares":[{"key":"a/y","exists":true}],"steps":[{"kind":"delete","key":"a/x"}]}
{"t":98,"type":"return","op":12,"outcome":"compare_failed","revision":4}
{"t":99,"type":"call","op":13,"client":7,"node":"n2","kind":"put","key":"c","value":"q"}
{"t":100,"type":"return","op":13,"outcome":"applied","revision":5}
{"t":101,"type":"complete","watch":1,"revision":5}
`

const eventfulLog = `
{"t":110,"type":"change","op":1,"key":"a/x","revision":1}
{"t":110,"type":"change","op":3,"key":"a/x","revision":2}
{"t":110,"type":"change","op":3,"key":"a/y","revision":2}
{"t":110,"type":"change","op":4,"key":"b","revision":3}
{"t":110,"type":"change","op":11,"key":"a/y","revision":4}
{"t":110,"type":"change","op":13,"key":"c","revision":5}
`

// TestCheckGood: every judge that applies has looked, and none objects.
func TestCheckGood(t *testing.T) {
	for _, text := range []string{eventful, eventful + eventfulLog} {
		v := Check(parse(t, text), testBudget)
		require.NoError(t, v.Err())
		var judges []string
		for _, f := range v {
			judges = append(judges, f.Judge)
			assert.NotContains(t, f.Judged, "0 ", "%s", f.String())
		}
		assert.Equal(t, []string{Linearizability, Porcupine, NotAppliedStays, SplitBrain, Staleness, Sessions, Idempotency, Watches}, judges)
	}
}

// TestCheckCatches breaks one thing at a time, each taken from what was found in
// such stores, and names all judges that must see it and what they must say.
func TestCheckCatches(t *testing.T) {
	cases := []struct {
		name     string
		from, to string
		caught   []string
		says     []string // each in the first judge's text
	}{
		{
			"an acknowledged write is dropped", `{"t":110,"type":"change","op":13,"key":"c","revision":5}` + "\n", "",
			[]string{Linearizability},
			[]string{"lost", "op 13"},
		},
		{
			"two revisions are swapped", `"op":11,"outcome":"applied","revision":4}`, `"op":11,"outcome":"applied","revision":1}`,
			[]string{Linearizability, Porcupine, SplitBrain},
			[]string{"op 1 ", "op 11 "},
		},
		{
			"a read is stale", `"op":7,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":3`, `"op":7,"outcome":"read","revision":2`,
			[]string{Linearizability, Porcupine},
			[]string{"the past was seen", "op 7 "},
		},
		{
			"a revision is acknowledged twice", `"op":13,"outcome":"applied","revision":5}`, `"op":13,"outcome":"applied","revision":4}`,
			[]string{Linearizability, SplitBrain},
			[]string{"revision 4", "op 11 ", "op 13 "},
		},
		{
			"half a transaction is read", `{"found":true,"value":"w3","key_revision":2}]}`, `{}]}`,
			[]string{Linearizability, Porcupine},
			[]string{"op 10 ", "a/y"},
		},
		{
			"half a transaction is applied", `{"t":110,"type":"change","op":3,"key":"a/y","revision":2}` + "\n", "",
			[]string{Linearizability, Watches},
			[]string{"half a transaction", "op 3 "},
		},
		{
			"a compare on a wrong revision holds", `"compares":[{"key":"a/x","revision":1}]`, `"compares":[{"key":"a/x"}]`,
			[]string{Linearizability, Porcupine},
			[]string{"op 3 ", "a/x"},
		},
		{
			"a compare that holds fails", `"compares":[{"key":"a/y","exists":true}]`, `"compares":[{"key":"a/x","exists":true}]`,
			[]string{Linearizability, Porcupine},
			[]string{"op 12 "},
		},
		{
			"a claim of freshness is counted from the answer", `"revision":1,"found":true,"value":"v1","key_revision":1}` + "\n" + `{"t":26`,
			`"revision":0,"fresh_at":20}` + "\n" + `{"t":26`,
			[]string{Staleness, Sessions},
			[]string{"op 2 ", "op 1 "},
		},
		{
			"the bound on staleness is ignored", `"max_staleness":20`, `"max_staleness":10`,
			[]string{Staleness},
			[]string{"older than asked", "op 9 "},
		},
		{
			"min_revision is ignored", `"key":"a/x","min_revision":1}`, `"key":"a/x","min_revision":2}`,
			[]string{Sessions},
			[]string{"too early", "op 2 "},
		},
		{
			"a session does not read its own write", `"min_revision":1}` + "\n" + `{"t":25,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"v1","key_revision":1}`,
			`"min_revision":0}` + "\n" + `{"t":25,"type":"return","op":2,"outcome":"read","revision":0}`,
			[]string{Sessions},
			[]string{"own write not read", "op 1 ", "op 2 "},
		},
		{
			"control: a session that goes on", `{"t":53,"type":"call","op":14,"client":4,"node":"n1","kind":"read"`, `{"t":53,"type":"call","op":14,"client":4,"session":7,"node":"n1","kind":"read"`,
			nil, nil,
		},
		{
			"a deposed leader acknowledges", `"minority":["n1"]`, `"minority":["n2"]`,
			[]string{SplitBrain},
			[]string{"without a majority", "op 10 "},
		},
		{
			"a term has two leaders", `"node":"n2","term":2}`, `"node":"n2","term":1}`,
			[]string{SplitBrain},
			[]string{"two leaders in term 1", "n1", "n2"},
		},
		{
			"nodes applied different entries", `"node":"n2","term":1,"index":2,"digest":"d2"`, `"node":"n2","term":1,"index":2,"digest":"d3"`,
			[]string{SplitBrain},
			[]string{"index 2", "d2", "d3"},
		},
		{
			"a retry is applied again", `{"t":110,"type":"change","op":13,"key":"c","revision":5}`,
			`{"t":110,"type":"change","op":13,"key":"c","revision":5}` + "\n" + `{"t":110,"type":"change","op":5,"key":"b","revision":6}`,
			[]string{Linearizability, Idempotency},
			[]string{"twice", "op 4 "},
		},
		{
			"a retry is answered otherwise", `"op":4,"outcome":"unknown"}`, `"op":4,"outcome":"applied","revision":2}`,
			[]string{Linearizability, Porcupine, SplitBrain, Idempotency},
			[]string{"op 4 "},
		},
		{
			"a retry after retention is applied again, as reads saw", `"op":7,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":3`,
			`"op":7,"outcome":"read","revision":3,"found":true,"value":"u","key_revision":1`,
			[]string{Linearizability, Porcupine, Idempotency},
			[]string{"op 7 "},
		},
		{
			"a refused write is applied", `"change","op":4,"key":"b"`, `"change","op":6,"key":"b"`,
			[]string{Linearizability, NotAppliedStays},
			[]string{"op 6 "},
		},
		{
			"a refused write is read at another node", `"op":9,"outcome":"read","revision":3,"found":true,"value":"u"`, `"op":9,"outcome":"read","revision":3,"found":true,"value":"refused"`,
			[]string{Linearizability, NotAppliedStays},
			[]string{"op 9 "},
		},
		{
			"a watch event is repeated", `{"t":17,"type":"watched","watch":1,"revision":1,"key":"a/x","value":"v1"}`,
			`{"t":17,"type":"watched","watch":1,"revision":1,"key":"a/x","value":"v1"}` + "\n" + `{"t":17,"type":"watched","watch":1,"revision":1,"key":"a/x","value":"v1"}`,
			[]string{Watches},
			[]string{"watch 1", "revision 1 twice"},
		},
		{
			"a watch event is lost", `{"t":96,"type":"watched","watch":1,"revision":4,"key":"a/y","deleted":true}` + "\n", "",
			[]string{Watches},
			[]string{"watch 1", "misses", "op 11"},
		},
		{
			"a watch has half a transaction", `{"t":36,"type":"watched","watch":1,"revision":2,"key":"a/y","value":"w3"}` + "\n", "",
			[]string{Watches},
			[]string{"watch 1", "op 3"},
		},
		{
			"a watch shows what never happened", `"watched","watch":1,"revision":4,"key":"a/y","deleted":true}`,
			`"watched","watch":1,"revision":4,"key":"a/y","deleted":true}` + "\n" + `{"t":96,"type":"watched","watch":1,"revision":5,"key":"a/q","value":"?"}`,
			[]string{Watches},
			[]string{"watch 1", "never happened"},
		},
		{
			"a watch shows a wrong value", `"revision":2,"key":"a/x","value":"v3"}`, `"revision":2,"key":"a/x","value":"v1"}`,
			[]string{Watches},
			[]string{"watch 1", "op 3 "},
		},
		{
			"a watch shows the neighbour", `"prefix":"a/"`, `"prefix":"a/x"`,
			[]string{Watches},
			[]string{"watch 1", "did not ask for"},
		},
		{
			"a watch goes back", `{"t":36,"type":"watched","watch":1,"revision":2,"key":"a/x","value":"v3"}`,
			`{"t":36,"type":"watched","watch":1,"revision":4,"key":"a/y","deleted":true}` + "\n" + `{"t":36,"type":"watched","watch":1,"revision":2,"key":"a/x","value":"v3"}`,
			[]string{Watches},
			[]string{"watch 1", "revision 2 after revision 4"},
		},
		{
			"a refused write is sent to a watch", `"revision":2,"key":"a/x","value":"v3"}`, `"revision":2,"key":"a/x","value":"never"}` +
				"\n" + `{"t":36,"type":"call","op":50,"kind":"put","key":"a/x","value":"never"}` + "\n" + `{"t":36,"type":"return","op":50,"outcome":"not_applied"}`,
			[]string{NotAppliedStays, Watches},
			[]string{"op 50 ", "watch 1"},
		},
		{
			"nodes applied one entry under different terms", `"node":"n2","term":1,"index":2,"digest":"d2"`, `"node":"n2","term":2,"index":2,"digest":"d2"`,
			[]string{SplitBrain},
			[]string{"index 2", "term 1", "term 2"},
		},
		{
			"bookmarks overtake events", `{"t":100,"type":"return","op":13,"outcome":"applied","revision":5}`,
			`{"t":100,"type":"return","op":13,"outcome":"applied","revision":5}` + "\n" + `{"t":100,"type":"watch","watch":2,"prefix":"c","from":4}` + "\n" + `{"t":100,"type":"complete","watch":2,"revision":5}`,
			[]string{Watches},
			[]string{"watch 2", "op 13"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := eventful + eventfulLog
			require.Contains(t, text, c.from)
			v := Check(parse(t, strings.Replace(text, c.from, c.to, 1)), testBudget)
			assert.Equal(t, c.caught, v.Caught(), "%v", v.Err())
			if len(c.caught) == 0 {
				return
			}
			require.ErrorIs(t, v.Err(), ErrViolation)
			for _, f := range v {
				if f.Violation != nil && f.Judge == c.caught[0] {
					for _, says := range c.says {
						assert.Contains(t, f.Violation.Text, says)
					}
				}
			}
		})
	}
}

// TestSessionGoesBack: reads at two nodes in turn.
func TestSessionGoesBack(t *testing.T) {
	text := `
{"t":1,"type":"call","op":1,"session":1,"node":"n1","kind":"local","key":"a"}
{"t":2,"type":"return","op":1,"outcome":"read","revision":5}
{"t":3,"type":"call","op":2,"session":%d,"node":"n2","kind":"local","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"read","revision":4}
`
	_, err := CheckSessions(parse(t, fmt.Sprintf(text, 1)))
	require.ErrorContains(t, err, "session 1 went back")
	var v *Violation
	require.ErrorAs(t, err, &v)
	assert.Equal(t, []uint64{1, 2}, v.Ops)
	assert.Equal(t, [2]int64{1, 4}, [2]int64{v.From, v.To})
	_, err = CheckSessions(parse(t, fmt.Sprintf(text, 2)))
	require.NoError(t, err, "another session has no part in it")
	together := strings.Replace(fmt.Sprintf(text, 1), `"t":3`, `"t":2`, 1)
	_, err = CheckSessions(parse(t, together))
	assert.NoError(t, err, "one that was called at the instant at which the other returned is not after it")
}

// TestIdempotencyRequests: a key is for one request.
func TestIdempotencyRequests(t *testing.T) {
	text := `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x","idempotency_key":"K"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"%s","idempotency_key":"K"}
{"t":4,"type":"return","op":2,"outcome":"%s","revision":%d}
`
	for _, c := range []struct {
		value, outcome string
		revision       int
		says           string
	}{
		{"x", "applied", 1, ""},
		{"y", "not_applied", 0, ""},
		{"x", "applied", 2, "two answers"},
		{"x", "unchanged", 1, "two answers"},
		{"y", "applied", 1, "two things"},
	} {
		_, err := CheckIdempotency(parse(t, fmt.Sprintf(text, c.value, c.outcome, c.revision)))
		if c.says == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, c.says)
		}
	}
}

// TestKeyOfTwoRequests: whichever of two requests under one key is first is the one that is
// done, and which it is the log tells.
func TestKeyOfTwoRequests(t *testing.T) {
	text := `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x","idempotency_key":"K"}
{"t":2,"type":"return","op":1,"outcome":"unknown"}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"y","idempotency_key":"K"}
{"t":4,"type":"return","op":2,"outcome":"unknown"}
{"t":5,"type":"call","op":3,"kind":"put","key":"a","value":"x","idempotency_key":"K"}
{"t":6,"type":"return","op":3,"outcome":"not_applied"}
{"t":7,"type":"call","op":4,"kind":"read","key":"a"}
{"t":8,"type":"return","op":4,"outcome":"read","revision":1,"found":true,"value":"y","key_revision":1}
`
	require.NoError(t, Check(parse(t, text), testBudget).Err())
	log := `{"t":9,"type":"change","op":2,"key":"a","revision":1}` + "\n"
	require.NoError(t, Check(parse(t, text+log), testBudget).Err())
	log += `{"t":9,"type":"change","op":1,"key":"a","revision":2}` + "\n"
	assert.Contains(t, Check(parse(t, text+log), testBudget).Caught(), Idempotency)
}

// TestElse: a transaction does one of its branches, by what its conditions find.
func TestElse(t *testing.T) {
	text := `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"kind":"txn","compares":[{"key":"a","value":"%s"}],"steps":[{"kind":"put","key":"a","value":"y"}],"else":[{"kind":"put","key":"a","value":"z"}]}
{"t":4,"type":"return","op":2,%s}
{"t":5,"type":"call","op":3,"kind":"read","key":"a"}
{"t":6,"type":"return","op":3,"outcome":"read","revision":2,"found":true,"value":"%s","key_revision":2}
`
	done, otherwise, unknown := `"outcome":"applied","revision":2`, `"outcome":"applied","revision":2,"else_done":true`, `"outcome":"unknown"`
	for _, c := range []struct {
		name, is, answer, sees string
		caught                 bool
	}{
		{"then", "x", done, "y", false},
		{"else", "w", otherwise, "z", false},
		{"unknown then", "x", unknown, "y", false},
		{"unknown else", "w", unknown, "z", false},
		{"then, though the value is another", "w", done, "y", true},
		{"else, though the value is right", "x", otherwise, "z", true},
		{"says then, does else", "x", done, "z", true},
		{"says else, does then", "w", otherwise, "y", true},
		{"unknown, does else though the value is right", "x", unknown, "z", true},
		{"unknown, does then though the value is another", "w", unknown, "y", true},
	} {
		for _, log := range []string{"", `{"t":7,"type":"change","op":1,"key":"a","revision":1}` + "\n" + `{"t":7,"type":"change","op":2,"key":"a","revision":2}` + "\n"} {
			caught := Check(parse(t, fmt.Sprintf(text, c.is, c.answer, c.sees)+log), testBudget).Caught()
			if c.caught {
				assert.Equal(t, []string{Linearizability, Porcupine}, caught, c.name)
			} else {
				assert.Empty(t, caught, c.name)
			}
		}
	}
}

// TestIdempotentAttemptsAreOne: a replayed answer has an old revision, which is no
// travel in time.
func TestIdempotentAttemptsAreOne(t *testing.T) {
	text := `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"%[1]s}
{"t":2,"type":"return","op":1,"outcome":"unknown"}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"y"}
{"t":4,"type":"return","op":2,"outcome":"applied","revision":2}
{"t":5,"type":"call","op":3,"kind":"put","key":"a","value":"x"%[1]s}
{"t":6,"type":"return","op":3,"outcome":"applied","revision":1}
`
	require.NoError(t, Check(parse(t, fmt.Sprintf(text, `,"idempotency_key":"K"`)), testBudget).Err())
	assert.Equal(t, []string{Linearizability, Porcupine}, Check(parse(t, fmt.Sprintf(text, "")), testBudget).Caught())
}

// TestAcknowledgedOnce: the operation ends with the first answer of any attempt.
func TestAcknowledgedOnce(t *testing.T) {
	v := Check(parse(t, `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x","idempotency_key":"K"}
{"t":2,"type":"call","op":2,"kind":"put","key":"a","value":"x","idempotency_key":"K"}
{"t":3,"type":"return","op":2,"outcome":"applied","revision":1}
{"t":5,"type":"call","op":3,"kind":"read","key":"a"}
{"t":6,"type":"return","op":3,"outcome":"read","revision":0}
{"t":10,"type":"return","op":1,"outcome":"applied","revision":1}
`), testBudget)
	assert.Equal(t, []string{Linearizability, Porcupine}, v.Caught())
}

// TestMinority: only what was asked and answered within the cut counts.
func TestMinority(t *testing.T) {
	text := `
{"t":10,"type":"event","kind":"fault_begin","fault":1,"minority":["n1"]}
{"t":%d,"type":"call","op":1,"node":"n1","kind":"%s","key":"a"}
{"t":%d,"type":"return","op":1,"outcome":"read","revision":0}
{"t":40,"type":"event","kind":"fault_end","fault":1}
`
	reversed := strings.Split(strings.TrimSpace(text), "\n")
	early := strings.Join([]string{reversed[1], reversed[0], reversed[2], reversed[3]}, "\n")
	late := strings.Join([]string{reversed[0], reversed[1], reversed[3], reversed[2]}, "\n")
	_, err := CheckSplitBrain(parse(t, fmt.Sprintf(text, 20, "read", 30)))
	require.ErrorContains(t, err, "without a majority")
	for _, good := range []string{fmt.Sprintf(text, 20, "local", 30), fmt.Sprintf(early, 5, "read", 30), fmt.Sprintf(late, 20, "read", 50)} {
		_, err := CheckSplitBrain(parse(t, good))
		assert.NoError(t, err)
	}
}

// TestVerdict: no answer is no pass, and a violation outweighs it.
func TestVerdict(t *testing.T) {
	open := Finding{Judge: Porcupine, Judged: "1 of 2 keys took more than 1s", NoAnswer: []string{"a"}}
	wrong := Finding{Judge: Staleness, Violation: &Violation{Text: "stale: op 3"}}
	require.NoError(t, Verdict{{Judge: Linearizability, Judged: "3 operations"}}.Err())
	err := Verdict{open}.Err()
	require.ErrorIs(t, err, ErrNoAnswer)
	require.ErrorContains(t, err, "keys a")
	err = Verdict{open, wrong}.Err()
	require.ErrorIs(t, err, ErrViolation)
	require.NotErrorIs(t, err, ErrNoAnswer)
	require.ErrorContains(t, err, "staleness: stale: op 3")
	assert.Equal(t, []string{Staleness}, Verdict{open, wrong}.Caught())
}

// TestAppendsThatNobodySaw: unknown ones that were never seen cost nothing, and one that was seen, and then not, is found.
func TestAppendsThatNobodySaw(t *testing.T) {
	history := func(last string) *History {
		h := &History{}
		ask := func(o Op) {
			o.ID, o.Client = uint64(len(h.Ops)+1), len(h.Ops)
			h.Ops = append(h.Ops, o)
		}
		add := func(e string, call, ret int64, rev uint64) {
			o := Op{Kind: Txn, Steps: []Step{{Kind: Append, Key: "s", Value: e}}, Call: call, Return: ret, Outcome: Applied, Revision: rev}
			if rev == 0 {
				o.Outcome, o.Return = Unknown, Never
			}
			ask(o)
		}
		read := func(got string, at int64, rev uint64) {
			ask(Op{Kind: Read, Key: "s", Call: at, Return: at + 1, Outcome: ReadDone, Found: true, Got: got, KeyRevision: rev, Revision: rev})
		}
		for i := range 40 {
			add(fmt.Sprintf("lost%d", i), int64(i), Never, 0)
		}
		add("seen", 50, Never, 0)
		text := "seen"
		for i := range 20 {
			e := fmt.Sprintf("e%d", i)
			add(e, 60, 1000, uint64(i+2))
			text += " " + e
		}
		read("seen", 70, 1)
		read(text, 2000, 21)
		read(last, 3000, 21)
		return h
	}
	all := "seen"
	for i := range 20 {
		all += fmt.Sprintf(" e%d", i)
	}
	report, err := CheckRegisters(history(all), testBudget)
	require.NoError(t, err)
	assert.Empty(t, report.NoAnswer)
	_, err = CheckRegisters(history(strings.TrimPrefix(all, "seen ")), testBudget)
	require.Error(t, err)
}
