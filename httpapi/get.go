package httpapi

import (
	"net/http"

	"github.com/confman/confman/fsm"
)

// The representations of a value, the first by default.
var valueTypes = []string{typeJSON, "text/plain", typeOctets}

// bareHeaders are the Content-Types of a bare value, by position in valueTypes.
var bareHeaders = [...][]string{nil, {typeText}, {typeOctets}}

// get answers GET and HEAD of /config: one value, or a page of a subtree.
func (c *call) get() error {
	t, err := parseTarget(c.r.URL, c.param)
	if err != nil {
		return err
	}
	c.need(fsm.VerbRead, t.path())
	if t.subtree {
		return c.list(t)
	}
	f := freshness{maxStaleness: c.api.MaxStaleness}
	if c.r.URL.RawQuery != "" {
		q, err := parseQuery(c.r.URL.RawQuery, keyParams)
		if err != nil {
			return err
		}
		if f, err = q.freshness(f.maxStaleness); err != nil {
			return err
		}
	}
	if err := c.datetime(&f); err != nil {
		return err
	}
	want := accepted(c.r, valueTypes...)
	if want < 0 {
		return notAcceptable(valueTypes...)
	}
	var (
		rec   fsm.Record
		found bool
	)
	st, err := c.read(f, func(v *fsm.View) error {
		var err error
		rec, found, err = v.Get(t.key)
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		return &readError{st, problemf(kindNotFound, "key %q has no value", t.key)}
	}
	return c.sendRecord(&rec, want, st)
}

// sendRecord answers with one record, unless the client's conditions say otherwise.
func (c *call) sendRecord(rec *fsm.Record, want int, st standing) error {
	if lines := c.r.Header["If-Match"]; len(lines) > 0 {
		if _, ok := listed(lines, rec.Revision, false); !ok {
			return &readError{st, compareFailed(rec.Key, rec.Revision)}
		}
	}
	a := answer{status: http.StatusOK, contentType: jsonHeader, etag: rec.Revision}
	h := c.w.Header()
	h["Vary"] = varyHeader
	h["Cache-Control"] = noCacheHeader
	if k, ok := listed(c.r.Header["If-None-Match"], rec.Revision, true); ok { // it has the value already
		a.status, a.contentType, a.coding = http.StatusNotModified, nil, k
		c.send(a, st, nil)
		return nil
	}
	if want == 0 {
		c.buf = append(appendRecord(c.buf, rec), '}', '\n')
	} else {
		h["Confman-Content-Type"] = []string{rec.ContentType}
		h["X-Content-Type-Options"] = noSniffHeader
		a.contentType = bareHeaders[want]
		c.buf = append(c.buf, rec.Value...)
	}
	c.send(a, st, nil)
	return nil
}

func compareFailed(key string, current fsm.Revision) *problem {
	p := problemf(kindCompareFailed, "key %q was last changed at revision %d", key, current)
	if current == 0 {
		p.detail = "key " + quote(key) + " has no value"
	}
	return p.with("current_revision", uint64(current))
}
