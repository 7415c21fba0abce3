package fsm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// ChainError is a change that does not fit the chain of the change log. It is ErrDamaged.
type ChainError struct {
	Revision Revision // of the first change at fault
	Reason   string
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("%v: change log at revision %d: %s", ErrDamaged, e.Revision, e.Reason)
}

// Unwrap returns ErrDamaged.
func (e *ChainError) Unwrap() error { return ErrDamaged }

// chainError names a change that does not fit the chain.
func chainError(rev Revision, what string, args ...any) error {
	return &ChainError{Revision: rev, Reason: fmt.Sprintf(what, args...)}
}

// asChainError is err as what is wrong with the change of revision rev, if it is damage.
func asChainError(rev Revision, err error) error {
	var named *ChainError
	if errors.As(err, &named) || !errors.Is(err, ErrDamaged) {
		return err
	}
	return chainError(rev, "%s", strings.TrimPrefix(err.Error(), ErrDamaged.Error()+": "))
}

// VerifyChain recomputes the change log of v from its floor on: each change's hash from the
// one before it, the content of each change from the records it stored, as far as they are
// held, and the head against the state's. It reads all changes and all records, until ctx
// ends.
//
// Errors: *ChainError, which names the first change that does not fit, or cannot be read, or whose
// records cannot; ctx's.
func VerifyChain(ctx context.Context, v *View) error {
	st := v.State()
	after := gaps(st.Gaps).after
	at, chain := st.Floor, st.FloorChain
	err := v.rawChanges(st.Floor+1, func(key string, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		ch, err := openChange(key, value)
		if err != nil {
			return err
		}
		if chain, err = follow(at, after(at), chain, &ch, value); err != nil {
			return err
		}
		if err := v.verifyContent(&ch); err != nil {
			return err
		}
		at = ch.Revision
		return nil
	})
	if err != nil {
		return asChainError(after(at), err)
	}
	if at != st.Revision || chain != st.Chain {
		return chainError(at, "the log ends here, the state is at %d, or their hashes differ", st.Revision)
	}
	return nil
}

// verifyContent recomputes what ch's puts stored, unless some of it was trimmed.
func (v *View) verifyContent(ch *Change) error {
	content := sha256.New()
	var scratch []byte
	for i := range ch.Ops {
		in, key := current, ch.Ops[i].Key
		var (
			b   body
			err error
		)
		switch ch.Ops[i].Kind {
		case Put:
			b, err = v.bodyAt(key, ch.Revision)
		case PutNamespace:
			b, err = v.namespaceBodyAt(key, ch.Revision)
			in, key = namespaces, namespaceMark+key
		default:
			continue
		}
		switch {
		case err != nil:
			return err
		case b == nil:
			return nil
		}
		_, _ = content.Write(recordLeaf(&scratch, in, key, b).append(nil))
	}
	if [32]byte(content.Sum(nil)) != ch.Content {
		return chainError(ch.Revision, "the records are not what it stored")
	}
	return nil
}

// bodyAt returns the record that key got at revision rev, current or superseded, which the
// change log says it did; nil if it was trimmed since.
func (v *View) bodyAt(key string, rev Revision) (body, error) {
	b, newest := v.body(key)
	if b != nil && b.revision() == rev {
		return b, nil
	}
	m := v.merge(superseded)
	defer m.release()
	want := supersededKey(key, rev)
	ok, err := m.seekIn(want, pastOf(key))
	if err != nil {
		return nil, err
	}
	if ok {
		ended, err := endOf(key, m.value)
		switch trimmed := isTrimmed(m.value); {
		case err != nil || trimmed && ended > rev:
			return nil, err
		case m.key == want && !trimmed:
			return checkBody(key, m.value[checksumBytes+endedBytes:])
		}
	}
	if newest != nil {
		return nil, newest // it may be the one
	}
	return nil, chainError(rev, "the record it stored under %q is missing", key)
}
