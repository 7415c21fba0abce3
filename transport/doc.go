// Package transport is what one node of a Confman cluster can say to another, and
// the interface through which it says it.
//
// # Contract
//
//   - Messages may be lost, delayed, reordered and duplicated. Nothing above
//     relies on more than that.
//   - Send never blocks. A message that finds the queue to its peer full is
//     dropped; the driver learns of lost peers through [Handler.Unreachable].
//   - A message is delivered only between nodes of the same cluster; the one
//     exception is [Form], which is how a cluster id comes to be.
//   - A message handed to Send is not changed afterwards by either side.
//
// The wire is package grpctransport; package sim has one of its own in virtual time.
package transport
