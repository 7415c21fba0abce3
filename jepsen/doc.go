// Package jepsen runs real "confman serve" processes, breaks things around them, records what clients saw and has
// the judges of package linearizability say what they think of it. It sees processes only: it imports nothing of the node.
//
//   - A [Ground] is where nodes run: network namespaces of this machine, its loopback, or other machines over SSH.
//     It knows how to start and stop processes, and how to break networks, disks and clocks there.
//   - A [Workload] is what clients ask, through the public client. Each operation goes to one node, once, and is
//     recorded with its outcome.
//   - A [Nemesis] makes one kind of fault and undoes it. Several may be at work at a time.
//   - [Run] puts them together: a seed decides who breaks what when; the schedule of real processes is their own, so the
//     same seed makes the same faults, and not the same history.
//
// A run ends with everything undone and the demand that all nodes serve again. Its history, logs, configuration, report
// and command line are one directory.
//
// The idea and the name are Kyle Kingsbury's (jepsen.io).
package jepsen
