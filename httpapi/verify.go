package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// verify answers GET /history?verify=true: it recomputes the chain of the change log, which is
// one for all paths, from the floor on. That the log is not what was written is an answer, which
// names the first change at fault; the node is told, too.
func (c *call) verify(q *query, f freshness) error {
	for _, name := range [...]string{"revision", "limit", "cursor"} {
		if _, given := q.get(name); given {
			return invalidParameter(name, "contradicts verify, which is of all that is held")
		}
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	c.need(fsm.VerbRead, "") // it is of all paths
	done, err := c.holdView()
	if err != nil {
		return err
	}
	defer done()
	v, st, err := c.open(f, func(*fsm.View) error { return nil })
	if err != nil {
		return err
	}
	defer v.Close()
	ctx, cancel := context.WithTimeout(c.r.Context(), MaxExportTime)
	defer cancel()
	err = fsm.VerifyChain(ctx, v)
	c.tellDamage(v, err)
	var fault *fsm.ChainError
	switch {
	case err == nil, errors.As(err, &fault):
	case errors.Is(err, context.DeadlineExceeded):
		return &readError{st, problemf(kindOverloaded, "the change log was not verified within %v: the disk, or the machine, is slow or busy", MaxExportTime)}
	default:
		return &readError{st, err}
	}
	c.verified(v.State(), fault)
	status := c.api.Node.Status()
	c.w.Header()["Cache-Control"] = noStoreHeader
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
	return nil
}

// verified writes the verdict; fault is nil if all fits.
func (c *call) verified(s fsm.State, fault *fsm.ChainError) {
	c.buf = append(c.buf, `{"verified":`...)
	c.buf = strconv.AppendBool(c.buf, fault == nil)
	c.buf = append(c.buf, `,"from_revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(s.Floor), 10)
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(s.Revision), 10)
	if fault == nil {
		c.buf = append(c.buf, `,"changes":`...)
		c.buf = strconv.AppendUint(c.buf, s.Between(s.Floor, s.Revision), 10)
		c.buf = append(c.buf, `,"chain":"`...)
		c.buf = hex.AppendEncode(c.buf, s.Chain[:])
		c.buf = append(c.buf, '"')
	} else {
		c.buf = append(c.buf, `,"first_bad_revision":`...)
		c.buf = strconv.AppendUint(c.buf, uint64(fault.Revision), 10)
		c.buf = append(c.buf, `,"reason":`...)
		c.buf = appendString(c.buf, strings.ToValidUTF8(strings.ReplaceAll(fault.Reason, fsm.ErrDamaged.Error()+": ", ""), "\ufffd"))
	}
	c.buf = append(c.buf, '}', '\n')
}
