package linearizability

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The histories of the tests are written in the file format, one line each, so
// that they read as what they are.

const good = `
{"t":1,"type":"call","op":1,"client":1,"node":"n1","kind":"put","key":"a","value":"x"}
{"t":2,"type":"call","op":2,"client":2,"node":"n2","kind":"put","key":"a","value":"y","if_absent":true}
{"t":5,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":6,"type":"return","op":2,"outcome":"compare_failed","revision":1,"key_revision":1}
{"t":7,"type":"call","op":3,"client":1,"node":"n3","kind":"read","key":"a"}
{"t":8,"type":"return","op":3,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
{"t":10,"type":"call","op":4,"client":1,"node":"n1","kind":"put","key":"a","value":"z","if_revision":1}
{"t":11,"type":"call","op":5,"client":2,"node":"n2","kind":"put","key":"b","value":"w"}
{"t":15,"type":"return","op":4,"outcome":"applied","revision":2}
{"t":20,"type":"call","op":6,"client":1,"node":"n1","kind":"delete","key":"a"}
{"t":25,"type":"return","op":6,"outcome":"applied","revision":4}
{"t":26,"type":"call","op":7,"client":3,"node":"n1","kind":"delete","key":"a"}
{"t":27,"type":"return","op":7,"outcome":"unchanged","revision":4}
{"t":28,"type":"call","op":8,"client":3,"node":"n1","kind":"read","key":"b"}
{"t":29,"type":"return","op":8,"outcome":"read","revision":4,"found":true,"value":"w","key_revision":3}
{"t":30,"type":"call","op":9,"client":3,"node":"n1","kind":"put","key":"b","value":"gone"}
{"t":31,"type":"return","op":9,"outcome":"not_applied"}
{"t":32,"type":"call","op":10,"client":3,"node":"n1","kind":"local","key":"a"}
{"t":33,"type":"return","op":10,"outcome":"read","revision":2,"found":true,"value":"z","key_revision":2,"fresh_at":25}
{"t":34,"type":"call","op":11,"client":3,"node":"n1","kind":"put","key":"b","value":"lost","if_revision":3}
{"t":35,"type":"call","op":12,"client":4,"node":"n1","kind":"read","key":"a"}
{"t":36,"type":"return","op":12,"outcome":"failed"}
`

const goodLog = `
{"t":99,"type":"change","op":1,"key":"a","revision":1}
{"t":99,"type":"change","op":4,"key":"a","revision":2}
{"t":99,"type":"change","op":5,"key":"b","revision":3}
{"t":99,"type":"change","op":6,"key":"a","revision":4}
`

func parse(t *testing.T, text string) *History {
	t.Helper()
	h, err := ReadHistory(strings.NewReader(text))
	require.NoError(t, err)
	return &h
}

// judge gives a history to all judges.
func judge(h *History) error {
	if err := CheckRevisions(h); err != nil {
		return fmt.Errorf("revisions: %w", err)
	}
	if _, err := CheckStaleness(h); err != nil {
		return fmt.Errorf("staleness: %w", err)
	}
	if _, err := CheckRegisters(h, 10*time.Second); err != nil {
		return fmt.Errorf("registers: %w", err)
	}
	return nil
}

func TestGoodHistories(t *testing.T) {
	assert.NoError(t, judge(parse(t, good)))
	assert.NoError(t, judge(parse(t, good+goodLog)))
}

// TestViolations changes one thing of a good history at a time.
func TestViolations(t *testing.T) {
	cases := []struct {
		name     string
		from, to string // what is replaced
		judge    string // the first to refuse it
		names    []string
		only     func(h *History) error // a further judge that must refuse it by itself
	}{
		{
			name: "stale read", from: `"op":8,"outcome":"read","revision":4,"found":true,"value":"w","key_revision":3`,
			to: `"op":8,"outcome":"read","revision":2`, judge: "revisions", names: []string{"op 8", "op 7"},
		},
		{
			name: "read of a value nobody wrote", from: `"found":true,"value":"x"`, to: `"found":true,"value":"q"`,
			judge: "revisions", names: []string{"op 3"}, only: registers,
		},
		{
			name: "read of nothing after a write", from: `"op":3,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1`,
			to: `"op":3,"outcome":"read","revision":1`, judge: "revisions", names: []string{"op 3"}, only: registers,
		},
		{
			name: "value of one revision, number of another", from: `"value":"x","key_revision":1`, to: `"value":"x","key_revision":2`,
			judge: "revisions", names: []string{"op 3"}, only: registers,
		},
		{
			name: "compare that should have held", from: `"op":2,"outcome":"compare_failed","revision":1,"key_revision":1`,
			to: `"op":2,"outcome":"compare_failed","revision":1`, judge: "revisions", names: []string{"op 2"}, only: registers,
		},
		{
			name: "compare that should have failed", from: `"value":"z","if_revision":1`, to: `"value":"z","if_absent":true`,
			judge: "revisions", names: []string{"op 4"}, only: registers,
		},
		{
			name: "acknowledged write lost", from: `{"t":99,"type":"change","op":6,"key":"a","revision":4}`, to: "",
			judge: "revisions", names: []string{"op 6", "lost"},
		},
		{
			name: "refused write applied", from: `"op":5,"key":"b","revision":3`, to: `"op":9,"key":"b","revision":3`,
			judge: "revisions", names: []string{"op 9"},
		},
		{
			name: "applied twice", from: `{"t":99,"type":"change","op":6,"key":"a","revision":4}`,
			to:    `{"t":99,"type":"change","op":6,"key":"a","revision":4}` + "\n" + `{"t":99,"type":"change","op":4,"key":"a","revision":5}`,
			judge: "revisions", names: []string{"op 4", "twice"},
		},
		{
			name: "two writes at one revision", from: `"op":6,"outcome":"applied","revision":4`, to: `"op":6,"outcome":"applied","revision":2`,
			judge: "revisions", names: []string{"op 4", "op 6"},
		},
		{
			name: "claim too fresh", from: `"fresh_at":25`, to: `"fresh_at":26`,
			judge: "staleness", names: []string{"op 10", "op 6"},
		},
		{
			name: "order against real time", from: `"op":6,"outcome":"applied","revision":4`, to: `"op":6,"outcome":"applied","revision":0`,
			judge: "read", names: []string{"applied write has a revision"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := good + goodLog
			require.Contains(t, text, c.from)
			bad := strings.Replace(text, c.from, c.to, 1)
			h, err := ReadHistory(strings.NewReader(bad))
			if c.judge == "read" {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				err = judge(&h)
				require.ErrorContains(t, err, c.judge)
			}
			for _, name := range c.names {
				require.ErrorContains(t, err, name)
			}
			if c.only != nil {
				require.ErrorContains(t, c.only(&h), c.names[0])
			}
		})
	}
}

func registers(h *History) error {
	_, err := CheckRegisters(h, 10*time.Second)
	return err
}

// TestRegistersWithoutRevisions: Porcupine finds what is wrong with values alone.
func TestRegistersWithoutRevisions(t *testing.T) {
	cases := []struct{ name, text, names string }{
		{
			name: "new then old", names: "op 4",
			text: `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"y"}
{"t":5,"type":"call","op":3,"kind":"read","key":"a"}
{"t":6,"type":"return","op":3,"outcome":"read","revision":2,"found":true,"value":"y","key_revision":2}
{"t":7,"type":"call","op":4,"kind":"read","key":"a"}
{"t":8,"type":"return","op":4,"outcome":"read","revision":2,"found":true,"value":"x","key_revision":1}
`,
		},
		{
			name: "unknown write seen before it was called", names: "op 2",
			text: `
{"t":1,"type":"call","op":2,"kind":"read","key":"a"}
{"t":2,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
{"t":3,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":4,"type":"return","op":1,"outcome":"unknown"}
`,
		},
		{
			name: "unknown write seen at a revision before its key's last", names: "op 3",
			text: `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":5}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"y"}
{"t":5,"type":"call","op":3,"kind":"read","key":"a"}
{"t":6,"type":"return","op":3,"outcome":"read","revision":5,"found":true,"value":"y","key_revision":3}
`,
		},
		{
			name: "a delete that should have changed something", names: "op 2",
			text: `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"kind":"delete","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"unchanged","revision":5}
`,
		},
		{
			name: "refused write seen", names: "op 2",
			text: `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"not_applied"}
{"t":3,"type":"call","op":2,"kind":"read","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
`,
		},
		{
			name: "both of two compares on one revision", names: "op 3",
			text: `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"y","if_revision":1}
{"t":3,"type":"call","op":3,"kind":"put","key":"a","value":"z","if_revision":1}
{"t":4,"type":"return","op":2,"outcome":"applied","revision":2}
{"t":5,"type":"return","op":3,"outcome":"applied","revision":3}
`,
		},
		{
			name: "unknown write undone", names: "op 3",
			text: `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"call","op":2,"kind":"read","key":"a"}
{"t":3,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
{"t":4,"type":"call","op":3,"kind":"read","key":"a"}
{"t":5,"type":"return","op":3,"outcome":"read","revision":1}
`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorContains(t, registers(parse(t, c.text)), c.names)
		})
	}
}

func TestUnknownWrites(t *testing.T) {
	cases := []struct{ name, text string }{
		{"seen late", `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"unknown"}
{"t":3,"type":"call","op":2,"kind":"read","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"read","revision":0}
{"t":5,"type":"call","op":3,"kind":"read","key":"a"}
{"t":6,"type":"return","op":3,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
`},
		{"never seen", `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":3,"type":"call","op":2,"kind":"read","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"read","revision":0}
`},
		{"condition on its revision", `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":3,"type":"call","op":2,"kind":"put","key":"a","value":"y","if_revision":7}
{"t":4,"type":"return","op":2,"outcome":"applied","revision":9}
`},
		{"deleted meanwhile by another", `
{"t":1,"type":"call","op":1,"kind":"put","key":"a","value":"x"}
{"t":1,"type":"call","op":2,"kind":"delete","key":"a"}
{"t":3,"type":"call","op":3,"kind":"read","key":"a"}
{"t":4,"type":"return","op":3,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
{"t":5,"type":"call","op":4,"kind":"read","key":"a"}
{"t":6,"type":"return","op":4,"outcome":"read","revision":2}
`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			assert.NoError(t, registers(parse(t, c.text)))
		})
	}
}

// TestNoAnswer: a search too large for its budget is no pass.
func TestNoAnswer(t *testing.T) {
	h := &History{}
	for i := range 60 {
		h.Ops = append(h.Ops, Op{ID: uint64(i + 1), Kind: Put, Key: "a", Value: fmt.Sprint(i), Call: 1, Return: Never})
	}
	h.Ops = append(h.Ops, Op{ID: 100, Kind: Read, Key: "a", Call: 5, Return: 6, Outcome: ReadDone, Found: true, Got: "nobody's", KeyRevision: 3, Revision: 3})
	report, err := CheckRegisters(h, 50*time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, report.NoAnswer)
}

func TestFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		var first, second bytes.Buffer
		require.NoError(t, h.Write(&first))
		again, err := ReadHistory(bytes.NewReader(first.Bytes()))
		require.NoError(t, err)
		require.NoError(t, again.Write(&second))
		assert.Equal(t, first.String(), second.String())
		slices.SortFunc(again.Ops, func(a, b Op) int { return int(a.ID) - int(b.ID) })
		for i := range h.Ops {
			want := h.Ops[i]
			if want.Return == Never {
				want.Outcome = "" // says nothing that the missing return does not
			}
			assert.Equal(t, want, again.Ops[i])
		}
		assert.Equal(t, h.Changes, again.Changes)
	})
}

func TestFileRefused(t *testing.T) {
	call := `{"t":5,"type":"call","op":1,"kind":"put","key":"a","value":"x"}` + "\n"
	cases := []struct{ name, text, says string }{
		{"not JSON", "{", "line 1"},
		{"unknown member", `{"t":1,"type":"call","op":1,"kind":"read","key":"a","clyent":1}`, "clyent"},
		{"unknown type", `{"t":1,"type":"cal","op":1}`, `"cal"`},
		{"unknown kind", `{"t":1,"type":"call","op":1,"kind":"patch","key":"a"}`, `"patch"`},
		{"unknown outcome", call + `{"t":6,"type":"return","op":1,"outcome":"fine"}`, `"fine"`},
		{"return without call", `{"t":6,"type":"return","op":1,"outcome":"applied","revision":1}`, "without a call"},
		{"called twice", call + call, "line 2: op 1 is called twice"},
		{"returns twice", call + strings.Repeat(`{"t":6,"type":"return","op":1,"outcome":"unknown"}`+"\n", 2), "line 3: op 1 returns twice"},
		{"time goes back", call + `{"t":4,"type":"return","op":1,"outcome":"unknown"}`, "time goes back"},
		{"a put that reads", call + `{"t":6,"type":"return","op":1,"outcome":"read"}`, "cannot end read"},
		{"a hole in the change log", `{"t":6,"type":"change","op":1,"key":"a","revision":2}`, "want 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadHistory(strings.NewReader(c.text))
			require.ErrorContains(t, err, c.says)
		})
	}
}

// FuzzReadHistory: what is read is written and read again as the same.
func FuzzReadHistory(f *testing.F) {
	f.Add([]byte(good + goodLog))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHistory(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		require.NoError(t, h.Write(&out))
		_, err = ReadHistory(&out)
		require.NoError(t, err)
	})
}
