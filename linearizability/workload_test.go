package linearizability

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script writes histories of transactions, one after the other unless it says
// otherwise: "append x 1; read x=1,2; ..." with a flag for its outcome.
type script struct {
	h   History
	now int64
}

// txn adds a transaction of steps such as "append x 1", "put a 5" or "read x 1 2",
// with an outcome. Its revision is not looked at by the judges of workloads.
func (s *script) txn(outcome Outcome, steps ...string) {
	s.now += 2
	o := Op{ID: uint64(len(s.h.Ops) + 1), Kind: Txn, Call: s.now, Return: s.now + 1, Outcome: outcome, Revision: uint64(len(s.h.Ops) + 1)}
	for _, text := range steps {
		f := strings.SplitN(text, " ", 3)
		step := Step{Kind: Kind(f[0]), Key: f[1]}
		if step.Kind == Read && len(f) == 3 {
			step.Found, step.Got = true, f[2]
		} else if len(f) == 3 {
			step.Value = f[2]
		}
		o.Steps = append(o.Steps, step)
	}
	s.h.Ops = append(s.h.Ops, o)
}

type scriptLine struct {
	outcome Outcome
	steps   []string
}

func write(steps ...string) scriptLine { return scriptLine{Applied, steps} }
func read(steps ...string) scriptLine  { return scriptLine{ReadDone, steps} }
func as(o Outcome, l scriptLine) scriptLine {
	l.outcome = o
	return l
}

func TestWorkloads(t *testing.T) {
	bank := Workload{Name: Bank, Keys: []string{"a", "b"}, Total: 10}
	set := Workload{Name: Set, Keys: []string{"s"}}
	lists := Workload{Name: ListAppend}
	cases := []struct {
		name     string
		workload Workload
		lines    []scriptLine
		says     []string // nothing: it is right
	}{
		{"bank: transfers", bank, []scriptLine{
			write("put a 4", "put b 6"), read("read a 4", "read b 6"), write("put a 5", "put b 5"), read("read b 5", "read a 5"), read("read a 5"),
		}, nil},
		{"bank: half a transfer is read", bank, []scriptLine{
			write("put a 4", "put b 6"), write("put a 5", "put b 5"), read("read a 5", "read b 6"),
		}, []string{"sum to 11", "op 3"}},
		{"bank: a lost update", bank, []scriptLine{
			write("put a 4", "put b 6"), write("put a 3"),
		}, []string{"at revision 2", "sum to 9", "op 2"}},
		{"bank: no number", bank, []scriptLine{
			write("put a x", "put b 6"),
		}, []string{"no number", "op 1"}},

		{"set: all there", set, []scriptLine{
			write("append s 1"), as(Unknown, write("append s 2")), as(NotApplied, write("append s 3")), write("append s 4"), read("read s 1 2 4"),
		}, nil},
		{"set: an unknown one is not there", set, []scriptLine{
			write("append s 1"), as(Unknown, write("append s 2")), read("read s 1"),
		}, nil},
		{"set: lost", set, []scriptLine{
			write("append s 1"), write("append s 2"), read("read s 2"),
		}, []string{"element 1 is lost", "op 1 ", "op 3 "}},
		{"set: twice", set, []scriptLine{
			write("append s 1"), read("read s 1 1"),
		}, []string{"twice", "op 2 "}},
		{"set: refused and there", set, []scriptLine{
			as(NotApplied, write("append s 1")), read("read s 1"),
		}, []string{"refused", "op 1 ", "op 2 "}},
		{"set: from nowhere", set, []scriptLine{
			read("read s 7"),
		}, []string{"nobody added", "op 1 "}},

		{"lists: serial", lists, []scriptLine{
			write("append x 1", "append y 1"), write("read x 1", "append x 2"), read("read x 1 2", "read y 1"), write("append y 2", "read y 1 2"),
		}, nil},
		{"lists: the order of calls does not matter", lists, []scriptLine{
			read("read x 1"), write("append x 1"),
		}, nil},
		{"lists: G0", lists, []scriptLine{
			write("append x 1", "append y 1"), write("append x 2", "append y 2"), read("read x 1 2"), read("read y 2 1"),
		}, []string{"G0", "op 1 ", "op 2 ", "wrote before"}},
		{"lists: G1a", lists, []scriptLine{
			as(NotApplied, write("append x 1")), read("read x 1"),
		}, []string{"G1a", "op 1 ", "op 2 "}},
		{"lists: G1b", lists, []scriptLine{
			write("append x 1", "append x 2"), read("read x 1"),
		}, []string{"G1b", "op 1 ", "op 2 "}},
		{"lists: G1c", lists, []scriptLine{
			write("append x 1", "read y 1"), write("append y 1", "read x 1"),
		}, []string{"G1c", "op 1 ", "op 2 ", "was read by"}},
		{"lists: G2, write skew", lists, []scriptLine{
			write("read x", "append y 1"), write("read y", "append x 1"), read("read x 1", "read y 1"),
		}, []string{"G2", "op 1 ", "op 2 ", "did not see"}},
		{"lists: G2, half a transaction is read", lists, []scriptLine{
			write("append x 1", "append y 1"), read("read x 1", "read y"), read("read y 1"),
		}, []string{"G2", "op 1 ", "op 2 "}},
		{"lists: two orders", lists, []scriptLine{
			write("append x 1"), write("append x 2"), read("read x 1 2"), read("read x 2 1"),
		}, []string{"two orders", "op 3 ", "op 4 "}},
		{"lists: twice", lists, []scriptLine{
			write("append x 1"), read("read x 1 1"),
		}, []string{"twice", "op 1 ", "op 2 "}},
		{"lists: own append not read", lists, []scriptLine{
			write("append x 1", "read x"),
		}, []string{"own appends", "op 1 "}},
		{"lists: from nowhere", lists, []scriptLine{
			read("read x 7"),
		}, []string{"nobody appended", "op 1 "}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := script{h: History{Workloads: []Workload{c.workload}}}
			for _, l := range c.lines {
				s.txn(l.outcome, l.steps...)
			}
			for _, o := range s.h.Ops {
				if o.Outcome == Applied {
					s.h.Changes = append(s.h.Changes, Change{Revision: o.Revision, Op: o.ID, Key: o.Steps[0].Key})
				}
			}
			v := Check(&s.h, testBudget)
			f := v[len(v)-1]
			require.Equal(t, c.workload.Name, f.Judge)
			if c.says == nil {
				require.Nil(t, f.Violation, "%s", f.String())
				assert.NotContains(t, f.Judged, "0 ")
				return
			}
			require.NotNil(t, f.Violation)
			for _, says := range c.says {
				assert.Contains(t, f.Violation.Text, says)
			}
		})
	}
}

// TestSeveralWorkloads: each is judged by its own rule, and changes of nobody, or of no key, are in nobody's way.
func TestSeveralWorkloads(t *testing.T) {
	history := func(second string) *History {
		s := script{h: History{Workloads: []Workload{
			{Name: Bank, Keys: []string{"a", "b"}, Total: 10},
			{Name: Bank, Keys: []string{"c", "d"}},
			{Name: Set, Keys: []string{"s"}},
			{Name: Set, Keys: []string{"t"}},
			{Name: ListAppend, Keys: []string{"x"}},
		}}}
		s.txn(Applied, "put a 4", "put b 6")
		s.txn(Applied, "put c 1", "put d "+second)
		s.txn(Applied, "append s 1", "append t 1", "append x 1")
		s.txn(ReadDone, "read a 4", "read b 6", "read s 1", "read t 1", "read x 1")
		for i, rev := range []uint64{1, 4, 5} { // what came between is nobody's
			s.h.Ops[i].Revision = rev
			for _, step := range s.h.Ops[i].Steps {
				s.h.Changes = append(s.h.Changes, Change{Revision: rev, Op: s.h.Ops[i].ID, Key: step.Key})
			}
			if i == 0 {
				s.h.Changes = append(s.h.Changes, Change{Revision: 2}, Change{Revision: 3, Key: "elsewhere"})
			}
		}
		s.h.Ops[3].Revision = 5
		for i, rev := range []uint64{1, 1, 5, 5, 5} {
			s.h.Ops[3].Steps[i].KeyRevision = rev
		}
		s.h.HasChanges = true
		s.h.Watches = []Watch{{ID: 1, From: 1, Start: 3, Through: 3, ThroughAt: 9, Events: []WatchEvent{{At: 9, Revision: 3, Key: "elsewhere"}}}}
		return &s.h
	}
	right := history("-1")
	require.NoError(t, Check(right, testBudget).Err())
	var text strings.Builder
	require.NoError(t, right.Write(&text))
	again, err := ReadHistory(strings.NewReader(text.String()))
	require.NoError(t, err)
	assert.Equal(t, right.Workloads, again.Workloads)
	assert.Equal(t, right.Changes, again.Changes)

	err = Check(history("1"), testBudget).Err()
	require.ErrorContains(t, err, "sum to 2, not 0")
	broken := history("-1")
	broken.Ops[3].Steps[3] = Step{Kind: Read, Key: "t"}
	assert.ErrorContains(t, Check(broken, testBudget).Err(), "element 1 is lost from t")
}

// TestListAppendLong: a long right history is quick, and one read that went back
// in the middle of it is found.
func TestListAppendLong(t *testing.T) {
	s := script{h: History{Workloads: []Workload{{Name: ListAppend}}}}
	const lists, each = 200, 50
	for x := range lists {
		list := ""
		for e := range each {
			s.txn(Applied, fmt.Sprintf("append x%d %d", x, e), fmt.Sprintf("append y%d %d", x, e))
			list = appended(list, fmt.Sprint(e))
			s.txn(ReadDone, fmt.Sprintf("read x%d %s", x, list), fmt.Sprintf("read y%d %s", x, list))
		}
	}
	n, err := CheckListAppend(&s.h)
	require.NoError(t, err)
	assert.Equal(t, 2*lists*each, n)
	broken := &s.h.Ops[2*(100*each+20)+1]
	broken.Steps[1].Got = strings.TrimSuffix(broken.Steps[1].Got, " 20")
	_, err = CheckListAppend(&s.h)
	require.ErrorContains(t, err, "G2")
	require.ErrorContains(t, err, fmt.Sprintf("op %d ", broken.ID))
}
