// Package grpctransport carries messages between the nodes of a cluster over gRPC.
//
// Each node opens one stream to each other member and only sends on it; what
// the others say comes on the streams that they open. The metadata of a stream
// names cluster, sender, addressee and wire version, and the receiver refuses
// what is not meant for it: a stranger's messages never reach the node. Until both
// sides belong to a cluster, only the messages that form one pass.
//
// With TLS both ends of a connection prove which member they are, by a certificate that names
// it: the sender that the peer is the one it means to reach, and the receiver that the stream
// is of whom it says, before a message of it is looked at. What is refused is logged once a
// minute. Certificates and CAs are read again when their files change; connections that are
// open go on, unless the CA that vouched for them is gone.
//
// A peer has a sender of its own with bounded queues, so that a slow or dead one
// delays nobody else. Heartbeats, votes and answers go before bulk, and of bulk no
// more is on its way than the peer acknowledges, so that they overtake it on a
// slow link, too. A connection on which the peer stays silent is given up, so that
// a healed partition is not slept through by TCP's back-off; one that is slow, but
// gets on, is kept.
package grpctransport
