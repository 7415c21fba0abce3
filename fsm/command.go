package fsm

import (
	"encoding/binary"
	"net/netip"
	"time"
)

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
	// Idempotency makes commands that are equal in it one operation.
	Idempotency Idempotency
	// Compares must all hold, else none of Ops is done, but Else.
	Compares []Compare
	// Ops are done in order, atomically, at one revision. At most MaxTxnOps; no key twice,
	// nor a key and a subtree that it is in.
	Ops []Op
	// Else is done in place of Ops if a compare does not hold; the same rules. Without it the
	// outcome is then CompareFailed.
	Else []Op
	// Maintenance, unless nil, is all that the command is: it has no origin, principal or
	// operation, and is no client's.
	Maintenance *Maintenance
	// Denials, unless empty, are all that the command is, but for its origin and AcceptedAt: what
	// a node refused, for the audit. At most MaxDenials.
	Denials []Denial
	// Report, unless nil, is all that the command is, like Maintenance.
	Report *Report
	// Trace is what the accepting node traces the command by; zero: it does not. From version 2 on; it
	// changes nothing.
	Trace Trace
}

// Trace names the span that a command belongs to (W3C Trace Context).
type Trace struct {
	ID    [16]byte
	Span  [8]byte
	Flags byte
}

// Report is what a member says of itself, as its leader has it applied. It makes no revision.
type Report struct {
	RaftID uint64
	// Life is of the member's data directory. The first one that is reported has the seat, and no
	// other one does anything.
	Life Life
	// Version is the newest command version that the member's program knows.
	Version uint8
}

// Idempotency names the operation that a command is one attempt at. The store remembers what
// became of it for IdempotencyRetention: an equal command has the same result and no effect.
type Idempotency struct {
	// Key is chosen by the client, and is the principal's own; "": the command stands for itself.
	Key string
	// Request is a hash of what was asked. Another one under the same key is refused.
	Request [32]byte
	// OnlyIfDone: a result that changed nothing because a compare failed is not remembered,
	// since the accepting node will try again.
	OnlyIfDone bool
}

// Maintenance is what a leader has all replicas do now and then, so that they stay the same:
// let time pass, forget idempotency keys that are old enough, compact the history. None of it
// makes a revision. Each command does a bounded part of what is due.
type Maintenance struct {
	// Elapsed is what the leader measured on its own monotonic clock since its last one, or
	// since it began to lead: the sum over all is the replicated time.
	Elapsed time.Duration
	// KeepFor is how long what was superseded is kept, in replicated time; 0: for ever.
	KeepFor time.Duration
	// KeepVersions is how many superseded records of a key are kept; 0: all.
	KeepVersions int
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
	// ValueIs holds if the key has a record with exactly the bytes of Compare.Value.
	ValueIs
	// NamespaceIs holds if the namespace at prefix Key was last changed at Compare.Revision; 0:
	// there is none. Only of a command that changes that namespace.
	NamespaceIs
)

// Compare is a condition on one key.
type Compare struct {
	Kind     CompareKind
	Key      string
	Revision Revision // RevisionIs and NamespaceIs only, else 0
	Value    []byte   // ValueIs only
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
	// Restore makes Key, a key, or a prefix as of DeleteTree, what it was at Revision: what was
	// put since goes, what was changed or deleted since comes back, all at a new revision. It is
	// decided when the command is applied. If there are more than MaxTreeKeys keys below the
	// prefix now or then, MaxTreePassed that were there at other times, or MaxTreeBytes of what
	// differs, the outcome is TreeTooLarge; Compacted if the revision is not held any more.
	Restore
	// PutNamespace makes Value, of Namespace.Encode, the namespace at prefix Key. Like the two that
	// follow it is the only operation of its command, which has no other branch. If it is
	// equal already, nothing changes. Outcomes: LastAdmin, SelfDenied, UnknownRole, RoleInUse, PolicyFull.
	PutNamespace
	// DeleteNamespace removes the namespace at prefix Key, with all that it grants. Outcome: LastAdmin.
	DeleteNamespace
	// Bootstrap binds the subject that is Value to RoleAdmin in the root namespace, which is what Key
	// must name. Outcomes: AdminExists, if somebody is bound already; PolicyFull, if the root namespace
	// has no room for one more. Whoever configures a node proposes it: no client can.
	Bootstrap
	// AddMember makes a seat for a member called Key, a learner, at Value, of MemberSpec.Encode. Like the
	// four that follow it is the only operation of its command. What members are to be changes
	// at once; the leader then takes Raft's configuration there. Outcomes: MemberExists, MembersFull.
	AddMember
	// PromoteMember has the learners called Key, several with commas, become voters, as soon as they have
	// caught up. Outcome: UnknownMember.
	PromoteMember
	// RemoveMember has the members called Key, several with commas, leave, all voters of them at once. Of
	// two with one name, the one that was to replace the other does. Outcomes: UnknownMember; FewerFailures if less than
	// three voters would be left of three or more, unless Value is EvenFewer, or none.
	RemoveMember
	// ReplaceMember makes a seat for another member called Key, at Value, of MemberSpec.Encode, under another raft id.
	// In the moment when that becomes a voter, the one that it replaces leaves. Outcomes: UnknownMember,
	// MemberPending if that is under way, MembersFull.
	ReplaceMember
	// FinalizeUpgrade makes Value, one byte, the version of the cluster, which must be the next one, or
	// there is nothing to do. There is no way back. Outcomes: VersionUnknown if a member's program does not know it.
	FinalizeUpgrade
	// Restored is in no command: it is what the first change of a restored cluster did. See RestoreTo.
	Restored
)

// EvenFewer is the value of a RemoveMember that is to be done though fewer failures can be borne then.
const EvenFewer = "even fewer"

// Op is one change of one key, or of a subtree.
type Op struct {
	Kind        OpKind
	Key         string
	Value       []byte   // Put, PutNamespace, Bootstrap and those of members only
	ContentType string   // Put only
	Revision    Revision // Restore only
}

// isTree tells whether o is of all keys that begin with Key.
func (o *Op) isTree() bool {
	return o.Kind == DeleteTree || o.Kind == Restore && isPrefix(o.Key)
}

// isNamespace tells whether o is of a namespace, not of keys.
func (k OpKind) isNamespace() bool {
	return k == PutNamespace || k == DeleteNamespace || k == Bootstrap
}

// isMembers tells whether o is of the members, not of keys.
func (k OpKind) isMembers() bool { return k >= AddMember && k <= FinalizeUpgrade }

// alone tells whether an operation is the only one of its command.
func (k OpKind) alone() bool { return k.isNamespace() || k.isMembers() || k == Restored }

// identity is what names a principal for ever: unlike its roles and groups it does not change.
func (p *Principal) identity() []byte {
	b := []byte{byte(p.Kind)}
	for _, s := range [...]string{p.Issuer, p.Tenant, p.Object, p.App} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}
