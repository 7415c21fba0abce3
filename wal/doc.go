// Package wal is the Raft log on disk: entries, hard states and snapshot markers, in
// segments that are allocated before they are used.
//
// A [Log] is appended to in batches. A batch is one write and, if asked for, one
// sync; after a crash it is there as a whole or not at all. Old entries stay where
// they are when newer ones or a snapshot replace them: the last written counts. Truncate
// gives up the oldest entries, by whole segments.
//
// # Promises
//
//   - What a synced Append, Prove or Close returned for is durable, and so is
//     everything before it.
//   - Open gives back what was durable, unchanged, or refuses with ErrDamaged and
//     names file and offset. What it gives back is durable, even if the process
//     that wrote it died before its sync.
//   - A tail that no later batch proved durable, and that is not whole, is cut and
//     reported in Recovered. Damage in the last batch that was written looks the
//     same as one torn by a crash; a proof (Prove, or any later synced batch) ends that.
//   - What Truncate gave up does not come back. FirstIndex is never above what it was
//     given plus one, or the index of a marker plus one.
//   - A failed write or sync is never tried again: the log takes nothing more.
//
// # What lies in the directory
//
//	wal-<number, 16 hex digits>.log   segments, numbered from 1, or from where the log was truncated, without a gap
//	wal-reserve                       room for one more segment when the disk is full
//	*.new                             a file being made, wal-spare.new the next segment (Prepare): removed by Open
//
// A segment is a header (segment.go) and batches up to the first zero; the rest of
// the file was allocated and is zero. A batch is a batch header and records
// (record.go). A segment that is full ends with a seal, a record which says that
// the next one exists.
//
// # Proofs
//
// Each batch header carries the proven offset: what lay before it was durable when
// it was written. Its checksum is seeded with the log's nonce and the segment's
// number, and it holds its own offset, so neither bytes of another life of the disk
// nor a record in the wrong place can pass for one. Behind damage, Open looks for
// such a header at every multiple of 8 bytes. One that proves the damaged bytes means that
// acknowledged entries may be lost: the node must not vote with such a log.
//
// A segment is durable as a whole before the next one is made, and the next one's
// header says where it ends. A segment is never shortened; so one that is missing,
// or shorter than its header says, is damage too.
//
// # Truncation
//
// Before the first segment is removed, a record that names the oldest one still needed
// is durable in the current segment, which never is one of those that go. So the newest
// such record is in a segment that is needed: if the log does not hold one, it was not
// truncated, and must begin with segment 1. Whichever of the older segments a crash leaves, Open
// removes them; a segment that is missing from there on is damage.
//
// The header of the first segment then tells where the log begins. It cannot if an
// entry that it counts was replaced later, in or behind that segment; then the segment
// before it is kept, until another can be the first. What lies before a marker is dead,
// whatever it is: if the first segment holds the marker or is before it, the marker tells.
package wal
