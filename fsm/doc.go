// Package fsm is the replicated state of Confman: what a command means, and the
// store that holds the outcome.
//
// [Store.Apply] is a function of the state and the command alone: it reads no
// clock, draws nothing at random, starts no goroutine and writes no file. So
// replicas that applied the same entries hold the same state, and say so with
// [State].Hash, no matter when they flushed or restarted.
//
// # Where things are
//
// The base is one bbolt database. What was applied since its last commit lives
// in an overlay of copy-on-write trees; a flush freezes the overlay and writes it,
// together with the applied index and all else, in one synced transaction. A
// crash loses the overlay and nothing else: the log is replayed from
// [State].Applied. A [View] is the newest overlay, the frozen one if a flush is
// under way, and the commit that these start from; it is taken with one atomic
// load, waits for nothing and never changes.
//
// The database has these buckets:
//
//	current     key                        newest record
//	superseded  key, zero byte, ^revision  records before it, newest first, and what ended them;
//	                                       or a mark in the place of those that were trimmed
//	answers     "k", principal and key     what became of a command with an idempotency key
//	            "t", time, the same        when that is forgotten
//	namespaces  "n", path                  who may do what from there on
//	former      path, zero byte, ^revision  what that was before, newest first, and what ended it
//	denied      number                     a ring of what was refused
//	log         revision                   who, when, what keys, why; the hash chain, from the floor
//	windows     node                       results of its newest proposals
//	tallies     bucket, key                what the records of a range add up to
//	meta        "state"                    applied index, revision, hashes, members
//
// An [Image] is the file of one commit, for a replica that lags behind what the
// log still holds; [VerifyImage] is what it must pass before it is opened.
//
// # Invariants
//
//   - Applied, Revision, Time, Floor and the accepted-at of changes never decrease.
//
//   - A command of one origin, incarnation and sequence number is applied at most
//     once; what cannot be told from a repeat is refused.
//
//   - A transaction that changes anything takes one revision; one that does not,
//     none.
//
//   - The sum of all ranges is the sum in the state, in each commit.
//
//   - An answer is held for IdempotencyRetention of replicated time, and no less: a command
//     that is equal to it does nothing in that time. If there is no room for its answer, a
//     command with a key does nothing at all.
//
//   - At each revision from Floor on, each key reads as it was, or says since when it can be
//     read: what is not held is never taken for what never was.
//
//   - A command is authorized by the policy as of its place in the log, before it does anything
//     and before its idempotency key is remembered. A view decides by the policy that was
//     applied when it was taken, whatever revision it shows.
//
//   - Once somebody administers the cluster, somebody does.
//
// # Who may do what
//
// Namespaces bind roles to subjects, see [Principal.String], from a path on; what they grant adds up
// on the way down, and nothing is taken away but from who is denied everything. Their records
// are few, and kept in memory as a [Policy], which each snapshot has with it. They add up to the
// state's tally whenever the store is opened: one that was overlooked would let in, or keep out, the wrong
// people. Namespaces are changed at revisions, and their changes are in the log as those of keys are.
//
// # Time, and what goes with it
//
// The store has no clock. A [Maintenance] command says how much time the leader measured, which is
// added to [State].Time, and how long what was superseded is kept, and how many versions of it; what
// is due, answers included, goes when it is applied, a bounded part at a time. The sweep raises the
// floor from change to change: the log up to it goes, and the records that those changes ended.
// The trim leaves a mark for the records of one key that it lets go. Neither makes a revision. The
// chain is verified from the floor's on, which the state holds.
//
// # Versions
//
// The first byte of a command is its version, and [State].Version the one that the cluster uses. It rises by FinalizeUpgrade
// only, whose outcome depends on the state alone: on what all members reported that they know. The rule that upgrades live by:
//
// What is written while version N is in use can be read by every program that knows N. That is of commands, of each record of the
// database and so of images, of the log and of the identity of a node (packages wal and node). What a later program writes
// otherwise it writes so only once its version is in use; until then it reads both. A new layout of the database thus goes with
// a new version of commands, and the state record, whose layout says layoutVersion, is written anew when that begins. What
// version 1 writes is in testdata/store_v1.txt.
//
// A program that meets a version or layout above its own says [ErrUnknownVersion], never [ErrDamaged], and stops before it has
// changed anything.
//
// # Damage
//
// Each value carries a checksum over key and value, verified on every read.
// Readers go through the pages on their own, each step bounded and each page
// checked when it is first used in a transaction; before bbolt writes, the pages
// that it will trust are checked, of those that were used already all but the
// order of keys. What is left, a record that seems never to have been,
// [Store.Scrub] finds. Whatever finds damage says [ErrDamaged]: the replica must
// be replaced from its peers.
package fsm
