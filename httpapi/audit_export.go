package httpapi

import (
	"log/slog"
	"net/http"

	"github.com/confman/confman/fsm"
)

// exportAudit answers with all rows that match, one a line, of one state.
func (c *call) exportAudit(f freshness, filter auditFilter) error {
	done, err := c.holdView()
	if err != nil {
		return err
	}
	defer done()
	var w auditWalk
	v, st, err := c.open(f, func(v *fsm.View) (err error) {
		w, err = filter.walk(c, v)
		return err
	})
	if err != nil {
		return err
	}
	defer v.Close()
	status := c.api.Node.Status()
	c.w.Header()["Cache-Control"] = noCacheHeader
	out := newExporter(c, func(k coding) {
		c.head(answer{status: http.StatusOK, contentType: recordsHeader, length: -1, coding: k}, st, &status)
	})
	defer out.release()
	var stop error
	err = w.run(v, func(row []byte, _ fsm.AuditPosition) bool {
		if len(row) > 0 {
			out.buf = append(append(out.buf, row...), '\n')
		}
		switch stop = c.r.Context().Err(); {
		case stop != nil:
		case !out.flush(false):
			stop = out.err
		case !c.api.Now().Before(out.deadline): // nothing may be sent for long
			stop = problemf(kindOverloaded, "the export took more than %v: narrow it down with path, since or until", MaxExportTime)
		}
		return stop == nil
	})
	if err == nil {
		err = stop
	}
	if err == nil && !out.flush(true) {
		err = out.err
	}
	if err == nil {
		return nil
	}
	c.tellDamage(v, err)
	if !c.begun {
		return &readError{st, err}
	}
	// The status line is out: a broken connection is the only way to say it.
	c.api.Logger.Warn("export of the audit broke off", slog.String("request_id", c.id), slog.Any("error", err))
	panic(http.ErrAbortHandler)
}
