package jepsen

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

// lastKey is what is written at the end of a run.
const lastKey = "jepsen/last"

// writeAtAll has every member acknowledge a write: to read takes less.
func (r *Run) writeAtAll(ctx context.Context) error {
	return r.atAll(func(node string) error {
		_, err := r.insist(ctx, func() *linearizability.Op {
			op := &linearizability.Op{ID: r.Recorder.ID(), Client: settler, Node: node, Kind: linearizability.Put, Key: lastKey}
			op.Value = valueOf(op)
			r.Do(ctx, op)
			return op
		})
		return err
	})
}

// agree waits until all members have said what their state is at the same index, and notes it: while they were at work nobody may
// have looked at two of them at the same one.
func (r *Run) agree(ctx context.Context) error {
	if r.blind {
		return nil
	}
	for {
		said, err := r.sayAll(ctx)
		if err == nil {
			for _, e := range said {
				r.Recorder.Note(e)
			}
			return nil
		}
		if !pause(ctx, pollEvery) {
			return err
		}
	}
}

// sayAll is what all members say of their states; an error: not all do, of one index.
func (r *Run) sayAll(ctx context.Context) ([]linearizability.Event, error) {
	names := r.Members()
	said, errs := make([]client.Cluster, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { said[i], errs[i] = r.Standing(ctx, name) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var events []linearizability.Event
	for i, name := range names {
		s := &said[i]
		if s.StateHash == "" || s.AppliedIndex == 0 || s.AppliedIndex != said[0].AppliedIndex {
			return nil, fmt.Errorf("%s is at index %d, %s at index %d: they are to be at the same one", names[0], said[0].AppliedIndex, name, s.AppliedIndex)
		}
		events = append(events, linearizability.Event{Kind: linearizability.AppliedEntry, Node: name, Index: s.AppliedIndex, Digest: s.StateHash})
	}
	return events, nil
}
