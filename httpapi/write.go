package httpapi

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

func quote(s string) string { return strconv.Quote(s) }

// put answers PUT of /config: the body becomes the key's value.
func (c *call) put() error {
	key, cond, cmd, err := c.keyWrite()
	if err != nil {
		return err
	}
	c.need(fsm.VerbWrite, key)
	header, _ := single(c.r.Header["Content-Type"])
	limit := int64(c.api.MaxValueBytes)
	b := c.body(limit)
	defer b.release()
	value, err := b.all(limit)
	if err != nil {
		return err
	}
	contentType, err := contentTypeOf(header, value)
	if err != nil {
		return err
	}
	c.once(cmd, value)
	cmd.Compares = cond.compares(key)
	cmd.Ops = []fsm.Op{{Kind: fsm.Put, Key: key, Value: value, ContentType: contentType}}
	c.proposed = true
	res, err := c.write(cmd)
	if err != nil {
		return err
	}
	c.writtenValue(key, contentType, res)
	return nil
}

// writtenValue answers a write of one value, whose content type may be "", not known any more.
func (c *call) writtenValue(key, contentType string, res fsm.Result) {
	op := res.Ops[0]
	a := answer{status: http.StatusOK, contentType: jsonHeader, etag: op.Revision}
	if op.Created {
		a.status = http.StatusCreated
	}
	c.buf = append(c.buf, `{"path":`...)
	c.buf = appendString(c.buf, key)
	if contentType != "" {
		c.buf = append(c.buf, `,"content_type":`...)
		c.buf = appendString(c.buf, contentType)
	}
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(op.Revision), 10)
	c.buf = append(c.buf, `,"created":`...)
	c.buf = strconv.AppendBool(c.buf, op.Created)
	c.sendWritten(a, op, res.Revision)
}

// delete answers DELETE of /config: the key's record goes, or those of a subtree.
func (c *call) delete() error {
	if t, err := parseTarget(c.r.URL, c.param); err == nil && t.subtree {
		return c.deleteTree(t)
	}
	key, cond, cmd, err := c.keyWrite()
	if err != nil {
		return err
	}
	c.need(asProposed, key)
	c.once(cmd, nil)
	cmd.Compares = cond.compares(key)
	cmd.Ops = []fsm.Op{{Kind: fsm.Delete, Key: key}}
	c.proposed = true
	res, err := c.write(cmd)
	if err != nil {
		return err
	}
	if !res.Ops[0].Changed {
		return &readError{c.standingAt(res.Revision), problemf(kindNotFound, "key %q has no value", key)}
	}
	c.buf = append(c.buf, `{"path":`...)
	c.buf = appendString(c.buf, key)
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(res.Revision), 10)
	c.sendWritten(answer{status: http.StatusOK, contentType: jsonHeader}, res.Ops[0], res.Revision)
	return nil
}

// sendWritten ends the document of a write and answers with it.
func (c *call) sendWritten(a answer, op fsm.OpResult, revision fsm.Revision) {
	c.buf = append(c.buf, `,"changed":`...)
	c.buf = strconv.AppendBool(c.buf, op.Changed)
	c.buf = append(c.buf, '}', '\n')
	status := c.api.Node.Status()
	st := standingOf(&status)
	st.revision = revision
	c.send(a, st, &status)
}

// keyWrite is what every write of one key begins with: the key, the condition, and a command
// without operations.
func (c *call) keyWrite() (key string, cond condition, cmd *fsm.Command, err error) {
	if key, err = c.writtenKey(); err != nil {
		return "", cond, nil, err
	}
	if cond, err = writeCondition(c.r.Header); err != nil {
		return "", cond, nil, err
	}
	cmd, err = c.command()
	return key, cond, cmd, err
}

// writtenKey is the key a write is for, its query checked.
func (c *call) writtenKey() (string, error) {
	t, err := parseTarget(c.r.URL, c.param)
	if err != nil {
		return "", err
	}
	if t.subtree {
		return "", problemf(kindSubtree,
			"%q is a subtree (it ends in a slash), and %s takes one key in this version", t, c.r.Method)
	}
	_, err = parseQuery(c.r.URL.RawQuery, noParams)
	return t.key, err
}

// command begins a command of this request. A request with an Idempotency-Key must be passed to
// once, or refused by severalTimes.
func (c *call) command() (*fsm.Command, error) {
	comment, _ := single(c.r.Header["Confman-Comment"])
	if len(comment) > fsm.MaxCommentBytes {
		return nil, invalidHeader("Confman-Comment", fmt.Sprintf("has %d bytes, at most %d are allowed", len(comment), fsm.MaxCommentBytes))
	}
	if reason := checkText(comment); reason != "" {
		return nil, invalidHeader("Confman-Comment", reason)
	}
	key, err := idempotencyKey(c.r.Header)
	if err != nil {
		return nil, err
	}
	return &fsm.Command{
		RequestID:   c.id,
		AcceptedAt:  c.api.Now().UnixNano(),
		Source:      c.source(),
		Principal:   c.who.principal,
		Comment:     comment,
		Idempotency: fsm.Idempotency{Key: key},
	}, nil
}

// write is propose of a command whose conditions must hold.
func (c *call) write(cmd *fsm.Command) (fsm.Result, error) {
	res, err := c.propose(cmd)
	if err == nil && res.Outcome == fsm.CompareFailed {
		failed := cmd.Compares[res.FailedCompare].Key
		err = &readError{c.standingAt(res.Revision), compareFailed(failed, res.Current)}
	}
	return res, err
}

// propose has cmd applied within WriteWait. Its result has one entry for each operation that was
// done, those of cmd.Else if res.Else says so; or a condition did not hold.
//
// An answer that is made of the result, and of the request, is the same when it is replayed.
func (c *call) propose(cmd *fsm.Command) (fsm.Result, error) {
	if err := c.mayPropose(cmd); err != nil {
		return fsm.Result{}, err
	}
	ctx, done := c.traced(dueIn(c.r.Context(), WriteWait), cmd)
	res, err := c.api.Node.Propose(ctx, cmd)
	done(err)
	if err != nil {
		return res, err
	}
	if err = c.checkResult(cmd, &res); err != nil {
		return res, err
	}
	return res, nil
}

// checkResult is why a command was refused where it was applied, if it was.
func (c *call) checkResult(cmd *fsm.Command, res *fsm.Result) error {
	c.replayed(res)
	var refused *problem
	switch res.Outcome {
	case fsm.Applied, fsm.Unchanged:
		done := cmd.Ops
		if res.Else {
			done = cmd.Else
		}
		if len(res.Ops) == len(done) {
			return nil
		}
	case fsm.CompareFailed:
		if res.FailedCompare < len(cmd.Compares) {
			return nil
		}
	case fsm.TreeTooLarge:
		refused = subtreeTooLarge()
	case fsm.Compacted:
		refused = compacted(res.Floor)
	case fsm.FutureRevision:
		refused = problemf(kindFutureRevision, "there is no revision %d, the newest is %d", cmd.Ops[0].Revision, res.Revision) // only a rollback asks for one
	case fsm.KeyReused:
		refused = keyReused(cmd)
	case fsm.Denied:
		refused = c.forbidden(res.Missing)
	case fsm.AnswersFull:
		refused = problemf(kindIdempotencyFull, "the cluster remembers %d bytes of idempotency keys, the most it does; the oldest are forgotten after %v",
			fsm.MaxAnswersBytes, fsm.IdempotencyRetention)
	default: // what is left is not an answer that the node gives without an error
		if refused = policyRefusal(res.Outcome); refused == nil {
			refused = memberRefusal(res.Outcome)
		}
	}
	if refused != nil {
		return &readError{c.standingAt(res.Revision), refused}
	}
	p := internal(fmt.Errorf("httpapi: %d results of %d operations, outcome %d", len(res.Ops), len(cmd.Ops), res.Outcome))
	p.outcome = node.Unknown
	return p
}

func keyReused(cmd *fsm.Command) *problem {
	return problemf(kindKeyReused, "another request was made under the Idempotency-Key %q: each has one of its own", cmd.Idempotency.Key)
}

func subtreeTooLarge() *problem {
	return problemf(kindSubtreeTooLarge, "one transaction removes or restores at most %d keys of subtrees, or %d bytes of them; "+
		"a removal or a rollback of its own is done in several with chunked=true", fsm.MaxTreeKeys, fsm.MaxTreeBytes).
		with("max_keys", fsm.MaxTreeKeys).with("max_bytes", fsm.MaxTreeBytes)
}

// standingAt is how an answer made at a revision stands: a write's own.
func (c *call) standingAt(revision fsm.Revision) standing {
	status := c.api.Node.Status()
	st := standingOf(&status)
	st.revision = revision
	return st
}
