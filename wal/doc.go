// Package wal is the Raft log on disk: entries and hard states, in segments that
// are allocated before they are used.
//
// A [Log] is appended to in batches. A batch is one write and, if asked for, one
// sync; after a crash it is there as a whole or not at all. Old entries stay where
// they are when newer ones replace them: the last written counts.
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
//   - A failed write or sync is never tried again: the log takes nothing more.
//
// # What lies in the directory
//
//	wal-<number, 16 hex digits>.log   segments, numbered from 1 without a gap
//	wal-reserve                       room for one more segment when the disk is full
//	*.new                             a file being made: removed by Open
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
package wal
