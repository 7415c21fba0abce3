package fsm

import (
	"math"
	"runtime/debug"
)

// maintain does what is due. How much, is decided by the state and the command alone: the
// replicas do the same at the same index.
//
// The history is compacted in two ways. By age: the floor rises from change to change, and
// with each goes what that change superseded, and its line of the log. By count: each change
// is looked at once more, and of the keys it changed only the newest superseded records stay.
// In the place of the oldest that went stays a mark without a body, which says up to which
// revision the key's records are missing, so that nobody takes them for absent.
func (a *applier) maintain(m *Maintenance) (r Result, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	st := &a.s.state
	a.writes = a.writes[:0]
	now := st.time + int64(m.Elapsed)
	room := MaxMaintenance
	if err := a.expire(now, &room); err != nil {
		return Result{}, err
	}
	c := compaction{a: a, view: a.view(), floor: st.floor, chain: st.floorChain, trimmed: st.trimmed}
	if m.KeepFor > 0 {
		if err := c.sweep(now-int64(m.KeepFor), &room); err != nil {
			return Result{}, err
		}
	}
	if m.KeepVersions > 0 {
		if err := c.trim(m.KeepVersions, &room); err != nil {
			return Result{}, err
		}
	}
	// From here on nothing fails.
	st.time = now
	st.floor, st.floorChain, st.trimmed = c.floor, c.chain, c.trimmed
	for i := range a.writes {
		a.put(&a.writes[i])
	}
	return Result{Outcome: Maintained, Busy: room <= 0 || st.answers.count > 0}, nil
}

// remove leaves the removal of what bucket in has under key, which must be something, in
// a.writes.
func (a *applier) remove(in bucket, key string) error {
	old, delta, err := a.stored(in, key)
	if err != nil {
		return err
	}
	if old == nil {
		return damaged("record %q of bucket %s: is missing", key, in)
	}
	a.writes = append(a.writes, write{in: in, key: key, old: old, delta: delta})
	return nil
}

// compaction is one command's part of it.
type compaction struct {
	a       *applier
	view    *View
	floor   Revision
	chain   [32]byte // at floor
	trimmed Revision
}

// sweep raises the floor over the changes made at time until, or before.
func (c *compaction) sweep(until int64, room *int) error {
	for *room > 0 && c.floor < c.view.Revision() {
		ch, err := c.view.Change(c.floor + 1)
		if err != nil || int64(ch.Time) > until {
			return err
		}
		for i := range ch.Ops {
			if err := c.ended(ch.Ops[i].Key, ch.Revision); err != nil {
				return err
			}
		}
		*room -= 1 + len(ch.Ops)
		c.floor, c.chain = ch.Revision, ch.Chain
	}
	return nil
}

// ended lets go of the record of key that ended at revision rev, if there is one.
func (c *compaction) ended(key string, rev Revision) error {
	m := c.view.merge(superseded)
	defer m.release()
	ok, err := m.seekIn(supersededKey(key, rev-1), pastOf(key))
	if err != nil || !ok {
		return err
	}
	if end, err := endOf(key, m.value); err != nil || end != rev {
		return err
	}
	return c.a.remove(superseded, m.key)
}

// trim goes through the changes that were not looked at yet, and leaves keep superseded
// records of each key that they changed.
func (c *compaction) trim(keep int, room *int) error {
	c.trimmed = max(c.trimmed, c.floor)
	done := map[string]bool{}
	for *room > 0 && c.trimmed < c.view.Revision() {
		ch, err := c.view.Change(c.trimmed + 1)
		if err != nil {
			return err
		}
		whole := true
		for i := range ch.Ops {
			key := ch.Ops[i].Key
			if done[key] {
				continue
			}
			done[key] = true
			all, err := c.trimKey(key, keep, room)
			if err != nil {
				return err
			}
			whole = whole && all
		}
		*room--
		if !whole {
			return nil // the next command goes on with the same change
		}
		c.trimmed++
	}
	return nil
}

// trimKey lets the superseded records of key go but the newest, at most MaxMaintenance of
// them; all says that these were all. What is below the floor is the sweep's.
func (c *compaction) trimKey(key string, keep int, room *int) (all bool, err error) {
	m := c.view.merge(superseded)
	defer m.release()
	var (
		surplus []string
		ended   Revision // the first of surplus
		mark    bool     // the last of surplus is one
	)
	ok, err := m.seekIn(supersededKey(key, math.MaxUint64), pastOf(key))
	for seen := 1; ok && err == nil; ok, err = m.next() {
		end, err := endOf(key, m.value)
		if err != nil {
			return false, err
		}
		if end <= c.floor || len(surplus) == MaxMaintenance {
			break
		}
		*room--
		if seen++; seen <= keep+1 {
			continue
		}
		if len(surplus) == 0 {
			ended = end
		}
		surplus, mark = append(surplus, m.key), isTrimmed(m.value)
	}
	if err != nil || len(surplus) == 0 || len(surplus) == 1 && mark {
		return true, err
	}
	last := surplus[len(surplus)-1]
	for _, skey := range surplus[:len(surplus)-1] {
		if err := c.a.remove(superseded, skey); err != nil {
			return false, err
		}
	}
	old, delta, err := c.a.stored(superseded, last)
	if err != nil {
		return false, err
	}
	value := encodeSuperseded(last, ended, nil)
	c.a.writes = append(c.a.writes, write{in: superseded, key: last, value: value, old: old, delta: delta})
	return len(surplus) < MaxMaintenance, nil
}
