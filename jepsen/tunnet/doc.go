// Package tunnet is a network in this process: each host is a network namespace with an address of its own, and every
// packet between two of them passes through here, where the [Condition] of its way decides what becomes of it. It needs
// no traffic control of the kernel, only /dev/net/tun and the right to make network namespaces: root, also the one of a
// user namespace ("unshare --user --map-root-user").
//
// A host is made by a thread of the operating system that joins, and so do all processes that this thread starts. Nothing
// has a name outside: when this process dies, whichever way, namespaces, interfaces and routes are gone.
//
// IPv4 only; all else is dropped.
package tunnet
