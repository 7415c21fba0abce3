// Package sim runs whole Confman clusters in virtual time on one thread, out of
// one seed, with faults, and judges what they do.
//
// A world runs the real [node.Formation] and [node.Core], the real wal.Log on a
// simulated disk and the real fsm.Store on a file in memory. It is a driver of
// the core like node.Runner, with one difference: everything that takes time is
// an event in a queue, and a generator decides how long it takes and what goes wrong.
//
// # Determinism
//
// The same options give the same trace: no goroutine, clock, map order or pointer
// takes part in it. One seed is split into a generator for each kind of fault, link,
// disk, client and tender point, so that a draw more in one does not reshuffle the
// others: that is what makes a failing world smaller by [Options.Without]. etcd/raft draws from
// crypto/rand.Reader; while a world runs that variable is a seeded stream, so a
// process runs one world at a time.
//
// # What is judged
//
// While it runs: at most one leader in a term; one entry and one effect at an
// index, the same on all nodes and what a plain model of the store says; equal
// state hashes at equal index; replicated time not ahead of true time; the past right, or held no
// more only where the model says so; nothing said before it is durable (votes,
// appends, acknowledgments); nothing durable gone after a crash; reads are what the
// state was; claims of freshness are true. In the end faults stop, and within a
// bounded time all nodes that still take part must agree and everything in flight
// must have an outcome. Then the history goes to package linearizability. A run with too
// little traffic fails, since it proves nothing.
//
// # Faults
//
// Messages late, lost, repeated, reordered, and without room in a link's queue;
// links that are always longer than others; partitions, whole, one-way, of the
// leader, with a bridge, in a ring, and flapping; connections reset with all that
// is on its way; crashes of one, several and all nodes that lose or tear what was
// not synced, at any time, in loops, and at the tender points of the protocol; clean
// restarts; pauses; nodes and disks that are slow; disks that are full,
// below their floor, or fail in a write, a part of it, a sync or a read; clocks whose rates differ and change, wall
// clocks that jump; transfers of leadership.
//
// Bits of a log rot after they were synced: such a node has lost its votes and stays
// down. An atlas of what was damaged sees to it that a majority is whole, so that a
// cluster which does not recover is wrong.
//
// Clients write, read, remove and compare single keys and batches of keys, retry
// what they do not know, let go bursts, and crash. Some are sessions. Some read at
// other nodes just when a write is acknowledged: that is where a wrong proof of
// freshness shows. Some watch, at one node after the other, and are slow at times.
//
// Clients go by workloads, small types with draw and complete: registers and batches
// in every world, and in most one of a bank, sets, and lists that are read, lengthened and
// put if they are as they were, each with a judge of its own. Now and then a write has another
// branch, or is a rollback to what its client saw, or has an idempotency key: then it is sent again
// later, elsewhere, twice at once, or its key is used for something else.
//
// In half of the worlds an operator changes who takes part, and in a third the nodes' programs are not all of one
// version.
//
// Governors change who may do what meanwhile, and others try to who may not: a model of its own says what
// each command's principal was allowed at its place in the log, and so does a judge of the log alone. Nodes look
// before they propose, as the API does, and tell each other what they denied.
//
// Some worlds go on once they are over: all nodes are destroyed, a backup that was made on the way is restored, and another
// cluster begins with what there was then.
//
// All that happens is counted by name: [Faults], [Marks], which are rare places in the code
// of the core, and [States]. [Shrink] looks for a smaller world with the same failure.
//
// Half the seeds mix all this evenly; the other half ("swarm") switch a random part
// of it on, with random strengths and settings.
package sim
