// Package linearizability judges histories of a configuration store: what
// clients asked, when, and what they were told.
//
// A [History] comes from a simulation or from real processes; the judges trust
// nothing but it. Each looks at one promise:
//
//   - [CheckRegisters] asks Porcupine whether each key behaves as one register.
//     It believes revisions only as far as they are part of an answer.
//   - [CheckRevisions] believes the revisions, and decides in O(n log n) whether
//     the history is linearizable in their order, whether each answer is what the
//     state had at its revision, and whether each write did what it was said to have.
//   - [CheckStaleness] decides whether each claim of freshness was true.
//
// The first two are independent of each other: a history that tells lies about
// revisions but looks linearizable passes the first only.
//
// # File format
//
// A history is JSON Lines, one event a line, in the order of "t" (nanoseconds on
// the one clock of the harness; calls before returns at the same instant):
//
//	{"t":12,"type":"call","op":1,"client":3,"node":"node2","kind":"put","key":"a","value":"v1"}
//	{"t":15,"type":"call","op":2,"client":4,"node":"node1","kind":"put","key":"a","value":"v2","if_revision":7}
//	{"t":40,"type":"return","op":1,"outcome":"applied","revision":8}
//	{"t":44,"type":"return","op":2,"outcome":"compare_failed","revision":8,"key_revision":8}
//	{"t":50,"type":"call","op":3,"client":3,"node":"node1","kind":"read","key":"a"}
//	{"t":61,"type":"return","op":3,"outcome":"read","revision":8,"found":true,"value":"v1","key_revision":8}
//	{"t":99,"type":"change","op":1,"key":"a","revision":8}
//
// "call" has kind put, delete, read (linearizable) or local; a put or delete may
// have one condition, if_revision or if_absent; retry_of names the operation
// that this one repeats as a new proposal, with the same value. "return" has
// outcome applied, unchanged, compare_failed, not_applied, unknown, read or
// failed (a read without answer). An operation without return is unknown.
// "revision" is the store's after the write, or the one read at; "key_revision"
// is the key's last change (0: absent), of reads, unchanged and compare_failed. A
// read may carry "fresh_at", the instant that it claims to be as fresh as. "change" lines
// are the store's change log as found in the end, all of it or none; op 0 is a
// change that no operation of the history made.
package linearizability
