package httpapi

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/confman/confman/fsm"
)

// txn answers POST /txn: operations on many keys, atomically, at one revision, if what is
// compared is as it should be; else others. That a compare fails is an answer, not an error.
func (c *call) txn() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	b := c.body(MaxTxnBytes)
	defer b.release()
	cmd, text, err := c.document(b, MaxTxnBytes)
	if err != nil {
		return err
	}
	t, fault := parseTxn(text, c.api.MaxValueBytes)
	if fault != nil {
		return fault.problem(text, "")
	}
	c.once(cmd, text)
	cmd.Compares, cmd.Ops, cmd.Else = t.compares, t.then.ops(), t.other.ops()
	c.need(asProposed, "")
	for _, b := range [...]branch{t.then, t.other} {
		for i := range b {
			if b[i].Kind == 0 { // a get
				c.need(fsm.VerbRead, b[i].Key)
			}
		}
	}
	asked := c.api.Now()
	c.proposed = true
	res, err := c.propose(cmd)
	if err != nil {
		return err
	}
	if !res.Replayed {
		c.wrote = asked
	}
	return c.transacted(&t, &res)
}

// document reads the body of a request that is a JSON document, and begins its command.
func (c *call) document(b *body, limit int64) (*fsm.Command, []byte, error) {
	if cond, err := writeCondition(c.r.Header); err != nil || cond.kind != 0 {
		return nil, nil, invalidCondition("If-Match and If-None-Match are of one key: what is asked for here is all in the body")
	}
	return c.jsonDocument(b, limit)
}

// jsonDocument is document of a request that may have a condition.
func (c *call) jsonDocument(b *body, limit int64) (*fsm.Command, []byte, error) {
	header, _ := single(c.r.Header["Content-Type"])
	switch essenceOf(header) {
	case "", typeForm, typeJSON:
	default:
		return nil, nil, problemf(kindUnsupportedMedia, "Content-Type is %s, want %s", quote(header), typeJSON).
			with("available", []string{typeJSON})
	}
	cmd, err := c.command()
	if err != nil {
		return nil, nil, err
	}
	text, err := b.all(limit)
	return cmd, text, err
}

// transacted answers a transaction.
func (c *call) transacted(t *transaction, res *fsm.Result) error {
	failed := res.Outcome == fsm.CompareFailed || res.Else
	done := t.then
	if failed {
		done = t.other
	}
	c.buf = append(c.buf, `{"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(res.Revision), 10)
	c.buf = append(c.buf, `,"succeeded":`...)
	c.buf = strconv.AppendBool(c.buf, !failed)
	c.buf = append(c.buf, `,"changed":`...)
	c.buf = strconv.AppendBool(c.buf, res.Outcome == fsm.Applied)
	if failed {
		c.buf = append(c.buf, `,"failed_compare":`...)
		c.buf = strconv.AppendInt(c.buf, int64(res.FailedCompare), 10)
		c.buf = append(c.buf, `,"current_revision":`...)
		c.buf = strconv.AppendUint(c.buf, uint64(res.Current), 10)
	}
	c.buf = append(c.buf, `,"results":[`...)
	w := txnWriter{c: c, res: res, rest: done, ops: res.Ops}
	defer w.release()
	if err := w.results(); err != nil {
		return err
	}
	c.buf = append(c.buf, ']', '}', '\n')
	w.end()
	return nil
}

// txnWriter writes the results of a branch. They are gathered in the call's buffer, page by
// page if they are more than one (MaxPageBytes): gets may bring any number of large values.
type txnWriter struct {
	c    *call
	res  *fsm.Result
	rest branch         // the operations that are not written yet
	ops  []fsm.OpResult // of those that are not gets
	some bool           // one is written
	out  *exporter      // nil until the answer has begun
}

// results writes what became of each operation. Gets see what was there right after the
// transaction; without any, nothing is read.
func (w *txnWriter) results() error {
	if len(w.rest) == len(w.ops) {
		return w.page(nil)
	}
	for len(w.rest) > 0 {
		if len(w.c.buf) >= MaxPageBytes {
			w.flush(false)
		}
		err := w.c.afterwards(w.res.Revision, w.page)
		if isCompacted(err) {
			err = w.page(nil)
		}
		if err != nil && w.c.begun {
			// The status line is out: a broken connection is the only way to say it.
			w.c.api.Logger.Warn("answer of a transaction broke off", slog.String("request_id", w.c.id), slog.Any("error", err))
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// page writes results until there is a page of them; v is nil if what they left is compacted.
func (w *txnWriter) page(v *fsm.View) error {
	for len(w.rest) > 0 && len(w.c.buf) < MaxPageBytes {
		if w.some {
			w.c.buf = append(w.c.buf, ',')
		}
		if err := w.result(&w.rest[0], v); err != nil {
			return err
		}
		w.rest, w.some = w.rest[1:], true
	}
	return nil
}

// result writes what became of one operation.
func (w *txnWriter) result(op *fsm.Op, v *fsm.View) error {
	c := w.c
	var r fsm.OpResult
	if op.Kind != 0 {
		r, w.ops = w.ops[0], w.ops[1:]
	}
	switch op.Kind {
	case fsm.Put:
		c.result("put", op.Key)
		c.buf = append(c.buf, `,"revision":`...)
		c.buf = strconv.AppendUint(c.buf, uint64(r.Revision), 10)
		c.buf = append(c.buf, `,"created":`...)
		c.buf = strconv.AppendBool(c.buf, r.Created)
	case fsm.Delete:
		c.result("delete", op.Key)
	case fsm.DeleteTree:
		c.result("delete", named(op))
		c.buf = append(c.buf, `,"removed":`...)
		c.buf = strconv.AppendInt(c.buf, int64(r.Removed), 10)
	default:
		return w.get(op.Key, v)
	}
	c.buf = append(c.buf, `,"changed":`...)
	c.buf = strconv.AppendBool(c.buf, r.Changed)
	c.buf = append(c.buf, '}')
	return nil
}

// result begins the result of an operation.
func (c *call) result(op, path string) {
	c.buf = append(c.buf, `{"`...)
	c.buf = append(c.buf, op...)
	c.buf = append(c.buf, `":`...)
	c.buf = appendString(c.buf, path)
}

// get writes what a key was right after the transaction. A replay may come so late that this is
// compacted, because others have changed the key more often since than versions are kept: then
// it says so.
func (w *txnWriter) get(key string, v *fsm.View) error {
	c := w.c
	var (
		rec   fsm.Record
		found bool
		gone  = v == nil
		err   error
	)
	if !gone {
		rec, found, err = v.Get(key)
		gone = isCompacted(err)
	}
	if err != nil && !gone {
		return err
	}
	c.result("get", key)
	switch {
	case gone:
		c.buf = append(c.buf, `,"compacted":true}`...)
	case !found:
		c.buf = append(c.buf, `,"record":null}`...)
	default:
		c.buf = append(c.buf, `,"record":`...)
		c.buf = append(appendRecord(c.buf, &rec), '}', '}')
	}
	return nil
}

// flush sends what was gathered, of the last page all. If the client is gone, nobody is left to tell.
func (w *txnWriter) flush(last bool) {
	if w.out == nil {
		w.out = newExporter(w.c, func(k coding) {
			status := w.c.api.Node.Status()
			a := answer{status: http.StatusOK, contentType: jsonHeader, length: -1, coding: k}
			w.c.head(a, w.c.standingAt(w.res.Revision), &status)
		})
	}
	w.out.buf = w.c.buf
	w.out.flush(last)
	w.c.buf = w.c.buf[:0]
}

func (w *txnWriter) release() {
	if w.out != nil {
		w.out.release()
	}
}

// end sends the rest of the answer, or all of it.
func (w *txnWriter) end() {
	if w.out != nil {
		w.flush(true)
		return
	}
	status := w.c.api.Node.Status()
	w.c.send(answer{status: http.StatusOK, contentType: jsonHeader}, w.c.standingAt(w.res.Revision), &status)
}
