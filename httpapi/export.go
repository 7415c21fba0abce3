package httpapi

import (
	"bytes"
	"log/slog"
	"net/http"
	"time"

	"github.com/confman/confman/fsm"
)

// exportBuffer is how much of an export is gathered before it is sent.
const exportBuffer = 64 << 10

// export answers GET /export: a subtree, with the value of its own path if it
// has one, from one view and so at one revision.
func (c *call) export() error {
	t, q, f, err := c.treeRead(exportParams)
	if err != nil {
		return err
	}
	if err := c.datetime(&f); err != nil {
		return err
	}
	format, err := c.exportFormat(&q)
	if err != nil {
		return err
	}
	done, err := c.holdView()
	if err != nil {
		return err
	}
	defer done()
	// The value of a subtree's own path is not below it: who may not read it gets the rest.
	empty, own := true, false
	v, st, err := c.open(f, func(v *fsm.View) error {
		empty = true // fn may be called twice
		own = t.key != "" && (!t.subtree || c.has(v, fsm.VerbRead, t.key))
		// Records of the past may be compacted here and there. All are looked at before the
		// first byte is sent: afterwards only a broken connection could tell.
		return scanTree(v, t, own, func(fsm.Record) bool { empty = false; return f.past })
	})
	if err != nil {
		return err
	}
	defer v.Close()
	if empty && t.key != "" {
		return &readError{st, problemf(kindNotFound, "there is no key %q, nor any below it", t.key)}
	}
	status := c.api.Node.Status()
	c.w.Header()["Vary"] = varyHeader
	c.w.Header()["Cache-Control"] = noCacheHeader
	out := newExporter(c, func(k coding) {
		c.head(answer{status: http.StatusOK, contentType: exportHeaders[format], length: -1, coding: k}, st, &status)
	})
	defer out.release()
	if format == typeRecords {
		err = out.records(v, t, own)
	} else {
		out.yaml = format == typeYAML
		err = out.tree(v, t, own)
	}
	if err != nil {
		c.tellDamage(v, err)
		if !c.begun {
			return &readError{st, err}
		}
		// The status line is out: a broken connection is the only way to say it.
		c.api.Logger.Warn("export broke off", slog.String("request_id", c.id), slog.Any("error", err))
		panic(http.ErrAbortHandler)
	}
	return nil
}

// holdView lets the call keep a view open until done, for MaxExportTime and with as much time for its
// answer. The connection is read from meanwhile, to see the client leave: not to time out.
func (c *call) holdView() (done func(), err error) {
	if !c.api.exports.TryAcquire(1) {
		return nil, problemf(kindOverloaded, "%d exports, verifications or rollbacks in chunks are under way here, the most there may be", MaxExports)
	}
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(c.api.Now().Add(MaxExportTime + TransferTimeout))
	return func() { c.api.exports.Release(1) }, nil
}

func (c *call) exportFormat(q *query) (string, error) {
	offers := []string{typeJSON, typeYAML, typeRecords}
	if v, ok := q.get("format"); ok {
		switch v {
		case "tree":
			offers = treeTypes
		case "ndjson":
			offers = []string{typeRecords}
		default:
			return "", invalidParameter("format", "is "+quote(v)+", want tree or ndjson")
		}
	}
	i := accepted(c.r, offers...)
	if i < 0 {
		return "", notAcceptable(offers...)
	}
	return offers[i], nil
}

// scanTree calls fn for the record at t, if there is one and own says so, and for those below it.
func scanTree(v *fsm.View, t target, own bool, fn func(fsm.Record) bool) error {
	if own {
		rec, ok, err := v.Get(t.key)
		if err != nil || ok && !fn(rec) {
			return err
		}
	}
	return v.Scan(t.prefix(), t.end(), fn)
}

// treeTypes are the representations of a tree, the first by default.
var treeTypes = []string{typeJSON, typeYAML}

// exportHeaders are the Content-Types of an export, by format.
var exportHeaders = map[string][]string{typeJSON: jsonHeader, typeYAML: yamlHeader, typeRecords: recordsHeader}

// exporter gathers an export and sends it piece by piece, or, for a bounded tree, keeps it.
type exporter struct {
	yaml    bool // a tree is YAML, not JSON
	bounded bool // nothing is sent, and what is too large for a page is an error
	leaves  int

	c        *call
	head     func(coding) // writes the headers
	control  *http.ResponseController
	deadline time.Time
	buf      []byte
	enc      *encoder // nil: it goes out as it is
	err      error    // the first; nothing is sent after it
}

func newExporter(c *call, head func(coding)) *exporter {
	e := &exporter{c: c, head: head, control: http.NewResponseController(c.w), deadline: c.api.Now().Add(MaxExportTime)}
	// The connection is read from meanwhile, to see the client leave: not to time out.
	_ = e.control.SetReadDeadline(time.Time{})
	e.buf = make([]byte, 0, 2*exportBuffer)
	return e
}

// flush sends what was gathered once it is enough, or all; false after an error. Before all but the
// first piece it is asked again whether the caller may read that, by what is applied here then: an
// export lasts up to MaxExportTime, and what it reads from is older than a permission that went.
func (e *exporter) flush(all bool) bool {
	if e.bounded && e.err == nil && (e.leaves > MaxPage || len(e.buf) > MaxPageBytes) {
		e.err = treeTooLarge()
	}
	if e.err != nil || e.bounded || !all && len(e.buf) < exportBuffer {
		return e.err == nil
	}
	deadline := e.c.api.Now().Add(TransferTimeout)
	if deadline.After(e.deadline) {
		deadline = e.deadline
	}
	_ = e.control.SetWriteDeadline(deadline)
	if !e.c.begun {
		e.begin()
	} else if _, e.err = e.c.newest(); e.err != nil {
		return false
	}
	if e.enc == nil {
		_, e.err = e.c.w.Write(e.buf)
	} else {
		_, e.err = e.enc.w.Write(e.buf)
		if e.err == nil && all {
			e.err = e.enc.w.Close()
		}
	}
	e.buf = e.buf[:0]
	return e.err == nil
}

// begin writes the headers, now that there is something to send: a small export is not
// compressed, and one that fails before is answered with what was wrong.
func (e *exporter) begin() {
	k := identity
	if len(e.buf) >= MinEncodedBytes {
		if e.enc = e.c.encoder(e.c.w); e.enc != nil {
			k = e.enc.coding
		}
	}
	e.head(k)
}

// release ends the export, whole or not: an encoding that was not closed has no end, which
// tells the client.
func (e *exporter) release() {
	if e.enc != nil {
		e.enc.release()
	}
}

// records writes one line for each record. A JSON value that holds a line break
// is written as base64: whatever is imported from here is what was exported.
func (e *exporter) records(v *fsm.View, t target, own bool) error {
	err := scanTree(v, t, own, func(rec fsm.Record) bool {
		if formOf(rec.ContentType, rec.Value) == formJSON && bytes.ContainsAny(rec.Value, "\r\n") {
			e.buf = appendOctetRecord(e.buf, &rec)
		} else {
			e.buf = appendRecord(e.buf, &rec)
		}
		e.buf = append(e.buf, '}', '\n')
		return e.flush(false)
	})
	if err != nil {
		return err
	}
	e.flush(true)
	return e.err
}
