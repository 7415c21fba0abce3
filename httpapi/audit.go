package httpapi

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// auditTypes are the representations of the audit, the first by default.
var auditTypes = []string{typeJSON, typeRecords}

// audit answers GET /audit: what was changed and what was denied, newest first, in pages or, as
// lines, all of it.
func (c *call) audit() error {
	q, err := parseQuery(c.r.URL.RawQuery, auditParams)
	if err != nil {
		return err
	}
	f, err := q.freshness(c.api.MaxStaleness)
	if err != nil {
		return err
	}
	filter, err := q.auditFilter()
	if err != nil {
		return err
	}
	newest := f
	l, err := q.paging(filter.scope(), &newest)
	if err != nil {
		return err
	}
	p := auditPage{call: c, filter: filter, paging: l, local: f.consistency == local}
	if l.resumed {
		if p.from, err = parseAuditPosition(l.after); err != nil {
			return err
		}
		f.min = max(f.min, newest.at)
	}
	format := accepted(c.r, auditTypes...)
	if format < 0 {
		return notAcceptable(auditTypes...)
	}
	c.need(fsm.VerbAudit, filter.path())
	c.w.Header()["Vary"] = varyHeader
	if auditTypes[format] == typeRecords {
		for _, name := range [...]string{"limit", "cursor"} {
			if _, ok := q.get(name); ok {
				return invalidParameter(name, "is of pages, and "+typeRecords+" has none: it is all that there is")
			}
		}
		return c.exportAudit(f, filter)
	}
	st, err := c.read(f, p.fill)
	if err != nil {
		return err
	}
	next := ""
	if p.more {
		next = cursor{revision: p.shown, last: auditPlace(p.next)}.encode(filter.scope())
	}
	return c.sendPage(p.items, next, st)
}

// auditPlace is where a page of the audit ended, as cursors have it.
func auditPlace(at fsm.AuditPosition) string { return fmt.Sprintf("%d.%d", at.Change, at.Row) }

func parseAuditPosition(s string) (fsm.AuditPosition, error) {
	change, row, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(change, 10, 64)
	k, err2 := strconv.ParseUint(row, 10, 64)
	if err != nil || err2 != nil {
		return fsm.AuditPosition{}, problemf(kindInvalidCursor, "cursor is not one that this API gave out")
	}
	return fsm.AuditPosition{Change: fsm.Revision(n), Row: k}, nil
}

// auditPage is a page of the audit.
type auditPage struct {
	call   *call
	filter auditFilter
	paging
	local bool // what this node lacks is not looked for elsewhere
	from  fsm.AuditPosition
	items []byte
	shown fsm.Revision
	more  bool
	next  fsm.AuditPosition // where the page after goes on
}

// fill reads the page; it may be called again. It looks at no more than MaxAuditScan entries: who
// filters for what is rare gets short pages, not a long wait.
func (p *auditPage) fill(v *fsm.View) error {
	p.shown, p.more = v.Revision(), false
	p.items = beginAudit(p.call.buf[:0], v)
	w, err := p.filter.walk(p.call, v)
	if err != nil {
		return err
	}
	if p.resumed {
		if end := v.AuditEnd(); !p.local && p.from.Row > end.Row {
			// Denials have no revision: that of the cursor does not tell whether they are here.
			return fmt.Errorf("%w: %d (a row of what was denied; the newest is %d)", fsm.ErrFuture, p.from.Row, end.Row)
		}
		w.from = p.from
	}
	count, scanned := 0, 0
	p.next = w.from
	return w.run(v, func(row []byte, after fsm.AuditPosition) bool {
		if len(row) > 0 {
			if p.more = count == p.limit || len(p.items) >= MaxPageBytes; p.more {
				return false
			}
			if count++; count > 1 {
				p.items = append(p.items, ',')
			}
			p.items = append(p.items, row...)
		}
		p.next = after
		scanned++
		p.more = scanned == MaxAuditScan
		return !p.more
	})
}

// beginAudit begins the document of a page, which tells how far back the audit goes.
func beginAudit(b []byte, v *fsm.View) []byte {
	b = append(b, `{"revision":`...)
	b = strconv.AppendUint(b, uint64(v.Revision()), 10)
	b = append(b, `,"oldest_revision":`...)
	st := v.State()
	b = strconv.AppendUint(b, uint64(st.After(st.Floor)), 10)
	return append(b, `,"items":[`...)
}
