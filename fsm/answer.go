package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"runtime/debug"
	"strings"
)

// What became of a command with an idempotency key is kept in bucket answers, so that it
// survives what the rest of the state does: restarts, fail-overs, images. Two records each:
//
//	k, 32 hash of principal and key               the answer
//	t, 8 expires, big-endian, 32 the same hash    nothing: finds the oldest answers
//
// The answer, integers little-endian:
//
//	offset  bytes
//	     0      8  checksum
//	     8      8  expires, replicated time in nanoseconds
//	    16     32  hash of the request
//	    48      1  outcome
//	    49      1  1 if the else branch was done
//	    50      8  revision
//	    58      8  revision of the key whose compare failed
//	    66      8  floor
//	               failed compare    count
//	               operations        count, then for each:
//	                   1  1 if created, plus 2 if changed
//	                      revision, removed, restored    a number each
const (
	answerMark = "k"
	expiryMark = "t"

	answerAt          = checksumBytes + 8
	answerHeaderBytes = answerAt + 32 + 2 + 3*8
)

// answerKey is where the answer to a principal's idempotency key is.
func answerKey(p *Principal, key string) string {
	h := sha256.New()
	_, _ = h.Write(p.identity())
	_, _ = h.Write([]byte(key))
	return answerMark + string(h.Sum(nil))
}

// expiryKey is where it is noted that the answer under a key goes at a time.
func expiryKey(expires uint64, answer string) string {
	return expiryMark + string(binary.BigEndian.AppendUint64(nil, expires)) + answer[len(answerMark):]
}

// answering is a command with an idempotency key on its way to an answer.
type answering struct {
	key    string
	delta  tally // of the key's entry in the active overlay
	known  bool  // result is the answer
	full   bool  // there is no room for one
	result Result
}

// recall finds the answer to an equal command, or whether there can be none.
func (a *applier) recall(cmd *Command) (ans answering, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	ans.key = answerKey(&cmd.Principal, cmd.Idempotency.Key)
	value, delta, err := a.stored(answers, ans.key)
	if err != nil {
		return ans, err
	}
	ans.delta = delta
	if value == nil {
		ans.full = a.s.state.answers.bytes >= MaxAnswersBytes
		return ans, nil
	}
	ans.known = true
	ans.result, err = decodeAnswer(value, &cmd.Idempotency)
	ans.result.Origin = cmd.Origin
	return ans, err
}

// remember keeps r as the answer to cmd.
func (a *applier) remember(cmd *Command, ans *answering, r *Result) {
	expires := uint64(a.s.state.time + int64(IdempotencyRetention))
	value := encodeAnswer(ans.key, expires, &cmd.Idempotency, r)
	a.put(&write{in: answers, key: ans.key, value: value, delta: ans.delta})
	// The time goes on between two answers to one key, so this one is new.
	at := expiryKey(expires, ans.key)
	mark := make([]byte, checksumBytes)
	seal(answers, at, mark)
	a.put(&write{in: answers, key: at, value: mark})
}

func encodeAnswer(key string, expires uint64, i *Idempotency, r *Result) []byte {
	v := make([]byte, checksumBytes, answerHeaderBytes+8+8*len(r.Ops))
	v = binary.LittleEndian.AppendUint64(v, expires)
	v = append(v, i.Request[:]...)
	v = append(v, byte(r.Outcome), oneIf(r.Else))
	for _, rev := range [...]Revision{r.Revision, r.Current, r.Floor} {
		v = binary.LittleEndian.AppendUint64(v, uint64(rev))
	}
	v = binary.AppendUvarint(v, uint64(r.FailedCompare))
	v = binary.AppendUvarint(v, uint64(len(r.Ops)))
	for i := range r.Ops {
		op := &r.Ops[i]
		v = append(v, oneIf(op.Created)|oneIf(op.Changed)<<1)
		v = binary.AppendUvarint(v, uint64(op.Revision))
		v = binary.AppendUvarint(v, uint64(op.Removed))
		v = binary.AppendUvarint(v, uint64(op.Restored))
	}
	seal(answers, key, v)
	return v
}

// decodeAnswer reads what encodeAnswer wrote, as the answer to a command that repeats the
// request, or one that uses its key for another.
func decodeAnswer(value []byte, i *Idempotency) (Result, error) {
	if len(value) < answerHeaderBytes {
		return Result{}, damaged("answer: %d bytes are none", len(value))
	}
	d := decoder{b: value[answerAt:]}
	if [32]byte(d.fixed(32)) != i.Request {
		return Result{Outcome: KeyReused}, nil
	}
	r := Result{Replayed: true, Outcome: Outcome(d.byte()), Else: d.bool()}
	for _, rev := range [...]*Revision{&r.Revision, &r.Current, &r.Floor} {
		*rev = Revision(d.uint64())
	}
	r.FailedCompare = int(d.uvarint())
	if n := d.count(math.MaxInt); n > 0 || r.Outcome == Applied || r.Outcome == Unchanged {
		r.Ops = make([]OpResult, n)
	}
	for i := range r.Ops {
		flags := d.byte()
		r.Ops[i] = OpResult{
			Created: flags&1 != 0, Changed: flags&2 != 0,
			Revision: Revision(d.uvarint()), Removed: int(d.uvarint()), Restored: int(d.uvarint()),
		}
	}
	if d.err != "" || len(d.b) != 0 {
		return Result{}, damaged("answer: %s", d.trouble())
	}
	return r, nil
}

// Answer is what is remembered of the command that p sent under i's key: its result if the
// request is the same, else outcome KeyReused; false if the key is not known. ErrDamaged.
func (v *View) Answer(p *Principal, i *Idempotency) (Result, bool, error) {
	key := answerKey(p, i.Key)
	m := v.merge(answers)
	defer m.release()
	ok, err := m.seekIn(key, key+"\x00")
	if err != nil || !ok {
		return Result{}, false, err
	}
	r, err := decodeAnswer(m.value, i)
	return r, err == nil, err
}

// expire leaves in a.writes the removal of the answers that expired by now, the oldest first.
// It tells whether there may be more of them.
func (a *applier) expire(now int64) (more bool, err error) {
	m := a.view().merge(answers)
	defer m.release()
	room := MaxMaintenance
	ok, err := m.seek(expiryMark)
	for ; ok && err == nil && room > 0; ok, err = m.next() {
		if len(m.key) < len(expiryMark)+8 || !strings.HasPrefix(m.key, expiryMark) {
			return false, damaged("answer %q: no time", m.key)
		}
		at := binary.BigEndian.Uint64([]byte(m.key[len(expiryMark):]))
		if at > uint64(now) {
			return false, nil
		}
		room--
		key := answerMark + m.key[len(expiryMark)+8:]
		old, _, err := a.stored(answers, key)
		if err != nil {
			return false, err
		}
		if old == nil {
			return false, damaged("answer %x: is missing, but not when it expires", key)
		}
		a.replace(answers, m.key, m.value, nil)
		a.replace(answers, key, old, nil)
	}
	return room <= 0, err
}
