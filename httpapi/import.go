package httpapi

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// source is where an import's records come from and go to.
type source struct {
	target target
	file   string // as the client calls it; "" if it does not say
	escape string // for a slash in a member name; "" refuses it
}

// importTree answers POST /import: a tree in JSON or YAML, or records, become keys.
func (c *call) importTree() error {
	src, err := c.importSource()
	if err != nil {
		return err
	}
	cmd, err := c.command()
	if err != nil {
		return err
	}
	if err = severalTimes(cmd); err != nil {
		return err
	}
	c.need(fsm.VerbWrite, src.target.prefix())
	read, limit := (*loader).tree, int64(MaxTreeBytes)
	header, _ := single(c.r.Header["Content-Type"])
	switch essenceOf(header) {
	case "", typeForm, typeJSON:
	case typeYAML, "application/x-yaml", "text/yaml":
		read = (*loader).yaml
	case typeRecords, "application/ndjson", "application/jsonl":
		read, limit = (*loader).records, MaxRecordsBytes
	default:
		return problemf(kindUnsupportedMedia, "Content-Type is %q, an import takes %s, %s or %s", header, typeJSON, typeYAML, typeRecords).
			with("available", []string{typeJSON, typeYAML, typeRecords})
	}
	if err = c.mayPropose(nil); err != nil { // before all of the body has come
		return err
	}
	b := c.body(limit)
	defer b.release()
	l := newLoader(c, cmd)
	defer l.settleAll() // those that a panic left: they use the call
	if err = l.finish(read(l, b, src)); err != nil {
		return err
	}
	status := c.api.Node.Status()
	st := standingOf(&status)
	st.revision = max(st.revision, l.revision)
	last := l.revision
	if l.transactions == 0 {
		last = st.revision
	}
	c.buf = append(c.buf, `{"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(last), 10)
	c.buf = append(c.buf, `,"records":`...)
	c.buf = strconv.AppendInt(c.buf, int64(l.applied), 10)
	c.buf = append(c.buf, `,"changed":`...)
	c.buf = strconv.AppendInt(c.buf, int64(l.changed), 10)
	c.buf = append(c.buf, `,"unchanged":`...)
	c.buf = strconv.AppendInt(c.buf, int64(l.applied-l.changed), 10)
	c.buf = append(c.buf, `,"transactions":`...)
	c.buf = strconv.AppendInt(c.buf, int64(l.transactions), 10)
	c.buf = append(c.buf, '}', '\n')
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
	return nil
}

// essenceOf is a content type without its parameters, or as it is if it is none.
func essenceOf(header string) string {
	if essence, _, err := mime.ParseMediaType(header); err == nil {
		return essence
	}
	return header
}

func (c *call) importSource() (source, error) {
	var src source
	t, err := parseTarget(c.r.URL, c.param)
	if err != nil {
		return src, err
	}
	src.target = t
	q, err := parseQuery(c.r.URL.RawQuery, importParams)
	if err != nil {
		return src, err
	}
	if v, ok := q.get("escape"); ok {
		if reason := checkKey(v); reason != "" || len(v) > MaxEscapeBytes || strings.Contains(v, "/") {
			return src, invalidParameter("escape", fmt.Sprintf(
				"is %q, want 1 to %d bytes that may stand in a path segment", v, MaxEscapeBytes))
		}
		src.escape = v
	}
	header, hasHeader := single(c.r.Header["Confman-File"])
	param, hasParam := q.get("file")
	if hasHeader && hasParam && header != param {
		return src, invalidParameter("file", "contradicts the Confman-File header")
	}
	if src.file = param; hasHeader {
		src.file = header
	}
	if reason := checkText(src.file); reason != "" || len(src.file) > MaxFileNameBytes {
		return src, invalidParameter("file", fmt.Sprintf("or Confman-File is not text of at most %d bytes", MaxFileNameBytes))
	}
	return src, nil
}

// importError is an import, or a removal in several transactions, that ended early. What was
// applied by then stays.
type importError struct {
	applied int          // records that surely were
	outcome node.Outcome // what became of the others
	err     error
}

func (e *importError) Error() string {
	return fmt.Sprintf("%v, after %d records", e.err, e.applied)
}

// Unwrap returns what ended the import.
func (e *importError) Unwrap() error { return e.err }

// problem completes the problem that ended the import.
func (e *importError) problem(p *problem) *problem {
	p.outcome = e.outcome
	if e.applied > 0 || e.outcome == node.Unknown {
		p.detail += fmt.Sprintf("; %d records were applied before, outcome is that of the rest: the same request can safely be made again", e.applied)
	}
	return p.with("applied_records", e.applied)
}

// outcomeOf is what became of a transaction that failed.
func outcomeOf(err error) node.Outcome {
	if p := problemOf(err); p.outcome != 0 {
		return p.outcome
	}
	return node.NotApplied // an error of Encode
}

// put is an operation of an import.
func put(key string, value []byte, contentType string) fsm.Op {
	return fsm.Op{Kind: fsm.Put, Key: key, Value: value, ContentType: contentType}
}
