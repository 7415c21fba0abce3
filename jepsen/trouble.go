package jepsen

import (
	"errors"
	"slices"
	"strings"

	"github.com/confman/confman/linearizability"
)

// Trouble is something that is wrong with a run in which several workloads may have been at work.
type Trouble struct {
	Workload string // that it is about, and none of the others; "": the cluster, or all that was asked
	Err      error
}

// ProvesNothing tells whether nothing was found wrong, but too little asked, or no answer found, to say that all is as it should be.
func (t Trouble) ProvesNothing() bool {
	return errors.Is(t.Err, ErrProvesNothing) || errors.Is(t.Err, linearizability.ErrNoAnswer)
}

// aboutError is what is wrong with what one workload asked.
type aboutError struct {
	workload string
	error
}

func (e *aboutError) Unwrap() error { return e.error }

// about says whose an error is; none is none, and that of no workload is the cluster's.
func about(workload string, err error) error {
	if err == nil || workload == "" {
		return err
	}
	return &aboutError{workload, err}
}

// troubles tells the errors of a run apart. What the judges of histories found is its workload's whose keys are at odds.
func troubles(errs []error, v linearizability.Verdict, h *linearizability.History) (list []Trouble) {
	for i := range v {
		f := &v[i]
		if f.Violation != nil {
			list = append(list, Trouble{whose(f.Violation, h), f.Violation})
		}
		for _, keys := range f.NoAnswer {
			list = append(list, Trouble{workloadOf(keys), linearizability.ErrNoAnswer})
		}
	}
	for _, err := range errs {
		if err == nil || errors.Is(err, linearizability.ErrViolation) || errors.Is(err, linearizability.ErrNoAnswer) {
			continue // that is the verdict's
		}
		a := &aboutError{error: err}
		_ = errors.As(err, &a) // else it is nobody's
		list = append(list, Trouble{a.workload, a.error})
	}
	return list
}

// whose is the one workload whose operations are at odds; "": those of none, or of several.
func whose(v *linearizability.Violation, h *linearizability.History) (workload string) {
	for i := range h.Ops {
		o := &h.Ops[i]
		if !slices.Contains(v.Ops, o.ID) {
			continue
		}
		key := o.Key
		if o.Kind == linearizability.Txn {
			key = o.Steps[0].Key
		}
		switch of := workloadOf(key); {
		case workload == "":
			workload = of
		case workload != of:
			return ""
		}
	}
	return workload
}

// workloadOf is the workload of a key; "": none's.
func workloadOf(key string) string {
	name, _, _ := strings.Cut(key, "/")
	if workloads[name] == nil {
		return ""
	}
	return name
}
