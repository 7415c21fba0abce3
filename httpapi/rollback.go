package httpapi

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/confman/confman/fsm"
)

// rollback answers POST /rollback: a key, or all below a prefix, becomes what it was at a
// revision, at a new one; what came between stays in the history.
func (c *call) rollback() error {
	t, err := parseTarget(c.r.URL, c.param)
	if err != nil {
		return err
	}
	q, err := parseQuery(c.r.URL.RawQuery, chunkParams)
	if err != nil {
		return err
	}
	chunked, err := q.flag("chunked")
	if err != nil {
		return err
	}
	b := c.body(MaxRollbackBytes)
	defer b.release()
	cmd, text, err := c.document(b, MaxRollbackBytes)
	if err != nil {
		return err
	}
	to, fault := parseRollback(text)
	if fault != nil {
		return fault.problem(text, "")
	}
	verbs := fsm.VerbRollback
	if chunked {
		verbs |= fsm.VerbWrite // its transactions are puts and deletes
	}
	c.need(verbs, t.path())
	if chunked {
		if err := severalTimes(cmd); err != nil {
			return err
		}
		return c.rollbackChunks(t, to, cmd)
	}
	c.once(cmd, text)
	cmd.Ops = []fsm.Op{{Kind: fsm.Restore, Key: t.path(), Revision: to}}
	c.proposed = true
	res, err := c.propose(cmd)
	if err != nil {
		return err
	}
	c.rolledBack(t, to, res.Revision, res.Ops[0].Restored, res.Ops[0].Removed, 1)
	return nil
}

// parseRollback reads the body of a rollback.
func parseRollback(text []byte) (to fsm.Revision, fault *syntaxError) {
	s := scanner{b: text}
	if fault = s.begin(); fault != nil {
		return 0, fault
	}
	given := false
	fault = s.object("an object with to_revision", func(name string, at int) (fault *syntaxError) {
		if name != "to_revision" {
			return s.fault(at, "member %q is not one of a rollback: to_revision", name)
		}
		given = true
		to, fault = s.revision()
		return fault
	})
	if fault == nil {
		fault = s.end()
	}
	if fault == nil && !given {
		fault = s.fault(0, "to_revision is missing: the revision to go back to")
	}
	return to, fault
}

// rollbackChunks rolls back in as many transactions as that takes. What differs is found in one
// view: a key that others write meanwhile becomes what it was if it differed then, and else is
// left alone.
func (c *call) rollbackChunks(t target, to fsm.Revision, cmd *fsm.Command) error {
	done, err := c.holdView()
	if err != nil {
		return err
	}
	defer done()
	lo, hi := t.span()
	deadline := c.api.Now().Add(MaxExportTime)
	inTime := func() error {
		if c.api.Now().After(deadline) {
			return problemf(kindOverloaded, "the rollback took more than %v; made again it goes on", MaxExportTime)
		}
		return c.r.Context().Err()
	}
	// All differences are looked at before the first is written: what is compacted or damaged
	// must not be found half-way.
	v, st, err := c.open(freshness{consistency: linearizable}, func(v *fsm.View) error {
		return differences(v, to, lo, hi, func(fsm.Op) error { return inTime() })
	})
	if err != nil {
		return err
	}
	defer v.Close()
	l := newLoader(c, cmd)
	l.patience = MaxExportTime + TransferTimeout // there may be long ways between two differences
	defer l.settleAll()                          // those that a panic left: they use the call
	err = differences(v, to, lo, hi, func(op fsm.Op) error {
		if err := inTime(); err != nil {
			return err
		}
		op.Value = bytes.Clone(op.Value) // it is of the view, and waits for its transaction
		return l.add(op)
	})
	c.tellDamage(v, err)
	if err = l.finish(err); err != nil {
		return err
	}
	if l.transactions == 0 {
		l.revision = st.revision
	}
	c.rolledBack(t, to, l.revision, l.changed-l.removed, l.removed, l.transactions)
	return nil
}

// differences calls fn for what makes the keys of v in [lo, hi) what they were at a revision. A
// put's value is valid during the call.
func differences(v *fsm.View, to fsm.Revision, lo, hi string, fn func(fsm.Op) error) error {
	then, err := v.At(to)
	if err != nil {
		return err
	}
	defer then.Close()
	var failed error
	err = fsm.Diff(then, v, lo, hi, func(d fsm.Difference) bool {
		switch {
		case d.Before == nil:
			failed = fn(fsm.Op{Kind: fsm.Delete, Key: d.Key})
		case d.After == nil || d.Before.ContentType != d.After.ContentType || !bytes.Equal(d.Before.Value, d.After.Value):
			failed = fn(put(d.Key, d.Before.Value, d.Before.ContentType))
		} // or it was changed, and changed back
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return err
}

// rolledBack answers a rollback that went well.
func (c *call) rolledBack(t target, to, revision fsm.Revision, restored, removed, transactions int) {
	c.buf = append(c.buf, `{"path":`...)
	c.buf = appendString(c.buf, t.String())
	c.buf = append(c.buf, `,"to_revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(to), 10)
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(revision), 10)
	c.buf = append(c.buf, `,"restored":`...)
	c.buf = strconv.AppendInt(c.buf, int64(restored), 10)
	c.buf = append(c.buf, `,"removed":`...)
	c.buf = strconv.AppendInt(c.buf, int64(removed), 10)
	c.buf = append(c.buf, `,"changed":`...)
	c.buf = strconv.AppendBool(c.buf, restored+removed > 0)
	c.buf = append(c.buf, `,"transactions":`...)
	c.buf = strconv.AppendInt(c.buf, int64(transactions), 10)
	c.buf = append(c.buf, '}', '\n')
	status := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, c.standingAt(revision), &status)
}
