// Package tcpproxy is a network of TCP connections that pass through this process, where the [Condition] of their way
// decides what becomes of them: for where package tunnet may not make network namespaces. It breaks connections, not packets, and so
// some of it is an approximation:
//
//   - Cut: what is sent waits, also the end of a connection, and arrives when the link is whole. Of two programs that cannot reach
//     each other the one that connects is accepted all the same, and hears nothing. A connection is made only if both ways
//     are whole; on one that is there the other way goes on, where TCP would miss its acknowledgments.
//   - Loss: what is sent waits as long as TCP takes to send it again.
//   - Packets do not overtake each other.
package tcpproxy
