package tunnet

import (
	"encoding/binary"
	"math/rand/v2"
)

// Sizes and places in the headers of IPv4 and TCP, without options.
const (
	ipHeader    = 20
	ipProtocol  = 9
	tcpHeader   = 20
	tcpOffset   = 12 // of the length of the header, in the upper half of the byte
	tcpChecksum = 16
	protocolTCP = 6
)

// flipBit changes a bit of the data in a packet of TCP and, unless it is to be seen by it, the checksum such that the receiver takes
// the data for what was sent. False: the packet has no data, and is as it was.
func flipBit(p []byte, rng *rand.Rand, seen bool) bool {
	ip := int(p[0]&15) * 4
	if p[ipProtocol] != protocolTCP || len(p) < ip+tcpHeader {
		return false
	}
	tcp := p[ip:]
	header := int(tcp[tcpOffset]>>4) * 4
	if header < tcpHeader || len(tcp) <= header {
		return false
	}
	at := header + rng.IntN(len(tcp)-header)
	before := word(tcp, at)
	tcp[at] ^= 1 << rng.IntN(8)
	if seen {
		return true
	}
	after := word(tcp, at)
	// RFC 1624: the new checksum of the old one and of the word that changed.
	sum := uint32(^binary.BigEndian.Uint16(tcp[tcpChecksum:])) + uint32(^before) + uint32(after)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], ^uint16(sum))
	return true
}

// word is the one of the checksum that the byte is in: an odd byte at the end counts as one with a zero.
func word(b []byte, at int) uint16 {
	at &^= 1
	if at+1 == len(b) {
		return uint16(b[at]) << 8
	}
	return binary.BigEndian.Uint16(b[at:])
}
