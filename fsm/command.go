package fsm

import "net/netip"

// Index is a position in the Raft log; the first is 1.
type Index uint64

// Revision counts the store's committed changes; unlike Index, it survives restore.
type Revision uint64

// Origin names one proposal: the node that accepted it, that node's incarnation
// (a counter made durable at each start) and a sequence number from 1.
type Origin struct {
	Node        uint64
	Incarnation uint64
	Seq         uint64
}

// incomplete tells that nobody filled o in.
func (o Origin) incomplete() bool { return o.Node == 0 || o.Incarnation == 0 || o.Seq == 0 }

// PrincipalKind says what sort of caller a Principal is.
type PrincipalKind uint8

const (
	// Anonymous is anybody: authorization is off.
	Anonymous PrincipalKind = iota
	// User is a person with a delegated token.
	User
	// ServicePrincipal is an application.
	ServicePrincipal
	// Certificate is the holder of a client certificate.
	Certificate
)

// Principal is who asked, as the accepting node established it.
type Principal struct {
	Kind   PrincipalKind
	Issuer string
	Tenant string
	Object string
	App    string
	Roles  []string   // at most MaxRoles
	Groups [][16]byte // at most MaxGroups
}

// String is the principal as Record.ModifiedBy shows it: its kind and what
// names it among those of its kind.
func (p *Principal) String() string {
	switch p.Kind {
	case User:
		return "user:" + p.Tenant + "/" + p.Object
	case ServicePrincipal:
		return "app:" + p.Tenant + "/" + p.App
	case Certificate:
		return "cert:" + p.Object
	default:
		return "anonymous"
	}
}

// Command is what one log entry asks the store to do.
type Command struct {
	// Origin is filled in by package node when it takes the proposal. Apply
	// refuses a command without one as undecodable: it could not be told from
	// its own repeat.
	Origin     Origin
	RequestID  string
	AcceptedAt int64 // Unix nanoseconds on the accepting node's wall clock; for display only
	Source     netip.Addr
	Comment    string
	Principal  Principal
	// Compares must all hold, else none of Ops is done.
	Compares []Compare
	// Ops are done in order, atomically, at one revision. At most MaxTxnOps; no key twice,
	// nor a key and a subtree that it is in.
	Ops []Op
}

// CompareKind is what a Compare asks of a key.
type CompareKind uint8

const (
	// KeyExists holds if the key has a record.
	KeyExists CompareKind = iota + 1
	// KeyAbsent holds if the key has none.
	KeyAbsent
	// RevisionIs holds if the key's record was last changed at Compare.Revision.
	RevisionIs
)

// Compare is a condition on one key.
type Compare struct {
	Kind     CompareKind
	Key      string
	Revision Revision // RevisionIs only, else 0
}

// OpKind is what an Op does.
type OpKind uint8

const (
	// Put stores Value under Key; if the record is equal already, nothing changes.
	Put OpKind = iota + 1
	// Delete removes Key; if it is absent, nothing changes.
	Delete
	// DeleteTree removes every key that starts with the prefix Key, which ends in "/", or is
	// "" for all keys. What is removed is decided when the command is applied; if that is
	// more than MaxTreeKeys or MaxTreeBytes, the outcome is TreeTooLarge.
	DeleteTree
)

// Op is one change of one key, or of a subtree.
type Op struct {
	Kind        OpKind
	Key         string
	Value       []byte // Put only
	ContentType string // Put only
}
