package linearizability

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The judges, by name; the names of the workloads are those of their judges.
const (
	Linearizability = "linearizability"
	Porcupine       = "porcupine"
	Staleness       = "staleness"
	Sessions        = "session"
	SplitBrain      = "split-brain"
	Idempotency     = "idempotency"
	Watches         = "watch"
	NotAppliedStays = "not-applied"
	Bank            = "bank"
	Set             = "set"
	ListAppend      = "list-append"
)

// Violation is what a judge found wrong. Every judge's error is one.
type Violation struct {
	Text string
	Ops  []uint64 // the operations at odds
	// From and To are when it happened, as far as that can be said.
	From, To int64
}

func (v *Violation) Error() string { return v.Text }

// violation is one that involves ops; nil ones are left out.
func violation(ops []*Op, format string, args ...any) *Violation {
	v := &Violation{Text: fmt.Sprintf(format, args...), From: Never}
	for _, o := range ops {
		if o == nil {
			continue
		}
		v.Ops = append(v.Ops, o.ID)
		v.From = min(v.From, o.Call)
		v.To = max(v.To, o.Call)
		if o.Return != Never {
			v.To = max(v.To, o.Return)
		}
	}
	if len(v.Ops) == 0 {
		v.From = 0
	}
	return v
}

// during widens the time of the violation.
func (v *Violation) during(times ...int64) *Violation {
	for _, t := range times {
		if len(v.Ops) == 0 && v.From == 0 && v.To == 0 {
			v.From, v.To = t, t
		}
		v.From, v.To = min(v.From, t), max(v.To, t)
	}
	return v
}

// Finding is what one judge found.
type Finding struct {
	Judge string
	// Judged says what was looked at: "12 claims"; Count says how many.
	Judged string
	Count  int
	// Violation is what is wrong, nil if nothing is.
	Violation *Violation
	// NoAnswer are the parts that the budget did not suffice for: neither right nor wrong.
	NoAnswer []string
}

func (f *Finding) String() string {
	switch {
	case f.Violation != nil:
		return fmt.Sprintf("%s: violation: %s", f.Judge, f.Violation.Text)
	case len(f.NoAnswer) > 0:
		return fmt.Sprintf("%s: no answer: %s; keys %s", f.Judge, f.Judged, strings.Join(f.NoAnswer, ", "))
	}
	return fmt.Sprintf("%s: ok: %s", f.Judge, f.Judged)
}

// Verdict is what all judges found that apply to a history, in a fixed order.
type Verdict []Finding

// The errors of a verdict.
var (
	// ErrViolation: at least one judge found something wrong.
	ErrViolation = errors.New("the history is not as it should be")
	// ErrNoAnswer: nothing wrong was found, but not all could be judged.
	ErrNoAnswer = errors.New("no answer within the budget")
)

// Err is nil if all is right. Else it wraps ErrViolation or ErrNoAnswer and names
// the judges that have something to say, with what they say.
func (v Verdict) Err() error {
	var wrong, open []string
	for i := range v {
		switch f := &v[i]; {
		case f.Violation != nil:
			wrong = append(wrong, f.Judge+": "+f.Violation.Text)
		case len(f.NoAnswer) > 0:
			open = append(open, f.String())
		}
	}
	switch {
	case len(wrong) > 0:
		return fmt.Errorf("%w: %s", ErrViolation, strings.Join(append(wrong, open...), "\n"))
	case len(open) > 0:
		return fmt.Errorf("%w: %s", ErrNoAnswer, strings.Join(open, "\n"))
	}
	return nil
}

// Caught are the names of the judges that found something wrong.
func (v Verdict) Caught() []string {
	var names []string
	for i := range v {
		if v[i].Violation != nil {
			names = append(names, v[i].Judge)
		}
	}
	return names
}

// Check gives h to every judge that applies to it. budget bounds the real time
// that Porcupine may take for one set of keys.
func Check(h *History, budget time.Duration) Verdict {
	v := Verdict{
		finding(Linearizability, len(h.Ops), "operation", CheckRevisions(h)),
		porcupineFinding(h, budget),
		counted(NotAppliedStays, "refused write", h, CheckNotApplied),
		counted(SplitBrain, "event", h, CheckSplitBrain),
	}
	for _, j := range []struct {
		name, what string
		check      func(*History) (int, error)
	}{
		{Staleness, "claim", CheckStaleness},
		{Sessions, "read", CheckSessions},
		{Idempotency, "repeated key", CheckIdempotency},
		{Watches, "watch event", CheckWatches},
	} {
		if f := counted(j.name, j.what, h, j.check); f.Violation != nil || !strings.HasPrefix(f.Judged, "0 ") {
			v = append(v, f)
		}
	}
	for _, j := range []struct {
		name, what string
		check      func(*History) (int, error)
	}{
		{Bank, "state", CheckBank},
		{Set, "read", CheckSet},
		{ListAppend, "transaction", CheckListAppend},
	} {
		if slices.ContainsFunc(h.Workloads, func(w Workload) bool { return w.Name == j.name }) {
			v = append(v, counted(j.name, j.what, h, j.check))
		}
	}
	return v
}

func counted(judge, what string, h *History, check func(*History) (int, error)) Finding {
	n, err := check(h)
	return finding(judge, n, what, err)
}

func porcupineFinding(h *History, budget time.Duration) Finding {
	report, err := CheckRegisters(h, budget)
	f := finding(Porcupine, report.Keys, "key", err)
	if n := len(report.NoAnswer); n > 0 {
		f.Judged = fmt.Sprintf("%d of %s took more than %v", n, f.Judged, budget)
	}
	f.NoAnswer = report.NoAnswer
	return f
}

func finding(judge string, n int, what string, err error) Finding {
	f := Finding{Judge: judge, Judged: count(n, what), Count: n}
	if err != nil && !errors.As(err, &f.Violation) {
		f.Violation = &Violation{Text: err.Error()}
	}
	return f
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// byCall and byReturn order operations by time; those of one instant by number, so
// that what is found does not depend on the order in the history.
func byCall(a, b *Op) int {
	return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.ID, b.ID))
}

func byReturn(a, b *Op) int {
	return cmp.Or(cmp.Compare(a.Return, b.Return), cmp.Compare(a.ID, b.ID))
}
