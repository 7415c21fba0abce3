package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A command, integers little-endian. The origin comes first, at a
// fixed place, so that a node stamps a command without decoding it. A transaction:
//
//	offset  bytes
//	     0      1  version: 1 or 2
//	     1      1  kind: 1
//	     2      8  origin: node
//	    10      8  origin: incarnation
//	    18      8  origin: sequence number
//	    26      8  accepted at, Unix nanoseconds, two's complement
//	    34      1  principal: kind, 0 to 3
//	    35      1  source address: length, 0, 4 or 16
//	    36  0|4|16 source address
//	               request id           text
//	               comment              text
//	               principal: issuer    text
//	               principal: tenant    text
//	               principal: object    text
//	               principal: app       text
//	               roles                count, then a text each
//	               groups               count, then 16 bytes each
//	               idempotency key      text; unless it is empty:
//	                  32  request
//	                   1  1 if only what was done is remembered, else 0
//	               compares             count, then for each:
//	                   1  kind
//	                      key           text
//	                   8  revision      only if kind is RevisionIs or NamespaceIs
//	                      value         length and bytes, only if kind is ValueIs
//	               operations           count, then for each:
//	                   1  kind
//	                      key           text
//	                                    (a prefix if kind is DeleteTree, or of a namespace)
//	                      content type  text, only if kind is Put
//	                                    (of AddMember and those after it, names)
//	                      value         length and bytes, only if kind is Put, PutNamespace, Bootstrap,
//	                                    or one of AddMember and those after it but PromoteMember
//	                   8  revision      only if kind is Restore
//	               operations if a compare fails, likewise
//	            1  from version 2 on: 1 if there is a trace, else 0; if so:
//	                  16  trace id
//	                   8  span id
//	                   1  flags
//
// Maintenance:
//
//	offset  bytes
//	     0      1  version: 1
//	     1      1  kind: 2
//	     2     24  zero
//	    26      8  elapsed, nanoseconds
//	    34      8  keep for, nanoseconds
//	    42      8  versions to keep
//
// Denials, see audit.go:
//
//	offset  bytes
//	     0      1  version: 1
//	     1      1  kind: 3
//	     2     32  origin and accepted at, as of a transaction
//	    34         denials              count, then for each what appendDenial writes
//
// A report:
//
//	offset  bytes
//	     0      1  version: 1
//	     1      1  kind: 4
//	     2     24  zero
//	    26      8  raft id
//	    34     16  life
//	    50      1  version that is known
//
// Counts and lengths are unsigned varints in their shortest form; a text is its
// length and that many bytes of UTF-8. Nothing follows the last operation. So a
// command has exactly one encoding, and what decodes encodes to the same bytes.
// All but transactions are of version 1, whatever the cluster's.
const (
	kindTransaction = 1
	kindMaintenance = 2
	kindDenials     = 3
	kindReport      = 4

	originAt   = 2
	acceptedAt = originAt + 24
	kindAt     = acceptedAt + 8
	sourceAt   = kindAt + 1

	maintenanceBytes = acceptedAt + 24
	reportBytes      = acceptedAt + 8 + 16 + 1
)

// Encode returns the command's bytes in the newest version: see EncodeAs.
func (c *Command) Encode() ([]byte, error) { return c.EncodeAs(Version) }

// EncodeAs returns the command's bytes in a version, MinVersion to Version, without what that does
// not have. It fails on what violates a limit. The Origin sits at a fixed place: see SetOrigin.
//
// Errors: *KeyError, *LimitError, or a text that says what is wrong. A zone in
// Source is left out: it means something only on the accepting node.
func (c *Command) EncodeAs(version uint8) ([]byte, error) {
	must(version >= MinVersion && version <= Version, "a command is encoded as of version %d", version)
	source := c.Source.WithZone("").AsSlice()
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Maintenance != nil {
		return c.Maintenance.encode(), nil
	}
	if len(c.Denials) > 0 {
		return c.encodeDenials(), nil
	}
	if c.Report != nil {
		return c.Report.encode(), nil
	}
	b := make([]byte, sourceAt, c.sizeHint())
	b[0], b[1] = version, kindTransaction
	SetOrigin(b, c.Origin)
	binary.LittleEndian.PutUint64(b[acceptedAt:], uint64(c.AcceptedAt))
	b[kindAt] = byte(c.Principal.Kind)
	b = append(b, byte(len(source)))
	b = append(b, source...)
	b = appendText(b, c.RequestID)
	b = appendText(b, c.Comment)
	b = appendPrincipal(b, &c.Principal)
	b = appendText(b, c.Idempotency.Key)
	if c.Idempotency.Key != "" {
		b = append(b, c.Idempotency.Request[:]...)
		b = append(b, oneIf(c.Idempotency.OnlyIfDone))
	}
	b = binary.AppendUvarint(b, uint64(len(c.Compares)))
	for i := range c.Compares {
		cmp := &c.Compares[i]
		b = append(b, byte(cmp.Kind))
		b = appendText(b, cmp.Key)
		if cmp.Kind.hasRevision() {
			b = binary.LittleEndian.AppendUint64(b, uint64(cmp.Revision))
		}
		if cmp.Kind == ValueIs {
			b = binary.AppendUvarint(b, uint64(len(cmp.Value)))
			b = append(b, cmp.Value...)
		}
	}
	b = appendOps(b, c.Ops)
	b = appendOps(b, c.Else)
	if version >= versionOfTrace {
		b = c.Trace.append(b)
	}
	if len(b) > MaxTxnBytes {
		return nil, &LimitError{What: "bytes of the transaction", Got: len(b), Max: MaxTxnBytes}
	}
	return b, nil
}

func appendOps(b []byte, ops []Op) []byte {
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for i := range ops {
		op := &ops[i]
		b = append(b, byte(op.Kind))
		b = appendText(b, op.Key)
		switch op.Kind {
		case Put:
			b = appendText(b, op.ContentType)
			b = binary.AppendUvarint(b, uint64(len(op.Value)))
			b = append(b, op.Value...)
		case PutNamespace, Bootstrap, AddMember, RemoveMember, ReplaceMember, FinalizeUpgrade:
			b = binary.AppendUvarint(b, uint64(len(op.Value)))
			b = append(b, op.Value...)
		case Restore:
			b = binary.LittleEndian.AppendUint64(b, uint64(op.Revision))
		case Delete, DeleteTree, DeleteNamespace, PromoteMember, Restored:
		}
	}
	return b
}

func (m *Maintenance) encode() []byte {
	b := make([]byte, acceptedAt, maintenanceBytes)
	b[0], b[1] = MinVersion, kindMaintenance
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Elapsed))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.KeepFor))
	return binary.LittleEndian.AppendUint64(b, uint64(m.KeepVersions))
}

func (r *Report) encode() []byte {
	b := make([]byte, acceptedAt, reportBytes)
	b[0], b[1] = MinVersion, kindReport
	b = binary.LittleEndian.AppendUint64(b, r.RaftID)
	b = append(b, r.Life[:]...)
	return append(b, r.Version)
}

func (t *Trace) append(b []byte) []byte {
	if *t == (Trace{}) {
		return append(b, 0)
	}
	b = append(b, 1)
	b = append(b, t.ID[:]...)
	b = append(b, t.Span[:]...)
	return append(b, t.Flags)
}

func oneIf(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// sizeHint is at least the encoded size, but for the texts of the principal.
func (c *Command) sizeHint() int {
	n := 512 + len(c.Comment)
	for i := range c.Compares {
		n += 12 + len(c.Compares[i].Key) + len(c.Compares[i].Value)
	}
	for _, ops := range [...][]Op{c.Ops, c.Else} {
		for i := range ops {
			op := &ops[i]
			n += 16 + len(op.Key) + len(op.ContentType) + len(op.Value)
		}
	}
	return min(n, 2*MaxTxnBytes)
}

// SetOrigin writes o into an encoded command, in place.
func SetOrigin(b []byte, o Origin) {
	must(len(b) >= originAt+24, "SetOrigin on %d bytes, which are no command", len(b))
	binary.LittleEndian.PutUint64(b[originAt:], o.Node)
	binary.LittleEndian.PutUint64(b[originAt+8:], o.Incarnation)
	binary.LittleEndian.PutUint64(b[originAt+16:], o.Seq)
}

// OriginOf reads the origin of an encoded command; false if it is too short, of an unknown
// version or no client's.
func OriginOf(b []byte) (Origin, bool) {
	if len(b) < kindAt || b[0] < MinVersion || b[0] > Version || b[1] != kindDenials && (b[1] != kindTransaction || len(b) < sourceAt) {
		return Origin{}, false
	}
	return Origin{
		Node:        binary.LittleEndian.Uint64(b[originAt:]),
		Incarnation: binary.LittleEndian.Uint64(b[originAt+8:]),
		Seq:         binary.LittleEndian.Uint64(b[originAt+16:]),
	}, true
}

// Decode reads what Encode wrote. ErrUnknownVersion for a version this program
// does not know; ErrUndecodable for anything else that is wrong.
//
// The values alias b; everything else is copied.
func Decode(b []byte) (*Command, error) { return decodeAs(b, Version) }

// decodeAs is Decode for a program that knows versions up to newest.
func decodeAs(b []byte, newest uint8) (*Command, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrUndecodable)
	}
	if b[0] < MinVersion || b[0] > newest {
		return nil, fmt.Errorf("%w: command of version %d, newest known is %d", ErrUnknownVersion, b[0], newest)
	}
	if len(b) > 1 && b[0] == MinVersion {
		switch b[1] {
		case kindMaintenance:
			return decodeMaintenance(b)
		case kindDenials:
			return decodeDenials(b)
		case kindReport:
			return decodeReport(b)
		}
	}
	return decodeTransaction(b)
}

func decodeReport(b []byte) (*Command, error) {
	d := decoder{b: b[originAt:]}
	for range 3 {
		if d.uint64() != 0 {
			d.fail("it has an origin")
		}
	}
	r := &Report{RaftID: d.uint64()}
	copy(r.Life[:], d.fixed(len(r.Life)))
	r.Version = d.byte()
	if d.err == "" && len(d.b) > 0 {
		d.fail(fmt.Sprintf("%d bytes follow it", len(d.b)))
	}
	if d.err != "" {
		return nil, fmt.Errorf("%w: %s", ErrUndecodable, d.err)
	}
	c := &Command{Report: r}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return c, nil
}

func decodeMaintenance(b []byte) (*Command, error) {
	d := decoder{b: b[originAt:]}
	m := &Maintenance{}
	for range 3 {
		if d.uint64() != 0 {
			d.fail("it has an origin")
		}
	}
	m.Elapsed = time.Duration(d.uint64())
	m.KeepFor = time.Duration(d.uint64())
	m.KeepVersions = int(d.uint64())
	if d.err == "" && len(d.b) > 0 {
		d.err = fmt.Sprintf("%d bytes follow it", len(d.b))
	}
	if d.err != "" {
		return nil, fmt.Errorf("%w: %s", ErrUndecodable, d.err)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return &Command{Maintenance: m}, nil
}

func decodeTransaction(b []byte) (*Command, error) {
	if len(b) > MaxTxnBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrUndecodable, len(b), MaxTxnBytes)
	}
	origin, ok := OriginOf(b)
	if !ok {
		return nil, fmt.Errorf("%w: it ends in the header, or is of an unknown kind", ErrUndecodable)
	}
	c := &Command{
		Origin:     origin,
		AcceptedAt: int64(binary.LittleEndian.Uint64(b[acceptedAt:])),
	}
	d := decoder{b: b[sourceAt:]}
	c.Source = d.address()
	c.RequestID = d.text()
	c.Comment = d.text()
	d.principal(PrincipalKind(b[kindAt]), &c.Principal)
	if c.Idempotency.Key = d.text(); c.Idempotency.Key != "" {
		copy(c.Idempotency.Request[:], d.fixed(32))
		c.Idempotency.OnlyIfDone = d.bool()
	}
	if n := d.count(MaxTxnOps); n > 0 {
		c.Compares = make([]Compare, n)
	}
	for i := range c.Compares {
		cmp := &c.Compares[i]
		cmp.Kind = CompareKind(d.byte())
		cmp.Key = d.text()
		if cmp.Kind.hasRevision() {
			cmp.Revision = Revision(d.uint64())
		}
		if cmp.Kind == ValueIs {
			cmp.Value = d.bytes()
		}
	}
	c.Ops = d.ops()
	c.Else = d.ops()
	if b[0] >= versionOfTrace && d.bool() {
		copy(c.Trace.ID[:], d.fixed(len(c.Trace.ID)))
		copy(c.Trace.Span[:], d.fixed(len(c.Trace.Span)))
		if c.Trace.Flags = d.byte(); c.Trace == (Trace{}) {
			d.fail("its trace is none")
		}
	}
	if d.err == "" && len(d.b) > 0 {
		d.err = fmt.Sprintf("%d bytes follow it", len(d.b))
	}
	if d.err != "" {
		return nil, fmt.Errorf("%w: %s", ErrUndecodable, d.err)
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return c, nil
}

// ops reads what appendOps wrote.
func (d *decoder) ops() (ops []Op) {
	if n := d.count(MaxTxnOps); n > 0 {
		ops = make([]Op, n)
	}
	contentType := ""
	for i := range ops {
		op := &ops[i]
		op.Kind = OpKind(d.byte())
		op.Key = d.text()
		switch op.Kind {
		case Put:
			contentType = d.textLike(contentType)
			op.ContentType = contentType
			op.Value = d.bytes()
		case PutNamespace, Bootstrap, AddMember, RemoveMember, ReplaceMember, FinalizeUpgrade:
			op.Value = d.bytes()
		case Restore:
			op.Revision = Revision(d.uint64())
		case Delete, DeleteTree, DeleteNamespace, PromoteMember, Restored:
		}
	}
	return ops
}

func (m *Maintenance) validate() error {
	switch {
	case m.Elapsed < 0 || m.Elapsed > MaxElapsed:
		return fmt.Errorf("fsm: maintenance lets %v pass, want at most %v", m.Elapsed, MaxElapsed)
	case m.KeepFor < 0 || m.KeepVersions < 0:
		return fmt.Errorf("fsm: maintenance keeps for %v and %d versions: negative", m.KeepFor, m.KeepVersions)
	}
	return nil
}

// validate checks everything but the encoded size and the origin, which is not
// known yet when a command is encoded.
func (c *Command) validate() error {
	if m := c.Maintenance; m != nil {
		if !reflect.DeepEqual(c, &Command{Maintenance: m}) {
			return errors.New("fsm: maintenance, and more in the same command")
		}
		return m.validate()
	}
	if len(c.Denials) > 0 {
		return c.validateDenials()
	}
	if r := c.Report; r != nil {
		if !reflect.DeepEqual(c, &Command{Report: r}) {
			return errors.New("fsm: a report, and more in the same command")
		}
		return r.validate()
	}
	if err := checkText("request id", c.RequestID, MaxRequestIDBytes); err != nil {
		return err
	}
	if err := checkText("comment", c.Comment, MaxCommentBytes); err != nil {
		return err
	}
	if err := c.Principal.validate(); err != nil {
		return err
	}
	if err := c.Idempotency.validate(); err != nil {
		return err
	}
	if n := len(c.Compares); n > MaxTxnOps {
		return &LimitError{What: "compares of the transaction", Got: n, Max: MaxTxnOps}
	}
	for i := range c.Compares {
		if err := c.Compares[i].validate(); err != nil {
			return err
		}
	}
	if err := c.validateAlone(); err != nil {
		return err
	}
	if len(c.Else) > 0 && len(c.Compares) == 0 {
		return errors.New("fsm: operations for when a compare fails, but no compare")
	}
	if err := validateOps(c.Ops); err != nil {
		return err
	}
	return validateOps(c.Else)
}

func (r *Report) validate() error {
	if r.RaftID == 0 || r.Life == (Life{}) || r.Version < MinVersion {
		return fmt.Errorf("fsm: report of member %d with version %d: incomplete", r.RaftID, r.Version)
	}
	return nil
}

// validateAlone checks that an operation on a namespace, or on members, is alone, and compares of none
// but that namespace.
func (c *Command) validateAlone() error {
	of := func(op Op) bool { return op.Kind.alone() }
	if !slices.ContainsFunc(c.Ops, of) && !slices.ContainsFunc(c.Else, of) {
		if slices.ContainsFunc(c.Compares, func(cmp Compare) bool { return cmp.Kind == NamespaceIs }) {
			return errors.New("fsm: compare of a namespace in a command that changes none")
		}
		return nil
	}
	if len(c.Ops) != 1 || len(c.Else) > 0 {
		return errors.New("fsm: an operation on a namespace or on members, and more in the same command")
	}
	for i := range c.Compares {
		if cmp := &c.Compares[i]; cmp.Kind != NamespaceIs || cmp.Key != c.Ops[0].Key || c.Ops[0].Kind.isMembers() {
			return fmt.Errorf("fsm: compare of %q in a command that changes namespace or members %q", cmp.Key, c.Ops[0].Key)
		}
	}
	return nil
}

func (i *Idempotency) validate() error {
	if i.Key == "" && *i != (Idempotency{}) {
		return errors.New("fsm: hash of a request without an idempotency key")
	}
	return checkText("idempotency key", i.Key, MaxIdempotencyKeyBytes)
}

func validateOps(ops []Op) error {
	if n := len(ops); n > MaxTxnOps {
		return &LimitError{What: "operations of the transaction", Got: n, Max: MaxTxnOps}
	}
	for i := range ops {
		if err := ops[i].validate(); err != nil {
			return err
		}
	}
	if err := checkTrees(ops); err != nil {
		return err
	}
	return checkDistinct(ops)
}

// checkTrees refuses an operation on what another one removes or restores.
func checkTrees(ops []Op) error {
	for i := range ops {
		tree := &ops[i]
		if !tree.isTree() {
			continue
		}
		for j := range ops {
			if key := ops[j].Key; i != j && strings.HasPrefix(key, tree.Key) {
				return fmt.Errorf("fsm: key %q has two operations in one transaction: it is below %q", key, tree.Key)
			}
		}
	}
	return nil
}

// checkDistinct refuses a key with two operations: their order would decide what
// one revision of the key is. Keys that ascend, as those of an import mostly do,
// need no set.
func checkDistinct(ops []Op) error {
	ascending := true
	for i := 1; i < len(ops) && ascending; i++ {
		ascending = ops[i-1].Key < ops[i].Key
	}
	if ascending {
		return nil
	}
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		key := ops[i].Key
		if _, twice := seen[key]; twice {
			return fmt.Errorf("fsm: key %q has two operations in one transaction", key)
		}
		seen[key] = struct{}{}
	}
	return nil
}

func (p *Principal) validate() error {
	if p.Kind > Certificate {
		return fmt.Errorf("fsm: principal of unknown kind %d", p.Kind)
	}
	for _, t := range [...]struct{ what, text string }{
		{"principal's issuer", p.Issuer},
		{"principal's tenant", p.Tenant},
		{"principal's object id", p.Object},
		{"principal's app id", p.App},
	} {
		if err := checkText(t.what, t.text, MaxPrincipalBytes); err != nil {
			return err
		}
	}
	// Without them it would be spelled like another one, or like nobody: see subject.
	var named bool
	switch p.Kind {
	case Anonymous:
		named = true
	case User:
		named = p.Issuer != "" && p.Object != ""
	case ServicePrincipal:
		named = p.Issuer != "" && p.App != ""
	case Certificate:
		named = p.Object != ""
	}
	if !named {
		return fmt.Errorf("fsm: principal of kind %d lacks its issuer or its id", p.Kind)
	}
	if n := len(p.Roles); n > MaxRoles {
		return &LimitError{What: "roles of the principal", Got: n, Max: MaxRoles}
	}
	for _, role := range p.Roles {
		if err := checkText("role", role, MaxPrincipalBytes); err != nil {
			return err
		}
	}
	if n := len(p.Groups); n > MaxGroups {
		return &LimitError{What: "groups of the principal", Got: n, Max: MaxGroups}
	}
	return nil
}

func (cmp *Compare) validate() error {
	if cmp.Kind < KeyExists || cmp.Kind > NamespaceIs {
		return fmt.Errorf("fsm: compare of unknown kind %d", cmp.Kind)
	}
	if !cmp.Kind.hasRevision() && cmp.Revision != 0 {
		return fmt.Errorf("fsm: compare of key %q has a revision but does not ask for one", cmp.Key)
	}
	if cmp.Kind != ValueIs && len(cmp.Value) != 0 {
		return fmt.Errorf("fsm: compare of key %q has a value but does not ask for one", cmp.Key)
	}
	if cmp.Kind == NamespaceIs {
		return ValidatePrefix(cmp.Key)
	}
	return ValidateKey(cmp.Key)
}

func (k CompareKind) hasRevision() bool { return k == RevisionIs || k == NamespaceIs }

func (op *Op) validate() error {
	switch op.Kind {
	case Put:
		if n := len(op.Value); n > MaxValueBytes {
			return &LimitError{What: fmt.Sprintf("bytes of the value of %q", op.Key), Got: n, Max: MaxValueBytes}
		}
		if err := checkText("content type", op.ContentType, MaxContentTypeBytes); err != nil {
			return err
		}
	case PutNamespace:
		if op.ContentType != "" {
			return fmt.Errorf("fsm: namespace %q has a content type", op.Key)
		}
		if _, err := DecodeNamespace(op.Key, op.Value); err != nil {
			return err
		}
	case Bootstrap:
		if op.Key != "" || op.ContentType != "" {
			return errors.New("fsm: the first administrator is bound at the root, without more")
		}
		if err := ValidateSubject(string(op.Value)); err != nil {
			return err
		}
	case AddMember, PromoteMember, RemoveMember, ReplaceMember, FinalizeUpgrade:
		return op.validateMembers()
	case Delete, DeleteTree, Restore, DeleteNamespace:
		if len(op.Value) != 0 || op.ContentType != "" {
			return fmt.Errorf("fsm: operation on %q carries a value and does not put one", op.Key)
		}
	default:
		return fmt.Errorf("fsm: operation of unknown kind %d", op.Kind)
	}
	if op.Kind != Restore && op.Revision != 0 {
		return fmt.Errorf("fsm: operation on %q names a revision and does not restore one", op.Key)
	}
	if op.isTree() || op.Kind.isNamespace() {
		return ValidatePrefix(op.Key)
	}
	return ValidateKey(op.Key)
}

func checkText(what, text string, limit int) error {
	if len(text) > limit {
		return &LimitError{What: "bytes of the " + what, Got: len(text), Max: limit}
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("fsm: %s is not valid UTF-8", what)
	}
	return nil
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendPrincipal writes all of p but its kind.
func appendPrincipal(b []byte, p *Principal) []byte {
	b = appendText(b, p.Issuer)
	b = appendText(b, p.Tenant)
	b = appendText(b, p.Object)
	b = appendText(b, p.App)
	b = binary.AppendUvarint(b, uint64(len(p.Roles)))
	for _, role := range p.Roles {
		b = appendText(b, role)
	}
	b = binary.AppendUvarint(b, uint64(len(p.Groups)))
	for i := range p.Groups {
		b = append(b, p.Groups[i][:]...)
	}
	return b
}

// decoder takes bytes from the front of b. After the first fault, which err
// names, it yields zeros.
type decoder struct {
	b   []byte
	err string
}

func (d *decoder) fail(what string) {
	if d.err == "" {
		d.err = what
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.fail("it ends early")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail("it ends early")
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

// uvarint reads a number in its shortest form only.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("it ends early, or a number is too long")
		return 0
	}
	if n > 1 && d.b[n-1] == 0 {
		d.fail("a number is not in its shortest form")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many of something follow, so that memory is taken only for
// what is allowed and can be there.
func (d *decoder) count(limit int) int {
	n := d.uvarint()
	if n > uint64(limit) || n > uint64(len(d.b)) {
		d.fail(fmt.Sprintf("a count of %d is more than allowed or than follow", n))
		return 0
	}
	return int(n)
}

// bytes reads a length and returns that many bytes, not copied.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail(fmt.Sprintf("a length of %d is more than follow", n))
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// bool reads what oneIf made.
func (d *decoder) bool() bool {
	b := d.byte()
	if b > 1 {
		d.fail("a flag is neither 0 nor 1")
	}
	return b == 1
}

func (d *decoder) text() string { return string(d.bytes()) }

// textLike is text, but hands out like again if that is what it reads:
// neighbours mostly share a content type.
func (d *decoder) textLike(like string) string {
	if b := d.bytes(); string(b) != like {
		return string(b)
	}
	return like
}

func (d *decoder) address() netip.Addr {
	n := int(d.byte())
	if n != 0 && n != 4 && n != 16 || n > len(d.b) {
		d.fail("the source address is neither absent nor of 4 or 16 bytes")
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(d.b[:n])
	d.b = d.b[n:]
	return addr
}

// principal reads what appendPrincipal wrote.
func (d *decoder) principal(kind PrincipalKind, p *Principal) {
	p.Kind = kind
	p.Issuer = d.text()
	p.Tenant = d.text()
	p.Object = d.text()
	p.App = d.text()
	if n := d.count(MaxRoles); n > 0 {
		p.Roles = make([]string, n)
	}
	for i := range p.Roles {
		p.Roles[i] = d.text()
	}
	if n := d.count(MaxGroups); n > 0 {
		p.Groups = make([][16]byte, n)
	}
	for i := range p.Groups {
		if len(d.b) < 16 {
			d.fail("it ends early")
			return
		}
		p.Groups[i] = [16]byte(d.b)
		d.b = d.b[16:]
	}
}

// skipPrincipal passes over what principal reads.
func (d *decoder) skipPrincipal() {
	for range 4 { // issuer, tenant, object, app
		d.bytes()
	}
	for range d.count(MaxRoles) {
		d.bytes()
	}
	n := 16 * d.count(MaxGroups)
	if n > len(d.b) {
		d.fail("it ends early")
		return
	}
	d.b = d.b[n:]
}
