package httpapi

import (
	"net/http"
	"strconv"

	"github.com/confman/confman/fsm"
)

// deleteTree answers DELETE of a subtree: every key below it goes, at one revision, or in
// several if the request allows that.
func (c *call) deleteTree(t target) error {
	q, err := parseQuery(c.r.URL.RawQuery, treeParams)
	if err != nil {
		return err
	}
	recursive, err := q.flag("recursive")
	if err != nil {
		return err
	}
	chunked, err := q.flag("chunked")
	if err != nil {
		return err
	}
	if !recursive {
		return problemf(kindSubtree,
			"%q is a subtree (it ends in a slash); recursive=true removes every key below it", t)
	}
	if cond, err := writeCondition(c.r.Header); err != nil || cond.kind != 0 {
		return invalidCondition("If-Match and If-None-Match are of one key, and %q is a subtree", t)
	}
	c.need(fsm.VerbDeleteTree, t.prefix())
	cmd, err := c.command()
	if err != nil {
		return err
	}
	if chunked {
		if err := severalTimes(cmd); err != nil {
			return err
		}
		return c.deleteChunks(t, cmd)
	}
	c.once(cmd, nil)
	cmd.Ops = []fsm.Op{{Kind: fsm.DeleteTree, Key: t.prefix()}}
	c.proposed = true
	res, err := c.write(cmd)
	if err != nil {
		return err
	}
	return c.removedTree(t, res.Revision, res.Ops[0].Removed, 1)
}

// deleteChunks removes what is below t in as many transactions as that takes. A key that
// comes to be while that goes on may stay.
func (c *call) deleteChunks(t target, cmd *fsm.Command) error {
	l := newLoader(c, cmd)
	defer l.settleAll() // those that a panic left: they use the call
	// The first page holds all that was acknowledged before the request, and so does
	// every state of this node from then on.
	f := freshness{consistency: linearizable}
	var (
		keys []string
		st   standing
		err  error
	)
	for from, more := t.prefix(), true; more && err == nil; f.consistency = local {
		st, err = c.read(f, func(v *fsm.View) error {
			keys = keys[:0]
			return v.Scan(from, t.end(), func(rec fsm.Record) bool {
				keys = append(keys, rec.Key)
				return len(keys) < deletePage
			})
		})
		for i := 0; i < len(keys) && err == nil; i++ {
			err = l.add(fsm.Op{Kind: fsm.Delete, Key: keys[i]})
		}
		if more = len(keys) == deletePage; more {
			from = keys[len(keys)-1] + "\x00"
		}
	}
	if err = l.finish(err); err != nil {
		return err
	}
	if l.transactions == 0 {
		l.revision = st.revision
	}
	return c.removedTree(t, l.revision, l.changed, l.transactions)
}

// removedTree answers a removal that went well.
func (c *call) removedTree(t target, revision fsm.Revision, removed, transactions int) error {
	status := c.api.Node.Status()
	st := standingOf(&status)
	st.revision = revision
	if removed == 0 {
		return &readError{st, problemf(kindNotFound, "there is no key below %q", t)}
	}
	c.buf = append(c.buf, `{"path":`...)
	c.buf = appendString(c.buf, t.String())
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(revision), 10)
	c.buf = append(c.buf, `,"removed":`...)
	c.buf = strconv.AppendInt(c.buf, int64(removed), 10)
	c.buf = append(c.buf, `,"transactions":`...)
	c.buf = strconv.AppendInt(c.buf, int64(transactions), 10)
	c.buf = append(c.buf, '}', '\n')
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
	return nil
}
