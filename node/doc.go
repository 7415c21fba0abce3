// Package node is one replica of a Confman cluster.
//
// [Core] takes [Input]s and returns the [Effect]s it asks for. It has no goroutine,
// clock or randomness of its own, and no I/O but raft's bounded reads of older log
// entries through [LogReader]: the same inputs give the same effects. [Formation]
// is made the same way; it turns nodes with empty data directories into a cluster.
// [Runner] feeds both from sockets, disks and clocks, package sim from a seed.
// [Watches] tells who watches a key or subtree what the store has for them.
//
// # What a driver owes the core
//
//   - Tick never goes back.
//   - Effects of one Step are handed out in their order; Appends among themselves,
//     and Applies with Flushes, are done in order.
//   - Appended is said only after the sync returned, if the Append asked for one.
//   - An error of write or sync is never retried: the driver stops the node.
//   - Each start has an incarnation that no earlier one had, durable before the first Step.
//   - The identity of a formed node is durable before its core first steps.
//
// # Invariants
//
//   - applied <= committed, and neither ever decreases.
//   - What a peer was told after an append (a vote, an acknowledgment) is durable here.
//   - A write answered without an error was durable on a quorum, and is applied here.
//   - A write answered NotApplied has no effect and never will.
//   - A read answered without an error sees every write acknowledged before it was asked.
//   - FreshAt never lies in the future of what is applied: see [Status].
//
// Reads follow Ongaro, "Consensus: Bridging Theory and Practice" (2014), §6.4.
package node
