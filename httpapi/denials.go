package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// denialLog counts what this node refuses and reports it to the audit, once in DenialInterval. Like
// is counted with like, and there is room for few rows, so that nobody fills the log by being
// refused. What cannot be reported stays for the next time, within the same room. A report whose
// outcome is not known is made again: then it counts twice.
//
// It has no goroutine while there is nothing to report. Safe for concurrent use.
type denialLog struct {
	node Node
	now  func() time.Time
	log  *slog.Logger

	mu    sync.Mutex
	rows  denialRows
	timer *time.Timer // of the next report; nil: none is due
}

// denialRows are rows of different kinds, and one for all the rest.
type denialRows struct {
	rows []fsm.Denial
	rest fsm.Denial // Count 0: there is none
}

// otherReasons is the reason of the row for all the rest.
const otherReasons = "others"

// add counts d.
func (r *denialRows) add(d *fsm.Denial) {
	i := slices.IndexFunc(r.rows, func(row fsm.Denial) bool {
		return row.Kind == d.Kind && row.Principal == d.Principal && row.Reason == d.Reason
	})
	switch {
	case i >= 0:
		r.rows[i].Count += d.Count
		r.rows[i].Verbs |= d.Verbs // who is refused each of them has not all the rows
		r.rows[i].Last = max(r.rows[i].Last, d.Last)
	case d.Reason != otherReasons && r.room(d.Kind):
		r.rows = append(r.rows, *d)
	case r.rest.Count == 0:
		r.rest = fsm.Denial{Kind: d.Kind, Verbs: d.Verbs, Reason: otherReasons, Count: d.Count, First: d.First, Last: d.Last}
	default:
		r.rest.Count += d.Count
		r.rest.Verbs |= d.Verbs
		r.rest.Last = max(r.rest.Last, d.Last)
	}
}

// room tells whether there may be one more row. Strangers, who can be refused for many reasons, have
// not all of it: what is refused to those who are known must stay visible.
func (r *denialRows) room(kind fsm.DenialKind) bool {
	strangers := 0
	for i := range r.rows {
		if r.rows[i].Kind == fsm.DeniedAccess {
			strangers++
		}
	}
	return len(r.rows) < fsm.MaxDenials-1 && (kind != fsm.DeniedAccess || strangers < maxStrangerRows)
}

// all are the rows, with the one for the rest.
func (r *denialRows) all() []fsm.Denial {
	if r.rest.Count == 0 {
		return r.rows
	}
	return append(slices.Clip(r.rows), r.rest)
}

// add counts what was refused, and sees to it that it is reported.
func (d *denialLog) add(what *fsm.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows.add(what)
	d.schedule()
}

// schedule has what there is reported in time. The lock is held.
func (d *denialLog) schedule() {
	if d.timer != nil || len(d.rows.all()) == 0 {
		return
	}
	select {
	case <-d.node.Done(): // there is nobody to report to
		return
	default:
	}
	d.timer = time.AfterFunc(DenialInterval, func() {
		ctx, cancel := context.WithTimeout(context.Background(), WriteWait)
		defer cancel()
		d.report(ctx)
	})
}

// report proposes what there is, and keeps it if that fails.
func (d *denialLog) report(ctx context.Context) {
	d.mu.Lock()
	if d.timer != nil {
		d.timer.Stop()
	}
	sent := d.rows
	d.rows, d.timer = denialRows{}, nil
	d.mu.Unlock()
	rows := sent.all()
	if len(rows) == 0 {
		return
	}
	_, err := d.node.Propose(ctx, &fsm.Command{AcceptedAt: d.now().UnixNano(), Denials: rows})
	if err == nil {
		return
	}
	var we *node.WriteError
	if !errors.As(err, &we) { // it will not be taken another time
		d.log.Error("what was refused cannot be reported to the audit", slog.Uint64("refused", count(rows)), slog.Any("error", err))
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, row := range d.rows.all() { // those of the meantime
		sent.add(&row)
	}
	d.rows = sent
	d.schedule()
}

// close reports what there is, as long as ctx lasts, and nothing afterwards.
func (d *denialLog) close(ctx context.Context) {
	d.report(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	if rows := d.rows.all(); len(rows) > 0 {
		d.log.Warn("what was refused last is not in the audit: the node stops before it could be reported", slog.Uint64("refused", count(rows)))
	}
}

func count(rows []fsm.Denial) (n uint64) {
	for i := range rows {
		n += rows[i].Count
	}
	return n
}

// denied counts that the caller was refused for what it lacks.
func (c *call) denied(kind fsm.DenialKind, missing fsm.Need) {
	reason := kindForbidden.name
	if missing.Verbs&c.who.withheld != 0 {
		reason = string(auth.Scope)
	}
	c.count(&fsm.Denial{
		Kind: kind, Principal: clip(c.who.principal.String()), Verbs: missing.Verbs, Path: missing.Path, Reason: reason,
	})
}

// strangerDenied counts that a caller was not let in. Nothing of what it sent is kept but the path,
// if that is one.
func (c *call) strangerDenied(err error) {
	var refused *auth.Error
	if !errors.As(err, &refused) {
		c.api.counted.turnedAway(resultError)
		return
	}
	c.api.counted.turnedAway(string(refused.Reason))
	if refused.Reason == auth.KeysUnavailable {
		return
	}
	path := ""
	if t, err := parseTarget(c.r.URL, c.param); err == nil {
		path = t.path()
	}
	c.count(&fsm.Denial{Kind: fsm.DeniedAccess, Path: path, Reason: string(refused.Reason)})
}

func (c *call) count(d *fsm.Denial) {
	now := c.api.Now().UnixNano()
	d.Count, d.First, d.Last = 1, now, now
	d.RequestID, d.Source = c.id, c.source()
	c.api.counted.denials[d.Kind].Inc()
	c.api.denials.add(d)
}

// source is the address that the request came from; a listener that is not TCP has none to tell.
func (c *call) source() netip.Addr {
	source, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	return source.Addr().Unmap().WithZone("")
}

// clip cuts a subject to what the audit takes. One that is longer cannot be bound, but refused.
func clip(subject string) string {
	if len(subject) <= fsm.MaxSubjectBytes {
		return subject
	}
	return strings.ToValidUTF8(subject[:fsm.MaxSubjectBytes], "")
}
