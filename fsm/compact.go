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
	behind, err := a.expire(now)
	if err != nil {
		return Result{}, err
	}
	c := compaction{
		a: a, view: a.view(), floor: st.floor, at: st.floorAt, chain: st.floorChain,
		trimmed: st.trimmed, trimmedKeys: st.trimmedKeys,
	}
	more, err := c.compact(m, now)
	if err != nil {
		return Result{}, err
	}
	// From here on nothing fails.
	st.time = now
	st.floor, st.floorAt, st.floorChain = c.floor, c.at, c.chain
	st.trimmed, st.trimmedKeys = c.trimmed, c.trimmedKeys
	for i := range a.writes {
		a.put(&a.writes[i])
	}
	behind = behind || more
	return Result{Outcome: Maintained, Busy: behind || st.answers.count > 0, Behind: behind}, nil
}

// replace leaves in a.writes that value, nil for none, is put in the place of old, which is
// what bucket in has under key.
func (a *applier) replace(in bucket, key string, old, value []byte) {
	w := write{in: in, key: key, value: value, old: old}
	if e, found := a.s.active.tree(in).Get(&entry{key: key}); found {
		w.delta = e.delta
	}
	a.writes = append(a.writes, w)
}

// compaction is one command's part of it.
type compaction struct {
	a           *applier
	view        *View
	past        *merge // of superseded
	floor       Revision
	at          int64    // when the change of floor was accepted
	chain       [32]byte // at floor
	trimmed     Revision
	trimmedKeys uint64
}

// next is the revision that comes after rev.
func (c *compaction) next(rev Revision) Revision { return gaps(c.a.s.state.gaps).after(rev) }

// compact does what is due by now. It tells whether there may be more of it.
func (c *compaction) compact(m *Maintenance, now int64) (more bool, err error) {
	c.past = c.view.merge(superseded)
	defer c.past.release()
	if m.KeepFor > 0 {
		if more, err = c.sweep(now - int64(m.KeepFor)); err != nil {
			return false, err
		}
	}
	if m.KeepVersions > 0 || c.a.s.policy.keeping > 0 {
		trim, err := c.trim(m.KeepVersions)
		return more || trim, err
	}
	return more, nil
}

// sweep raises the floor over the changes made at time until, or before. It tells whether
// there may be more of them.
func (c *compaction) sweep(until int64) (more bool, err error) {
	room := MaxMaintenance
	for room > 0 && c.floor < c.view.Revision() {
		ch, err := c.view.Change(c.next(c.floor))
		if err != nil || int64(ch.Time) > until {
			return false, err
		}
		for i := range ch.Ops {
			if err := c.ended(&ch.Ops[i], ch.Revision); err != nil {
				return false, err
			}
		}
		room -= 1 + len(ch.Ops)
		c.floor, c.at, c.chain = ch.Revision, ch.At, ch.Chain
	}
	return room <= 0, nil
}

// ended lets go of the record that a change ended at revision rev, if there is one.
func (c *compaction) ended(changed *ChangedKey, rev Revision) error {
	key := changed.Key
	if changed.IsNamespace() {
		return c.endedNamespace(changed)
	}
	if !changed.IsKey() {
		return nil
	}
	ok, err := c.past.seekIn(supersededKey(key, rev-1), pastOf(key))
	if err != nil || !ok {
		return err
	}
	if end, err := endOf(key, c.past.value); err != nil || end != rev {
		return err
	}
	c.a.replace(superseded, c.past.key, c.past.value, nil)
	return nil
}

func (c *compaction) endedNamespace(changed *ChangedKey) error {
	if changed.Old == 0 {
		return nil
	}
	key := supersededKey(changed.Key, changed.Old)
	old, _, err := c.a.stored(former, key)
	if err == nil && old == nil {
		err = damaged("namespace %q: what it was at revision %d is missing", changed.Key, changed.Old)
	}
	if err == nil {
		c.a.replace(former, key, old, nil)
	}
	return err
}

// trim goes through the changes that were not looked at yet, and leaves keep superseded
// records of each key that they changed, or as many as its namespace says; 0: all. It tells whether there may be more of them.
func (c *compaction) trim(keep int) (more bool, err error) {
	if c.trimmed < c.floor {
		c.trimmed, c.trimmedKeys = c.floor, 0
	}
	room := MaxMaintenance
	done := map[string]bool{} // their surplus is in the writes already
	for room > 0 && c.trimmed < c.view.Revision() {
		rev := c.next(c.trimmed)
		ops, err := c.view.changedKeys(rev)
		if err != nil {
			return false, err
		}
		room--
		for ; c.trimmedKeys < uint64(len(ops)); c.trimmedKeys++ {
			if room <= 0 {
				return true, nil
			}
			room-- // also for a key without a past, and one that was done: a change may have very many
			key := ops[c.trimmedKeys].Key
			if ops[c.trimmedKeys].Kind.alone() {
				continue
			}
			here := c.a.s.policy.keepVersions(key, keep)
			if here == 0 || c.a.s.pasts.few(key, here) || done[key] {
				continue // all
			}
			done[key] = true
			all, err := c.trimKey(key, here, &room)
			if err != nil || !all {
				return true, err // the next command goes on with the same key
			}
		}
		c.trimmed, c.trimmedKeys = rev, 0
	}
	return room <= 0, nil
}

// trimKey lets the superseded records of key go but the newest, at most MaxMaintenance of
// them; all says that these were all. What is below the floor is the sweep's.
func (c *compaction) trimKey(key string, keep int, room *int) (all bool, err error) {
	m := c.past
	var (
		surplus int
		ended   Revision // the first of them
		last    string   // of them
		old     []byte   // what last is
		seen    int
	)
	ok, err := m.seekIn(supersededKey(key, math.MaxUint64), pastOf(key))
	for ; ok && err == nil && surplus < MaxMaintenance; ok, err = m.next() {
		end, err := endOf(key, m.value)
		if err != nil {
			return false, err
		}
		if end <= c.floor {
			break
		}
		if seen++; seen <= keep {
			if seen%keptForOne == 0 {
				*room--
			}
			continue
		}
		*room--
		if surplus++; surplus == 1 {
			ended = end
		} else {
			c.a.replace(superseded, last, old, nil)
		}
		last, old = m.key, m.value
	}
	if err != nil {
		return false, err
	}
	if surplus > 1 || surplus == 1 && !isTrimmed(old) {
		c.a.replace(superseded, last, old, encodeSuperseded(last, ended, nil))
	}
	c.a.s.pasts.looked(key, seen)
	return surplus < MaxMaintenance, nil
}
