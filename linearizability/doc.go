// Package linearizability judges histories of a configuration store: what
// clients asked, when, and what they were told.
//
// A [History] comes from a simulation or from real processes; the judges trust
// nothing but it. Each looks at one promise, and [Check] runs all that apply:
//
//   - [CheckRevisions] believes the revisions, and decides in O(n log n) whether
//     the history is linearizable in their order, whether each answer is what the
//     state had at its revision, and whether each write did what it was said to have.
//   - [CheckRegisters] asks Porcupine whether each key behaves as one register.
//     It believes revisions only as far as they are part of an answer.
//   - [CheckStaleness] decides whether each claim of freshness was true,
//     [CheckSessions] what sessions were promised.
//   - [CheckSplitBrain] decides whether there was one cluster, by its events too.
//   - [CheckIdempotency]: one effect a key. [CheckNotApplied]: none of what was refused.
//   - [CheckWatches]: streams are the change log, whole and in order.
//   - [CheckBank], [CheckSet] and [CheckListAppend] are of workloads.
//
// The first two are independent of each other: a history that tells lies about
// revisions but looks linearizable passes the second only. With a complete change
// log, the second accepts what the first accepts.
//
// The file format, JSON Lines, is documented in docs/history.md; [ReadHistory] and
// [History.Write] are its reader and writer, [Report] makes a page for people of it.
package linearizability
