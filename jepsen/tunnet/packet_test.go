package tunnet

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// segment is a packet of TCP with data and the right checksum.
func segment(options, data int, rng *rand.Rand) []byte {
	p := make([]byte, ipHeader+tcpHeader+options+data)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	p[0], p[ipProtocol] = 0x45, protocolTCP
	tcp := p[ipHeader:]
	tcp[tcpOffset] = byte((tcpHeader + options) / 4 << 4)
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], 0)
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], ^sum(p))
	return p
}

// sum is that of RFC 9293, as a receiver makes it: all ones if the packet is as it was sent.
func sum(p []byte) uint16 {
	tcp := p[ipHeader:]
	total := uint32(protocolTCP) + uint32(len(tcp))
	for i := 12; i < ipHeader; i += 2 {
		total += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for i := 0; i < len(tcp); i += 2 {
		total += uint32(word(tcp, i))
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

func TestFlippedBitIsNotSeen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for data := 1; data < 300; data++ {
		p := segment(data%4*4, data, rng)
		require.Equal(t, uint16(0xffff), sum(p))
		was := append([]byte(nil), p...)
		require.True(t, flipBit(p, rng, false))
		require.Equal(t, uint16(0xffff), sum(p), "%d bytes", data)
		changed := 0
		for i := ipHeader + tcpHeader + data%4*4; i < len(p); i++ {
			changed += bits.OnesCount8(p[i] ^ was[i])
		}
		require.Equal(t, 1, changed)

		seen := append([]byte(nil), was...)
		require.True(t, flipBit(seen, rng, true))
		require.NotEqual(t, uint16(0xffff), sum(seen))
	}
}

func TestNothingToFlip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	empty := segment(4, 0, rng)
	was := append([]byte(nil), empty...)
	assert.False(t, flipBit(empty, rng, false), "an acknowledgment alone")
	udp := segment(0, 10, rng)
	udp[ipProtocol] = 17
	assert.False(t, flipBit(udp, rng, false))
	assert.False(t, flipBit(segment(0, 10, rng)[:ipHeader+4], rng, false), "a piece of a packet")
	long := segment(0, 10, rng)
	long[ipHeader+tcpOffset] = 15 << 4
	assert.False(t, flipBit(long, rng, false), "a header longer than the packet")
	assert.Equal(t, was, empty)
}
