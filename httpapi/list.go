package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// childrenBatch is how many children are asked for at a time: each may hold a
// value of full size.
const childrenBatch = 32

// page is a listing as it is written.
type page struct {
	items []byte // the document up to the last item
	count int
	last  string // key or name of the last item
	more  bool   // there is more after last
	// revision is what all pages of a walk show.
	revision fsm.Revision
	target   target
	listing
}

// list answers with a page of the subtree below t.
func (c *call) list(t target) error {
	q, err := parseQuery(c.r.URL.RawQuery, listParams)
	if err != nil {
		return err
	}
	f, err := q.freshness(c.api.MaxStaleness)
	if err != nil {
		return err
	}
	if err := c.datetime(&f); err != nil {
		return err
	}
	l, err := q.listing(t, &f)
	if err != nil {
		return err
	}
	if l.tree {
		return c.listTree(t, f)
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	p := page{target: t, listing: l, items: c.buf}
	st, err := c.read(f, p.fill)
	if err != nil {
		return err
	}
	if p.count == 0 && !l.resumed && t.key != "" {
		return &readError{st, problemf(kindNotFound, "no key begins with %q", t.prefix())}
	}
	c.w.Header()["Vary"] = varyHeader
	next := ""
	if p.more {
		next = cursor{revision: p.revision, last: p.last}.encode(l.scope(t))
	}
	return c.sendPage(p.items, next, st)
}

// fill reads the page; it may be called again.
func (p *page) fill(v *fsm.View) error {
	p.revision = v.Revision()
	p.items, p.count, p.more = beginPage(p.items[:0], p.revision), 0, false
	if p.recursive {
		return p.fillKeys(v)
	}
	return p.fillChildren(v)
}

// full tells whether there is no room for another item; there is one, then.
func (p *page) full() bool {
	p.more = p.count == p.limit || len(p.items) >= MaxPageBytes
	return p.more
}

func (p *page) begin(last string) {
	if p.count > 0 {
		p.items = append(p.items, ',')
	}
	p.count++
	p.last = last
}

func (p *page) fillKeys(v *fsm.View) error {
	lo := p.target.prefix()
	if p.resumed {
		if !strings.HasPrefix(p.after, lo) {
			return problemf(kindInvalidCursor, "cursor is not one that this API gave out")
		}
		lo = p.after + "\x00" // the first key after it
	}
	return v.Scan(lo, p.target.end(), func(rec fsm.Record) bool {
		if p.full() {
			return false
		}
		p.begin(rec.Key)
		p.items = append(appendRecord(p.items, &rec), '}')
		return true
	})
}

// fillChildren lists what is directly below. An item that is a subtree has
// "subtree": true; one that is nothing else has no value.
func (p *page) fillChildren(v *fsm.View) error {
	p.last = p.after
	for {
		children, err := v.Children(p.target.prefix(), p.last, childrenBatch)
		if err != nil {
			return err
		}
		for i := range children {
			if p.full() {
				return nil
			}
			child := &children[i]
			p.begin(child.Name)
			if child.Record != nil {
				p.items = appendRecord(p.items, child.Record)
			} else {
				p.items = append(p.items, `{"path":`...)
				p.items = appendString(p.items, p.target.prefix()+child.Name)
			}
			if child.Subtree {
				p.items = append(p.items, `,"subtree":true`...)
			}
			p.items = append(p.items, '}')
		}
		if len(children) < childrenBatch {
			return nil
		}
	}
}

// sendPage ends the document of a page and answers with it.
func (c *call) sendPage(items []byte, next string, st standing) error {
	c.buf = append(items, ']') // with whatever room it grew
	if next != "" {
		c.buf = append(c.buf, `,"next_cursor":`...)
		c.buf = appendString(c.buf, next)
	}
	c.buf = append(c.buf, '}', '\n')
	c.w.Header()["Cache-Control"] = noCacheHeader
	status := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
	return nil
}

// beginPage begins the document of a page that shows a revision.
func beginPage(b []byte, shown fsm.Revision) []byte {
	b = append(b, `{"revision":`...)
	b = strconv.AppendUint(b, uint64(shown), 10)
	return append(b, `,"items":[`...)
}
