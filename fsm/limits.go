package fsm

import "time"

// Limits of a command, checked where it is accepted and again where it is
// applied; constants of the command's version, so that all replicas agree.
const (
	// MaxKeyBytes bounds one key.
	MaxKeyBytes = 1 << 10
	// MaxKeyDepth bounds the segments of a key.
	MaxKeyDepth = 32
	// MaxValueBytes bounds one value.
	MaxValueBytes = 1 << 20
	// MaxTxnOps bounds the operations, and the compares, of one command.
	MaxTxnOps = 512
	// MaxTxnBytes bounds the encoded command.
	MaxTxnBytes = 4 << 20
	// MaxTreeKeys and MaxTreeBytes bound what the operations of one command on
	// subtrees may touch: keys, and the bytes of their keys and records.
	MaxTreeKeys  = 10_000
	MaxTreeBytes = 32 << 20
	// MaxTreePassed bounds the keys that a Restore passes over: below its prefix there is
	// something of them in the past, but not at the revision.
	MaxTreePassed = 50_000
	// MaxIdempotencyKeyBytes bounds the key under which a client repeats a write.
	MaxIdempotencyKeyBytes = 255
	// IdempotencyRetention is how long such a key is remembered, in replicated time. It is
	// never forgotten earlier; a client gives up after half of it.
	IdempotencyRetention = 10 * time.Minute
	// MaxAnswersBytes bounds what is remembered of such keys, as stored. At it, commands with
	// a new key are refused with IdempotencyFull.
	MaxAnswersBytes = 256 << 20
	// MaxMaintenance bounds what each of the three parts of one Maintenance looks at, so that one
	// part's backlog does not hold up the others: answers that expired; changes swept, and their
	// keys; changes, their keys, and records of those, to be trimmed. The last change swept, and the
	// last key trimmed, is finished beyond. A full one takes some 15 ms of each replica.
	MaxMaintenance = 2048
	// maxPasts bounds the keys of which it is known how many superseded records they have, and maxPastKeyBytes their length:
	// some 100 bytes each, at most 25 MiB.
	maxPasts, maxPastKeyBytes = 1 << 17, 128

	// keptForOne is how many records that a trim goes over, and keeps, count for one that it lets
	// go. With a thousand versions to keep, two keys would use up all of MaxMaintenance else.
	keptForOne = 16
	// MaxElapsed bounds the time that one Maintenance lets pass.
	MaxElapsed = 24 * time.Hour
	// MaxGroups bounds a principal's groups.
	MaxGroups = 200
	// WindowSize is how many sequence numbers per origin the store remembers.
	WindowSize = 4096
	// MaxContentTypeBytes bounds a value's content type.
	MaxContentTypeBytes = 255
	// MaxRequestIDBytes bounds the id that ties a change to a log line.
	MaxRequestIDBytes = 128
	// MaxCommentBytes bounds why somebody says a change was made.
	MaxCommentBytes = 1 << 10
	// MaxPrincipalBytes bounds each text of a principal: issuer, tenant, object,
	// application, and each role. Issuers are URLs; the rest are ids and names.
	MaxPrincipalBytes = 512
	// MaxRoles bounds a principal's application roles.
	MaxRoles = 64
)

// Limits of the policy, which each node holds in memory and looks at for each request; constants
// of the command's version as well.
const (
	// MaxNamespaces and MaxPolicyBytes bound all namespaces: their number, and their bytes as
	// encoded, of which each takes a few in memory. At them puts are refused with PolicyFull.
	MaxNamespaces  = 10_000
	MaxPolicyBytes = 4 << 20
	// MaxNamespaceBytes bounds one namespace, as encoded.
	MaxNamespaceBytes = 256 << 10
	// MaxBindings bounds the roles that are bound in a namespace, MaxSubjects to how many in all.
	MaxBindings = 64
	MaxSubjects = 512
	// MaxCustomRoles bounds the roles of the cluster that are not built in, MaxRoleNameBytes their names.
	MaxCustomRoles   = 64
	MaxRoleNameBytes = 64
	// MaxDenied bounds the subjects that are denied everything.
	MaxDenied = 1_000
	// MaxSubjectBytes bounds a subject. Who is called by a longer one may do nothing.
	MaxSubjectBytes = 1 << 10
	// MaxOwnerBytes and MaxDescriptionBytes bound what a namespace tells people.
	MaxOwnerBytes       = 256
	MaxDescriptionBytes = 4 << 10
	// MaxKeepVersions bounds Namespace.KeepVersions: see config.MaxKeepVersions.
	MaxKeepVersions = 100_000

	// MaxDenialRows bounds the rows that are kept of what was refused: the oldest make room.
	// MaxDenials bounds those of one command, so that nobody fills the ring, or the log, by
	// being refused: with one in ten seconds from each of three nodes it lasts eleven hours at least.
	MaxDenialRows = 100_000
	MaxDenials    = 8
	// MaxReasonBytes bounds the name of why something was refused.
	MaxReasonBytes = 64
)

// Limits of the membership; constants of the command's version as well.
const (
	// MaxMembers bounds the members, learners and those who leave included.
	MaxMembers = 16
	// MaxRaftIDs bounds the members that a cluster ever had: what each has proposed last is remembered, in
	// 40 KiB at most. A restore begins anew.
	MaxRaftIDs = 1_000
	// MaxMemberNameBytes and MaxMemberAddressBytes bound names and addresses, as DNS does.
	MaxMemberNameBytes    = 253
	MaxMemberAddressBytes = 253
	// MaxGaps bounds the restores that a store remembers: the oldest is forgotten for the next one, if
	// the history that is held does not reach back so far.
	MaxGaps = 64
)

// Bounds of the store itself; they do not change what a command does.
const (
	// DefaultOverlayBytes is Options.MaxOverlayBytes unless set.
	DefaultOverlayBytes = 64 << 20
	// DefaultMmapBytes is Options.MmapBytes unless set: twice the quota of a
	// store, so that nothing is mapped anew while serving.
	DefaultMmapBytes = 16 << 30

	// rangeRecords and rangeBytes are the size past which a checked range is cut
	// in two or more of half that size. A range is what the scrub reads in one
	// breath, and what a flush reads when it cuts one.
	rangeRecords = 4096
	rangeBytes   = 4 << 20

	// verifyStepBytes is how much VerifyImage reads between two pauses: some milliseconds.
	verifyStepBytes = 1 << 20

	// recordFill is how full a page is left that was split: imports come in the
	// order of keys, and would leave every page half empty otherwise; writes
	// elsewhere still find some room.
	recordFill = 0.8

	// maxTreeDepth bounds the descent through pages of the database: a page that
	// points back to one above it would otherwise be followed forever. With two
	// keys to a page, the least bbolt makes, 64 levels hold more than any disk.
	maxTreeDepth = 64
)

// The overlay must hold two of the largest transactions, else one could wait for
// room that never comes. Negative: no compile.
const (
	_ = uint(DefaultOverlayBytes - 2*MaxTxnBytes)
	_ = uint(DefaultOverlayBytes - 2*MaxTreeBytes)
)
