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
// takes part in it. One seed is split into a generator for each subsystem, so that
// a draw more in one does not reshuffle the others. etcd/raft draws from
// crypto/rand.Reader; while a world runs that variable is a seeded stream, so a
// process runs one world at a time.
//
// # What is judged
//
// While it runs: at most one leader in a term; one entry and one effect at an
// index, the same on all nodes and what a plain model of the store says; equal
// state hashes at equal index; nothing said before it is durable (votes,
// appends, acknowledgments); nothing durable gone after a crash; reads are what the
// state was; claims of freshness are true. In the end faults stop, and within a
// bounded time all nodes must agree and everything in flight must have an
// outcome. Then the history goes to package linearizability. A run with too
// little traffic fails, since it proves nothing.
//
// # Faults
//
// Messages late, lost, repeated, reordered; partitions, whole, one-way and of the
// leader; crashes of one, several and all nodes that lose or tear what was not
// synced, at any time and at the tender points of the protocol; clean restarts;
// pauses; disks that are slow, full or fail; clocks of different rates; transfers of leadership. Half
// the seeds mix them evenly; the other half ("swarm") switch a random part of them
// on, with random strengths and settings.
package sim
