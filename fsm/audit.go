package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"runtime/debug"
	"strings"
	"time"
)

// Denied things change nothing, so they are not in the change log. They are in a ring of
// MaxDenialRows rows beside it, in bucket denied, under their number, big-endian. A row,
// integers little-endian; texts and counts as in a command:
//
//	offset  bytes
//	     0      8  checksum
//	     8      8  revision that the store had then
//	    16      8  replicated time, nanoseconds
//	    24      8  node that refused; 0: all did, where the command was applied
//	    32         denial

// DenialKind is what was denied.
type DenialKind uint8

const (
	// DeniedRead: a read or a watch.
	DeniedRead DenialKind = iota + 1
	// DeniedWrite: a change.
	DeniedWrite
	// DeniedAccess: the caller could not be told, or not let in at all.
	DeniedAccess
)

// Denial is something that was refused, as often as Count says.
type Denial struct {
	Kind      DenialKind
	Principal string // a subject, at most MaxSubjectBytes; "": not known
	Verbs     Verbs  // that were lacking
	Path      string // a key or a prefix, of the first
	Reason    string // a name
	RequestID string // of the first
	Source    netip.Addr
	Count     uint64
	// First and Last are when that was, in Unix nanoseconds of the refusing node's wall clock.
	First, Last int64
}

// DenialRow is a Denial in the ring.
type DenialRow struct {
	Denial
	Number   uint64        // from 1
	Revision Revision      // that the store had when it came into the ring
	Time     time.Duration // replicated
	Node     uint64        // raft id of the node that refused; 0: it was refused where it was applied
}

const denialHeaderBytes = checksumBytes + 24

// A denial, integers little-endian:
//
//	 1  kind
//	 2  verbs
//	 8  count
//	16  first and last
//	    principal, path, reason, request id    text each
//	 1  source address: length, 0, 4 or 16
//	    source address
func appendDenial(b []byte, d *Denial) []byte {
	source := d.Source.WithZone("").AsSlice()
	b = append(b, byte(d.Kind))
	b = binary.LittleEndian.AppendUint16(b, uint16(d.Verbs))
	b = binary.LittleEndian.AppendUint64(b, d.Count)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.First))
	b = binary.LittleEndian.AppendUint64(b, uint64(d.Last))
	for _, text := range [...]string{d.Principal, d.Path, d.Reason, d.RequestID} {
		b = appendText(b, text)
	}
	b = append(b, byte(len(source)))
	return append(b, source...)
}

func (d *decoder) denial() (x Denial) {
	x.Kind = DenialKind(d.byte())
	if b := d.fixed(2); b != nil {
		x.Verbs = Verbs(binary.LittleEndian.Uint16(b))
	}
	x.Count = d.uint64()
	x.First, x.Last = int64(d.uint64()), int64(d.uint64())
	for _, text := range [...]*string{&x.Principal, &x.Path, &x.Reason, &x.RequestID} {
		*text = d.text()
	}
	x.Source = d.address()
	return x
}

func (d *Denial) validate() error {
	if d.Kind < DeniedRead || d.Kind > DeniedAccess {
		return fmt.Errorf("fsm: denial of unknown kind %d", d.Kind)
	}
	if d.Verbs&^allVerbs != 0 || d.Count == 0 {
		return errors.New("fsm: denial of unknown verbs, or of nothing")
	}
	if err := checkText("denial's principal", d.Principal, MaxSubjectBytes); err != nil {
		return err
	}
	if err := checkText("denial's path", d.Path, MaxKeyBytes+1); err != nil {
		return err
	}
	if err := checkText("denial's reason", d.Reason, MaxReasonBytes); err != nil {
		return err
	}
	return checkText("request id", d.RequestID, MaxRequestIDBytes)
}

func (c *Command) validateDenials() error {
	if !reflect.DeepEqual(c, &Command{Origin: c.Origin, AcceptedAt: c.AcceptedAt, Denials: c.Denials}) {
		return errors.New("fsm: denials, and more in the same command")
	}
	if n := len(c.Denials); n > MaxDenials {
		return &LimitError{What: "denials of the command", Got: n, Max: MaxDenials}
	}
	for i := range c.Denials {
		if err := c.Denials[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Command) encodeDenials() []byte {
	b := make([]byte, kindAt, 256*len(c.Denials))
	b[0], b[1] = MinVersion, kindDenials
	SetOrigin(b, c.Origin)
	binary.LittleEndian.PutUint64(b[acceptedAt:], uint64(c.AcceptedAt))
	b = binary.AppendUvarint(b, uint64(len(c.Denials)))
	for i := range c.Denials {
		b = appendDenial(b, &c.Denials[i])
	}
	return b
}

func decodeDenials(b []byte) (*Command, error) {
	origin, ok := OriginOf(b)
	if !ok {
		return nil, fmt.Errorf("%w: it ends in the header", ErrUndecodable)
	}
	c := &Command{Origin: origin, AcceptedAt: int64(binary.LittleEndian.Uint64(b[acceptedAt:]))}
	d := decoder{b: b[kindAt:]}
	n := d.count(MaxDenials)
	for range n {
		c.Denials = append(c.Denials, d.denial())
	}
	if d.err == "" && (n == 0 || len(d.b) > 0) {
		d.fail("it has no denials, or bytes follow them")
	}
	if d.err != "" {
		return nil, fmt.Errorf("%w: %s", ErrUndecodable, d.err)
	}
	if err := c.validateDenials(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return c, nil
}

// record puts denials that a node reports, 0: those of all, into the ring.
func (a *applier) record(node uint64, rows []Denial) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	st := &a.s.state
	a.writes = a.writes[:0]
	for i := range rows {
		row := DenialRow{Denial: rows[i], Number: st.denials + uint64(i) + 1, Revision: st.revision, Time: time.Duration(st.time), Node: node}
		if held := uint64(st.denied.count); held+uint64(i) >= MaxDenialRows {
			key := denialKey(row.Number - MaxDenialRows)
			old, _, err := a.stored(denied, key)
			if err != nil {
				return err
			}
			if old == nil {
				return missingRow(row.Number - MaxDenialRows)
			}
			a.replace(denied, key, old, nil)
		}
		a.replace(denied, denialKey(row.Number), nil, encodeDenialRow(&row))
	}
	for i := range a.writes {
		a.put(&a.writes[i])
	}
	st.denials += uint64(len(rows))
	return nil
}

// recordDenied puts a command that was refused here into the ring. One who is refused the same
// again and again counts in one row: else a single caller would push all others out.
func (a *applier) recordDenied(cmd *Command, need Need) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	st := &a.s.state
	d := Denial{
		Kind: DeniedWrite, Principal: clip(cmd.Principal.String(), MaxSubjectBytes), Verbs: need.Verbs, Path: need.Path,
		Reason: "forbidden", RequestID: cmd.RequestID, Source: cmd.Source,
		Count: 1, First: cmd.AcceptedAt, Last: cmd.AcceptedAt,
	}
	key := denialKey(st.denials)
	old, _, err := a.stored(denied, key)
	if err != nil {
		return err
	}
	if old == nil && st.denials > 0 {
		return missingRow(st.denials)
	}
	if old != nil {
		row, err := decodeDenialRow(key, old)
		if err != nil {
			return err
		}
		if row.Node == 0 && row.Revision == st.revision && row.Principal == d.Principal && row.Verbs == d.Verbs && row.Path == d.Path {
			row.Count++
			row.Last = max(row.Last, d.Last)
			a.writes = a.writes[:0]
			a.replace(denied, key, old, encodeDenialRow(&row))
			a.put(&a.writes[0])
			return nil
		}
	}
	return a.record(0, []Denial{d})
}

func missingRow(number uint64) error { return damaged("row %d of what was denied is missing", number) }

// clip cuts a text to at most n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

func denialKey(number uint64) string { return string(binary.BigEndian.AppendUint64(nil, number)) }

func encodeDenialRow(row *DenialRow) []byte {
	v := make([]byte, checksumBytes, 256)
	v = binary.LittleEndian.AppendUint64(v, uint64(row.Revision))
	v = binary.LittleEndian.AppendUint64(v, uint64(row.Time))
	v = binary.LittleEndian.AppendUint64(v, row.Node)
	v = appendDenial(v, &row.Denial)
	seal(denied, denialKey(row.Number), v)
	return v
}

// decodeDenialRow reads what encodeDenialRow wrote, once its checksum was verified.
func decodeDenialRow(key string, value []byte) (DenialRow, error) {
	if len(key) != 8 || len(value) < denialHeaderBytes {
		return DenialRow{}, damaged("row %x of what was denied: %d bytes are none", key, len(value))
	}
	d := decoder{b: value[checksumBytes:]}
	row := DenialRow{
		Number:   binary.BigEndian.Uint64([]byte(key)),
		Revision: Revision(d.uint64()), Time: time.Duration(d.uint64()), Node: d.uint64(),
		Denial: d.denial(),
	}
	if d.err != "" || len(d.b) != 0 {
		return DenialRow{}, damaged("row %d of what was denied: %s", row.Number, d.trouble())
	}
	return row, nil
}

// AuditPosition is where a walk through the audit stands: what it has yet to show.
type AuditPosition struct {
	Change Revision // the newest change
	Row    uint64   // the newest row of what was denied
}

// AuditEntry is either a change, or something that was denied.
type AuditEntry struct {
	Change *Change
	Denied *DenialRow
}

// AuditEnd is the position before the newest entry.
func (v *View) AuditEnd() AuditPosition {
	return AuditPosition{Change: v.p.state.Revision, Row: v.p.denials}
}

// Audit calls fn for what was done and what was denied, newest first, from a position on, with the
// position after each, until it returns false. Each time it is of a past that the store still
// holds: changes from the floor on, and the newest MaxDenialRows rows. ErrDamaged ends it before the
// entry at fault.
func (v *View) Audit(from AuditPosition, fn func(AuditEntry, AuditPosition) bool) error {
	end := v.AuditEnd()
	at := AuditPosition{Change: min(from.Change, end.Change), Row: min(from.Row, end.Row)}
	if g, lost := v.p.state.GapAt(at.Change); lost {
		at.Change = g.From
	}
	var (
		ch  *Change
		row *DenialRow
	)
	for {
		if ch == nil && at.Change > v.p.state.Floor {
			next, err := v.change(at.Change)
			if err != nil {
				return err
			}
			ch = &next
		}
		if row == nil && at.Row > 0 {
			next, found, err := v.denial(at.Row)
			if err != nil {
				return err
			}
			switch row = &next; {
			case found:
			case at.Row > v.p.denials-v.p.state.Denials:
				return missingRow(at.Row)
			default:
				row, at.Row = nil, 0 // older ones are not held
			}
		}
		var e AuditEntry
		switch {
		case ch == nil && row == nil:
			return nil
		case ch == nil || row != nil && row.Revision >= ch.Revision:
			e.Denied, row = row, nil
			at.Row--
		default:
			e.Change, ch = ch, nil
			at.Change = v.p.state.Before(at.Change)
		}
		if !fn(e, at) {
			return nil
		}
	}
}

// denial returns a row of what was denied; false if it is not held.
func (v *View) denial(number uint64) (DenialRow, bool, error) {
	key := denialKey(number)
	m := v.merge(denied)
	defer m.release()
	ok, err := m.seekIn(key, key+"\x00")
	if err != nil || !ok {
		return DenialRow{}, false, err
	}
	row, err := decodeDenialRow(key, m.value)
	return row, err == nil, err
}
