package fsm

import "crypto/sha256"

// VerifyChain recomputes the whole change log of v: each change's hash from the
// one before it, the content of each change from the records it stored, and the
// head against the state's. The error is ErrDamaged and names the first change
// that does not fit. It reads all changes and all records.
func VerifyChain(v *View) error {
	st := v.State()
	at, chain := Revision(0), v.p.base.store.genesis
	err := v.rawChanges(1, func(key string, value []byte) error {
		ch, err := openChange(key, value)
		if err != nil {
			return err
		}
		if chain, err = follow(at, chain, &ch, value); err != nil {
			return err
		}
		at = ch.Revision
		return v.verifyContent(&ch)
	})
	if err != nil {
		return err
	}
	if at != st.Revision || chain != st.Chain {
		return chainError(at, "the log ends here, the state is at %d, or their hashes differ", st.Revision)
	}
	return nil
}

// verifyContent recomputes what ch's puts stored.
func (v *View) verifyContent(ch *Change) error {
	content := sha256.New()
	var scratch []byte
	for i := range ch.Ops {
		if ch.Ops[i].Kind != Put {
			continue
		}
		key := ch.Ops[i].Key
		b, err := v.bodyAt(key, ch.Revision)
		if err != nil {
			return err
		}
		if b == nil {
			return chainError(ch.Revision, "the record it stored under %q is missing", key)
		}
		_, _ = content.Write(recordLeaf(&scratch, current, key, b).append(nil))
	}
	if [32]byte(content.Sum(nil)) != ch.Content {
		return chainError(ch.Revision, "the records are not what it stored")
	}
	return nil
}

// bodyAt returns the record that key got at revision rev, current or superseded;
// nil if there is none.
func (v *View) bodyAt(key string, rev Revision) (body, error) {
	b, err := v.body(key)
	if err != nil || b != nil && b.revision() == rev {
		return b, err
	}
	m := v.merge(superseded)
	defer m.release()
	want := supersededKey(key, rev)
	ok, err := m.seek(want)
	if err != nil || !ok || m.key != want {
		return nil, err
	}
	return checkBody(key, m.value[checksumBytes+endedBytes:])
}
