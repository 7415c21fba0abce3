package tunnet

import "time"

const (
	// MaxHosts bounds the hosts of a network: each has a way to each other.
	MaxHosts = 64

	// MTU is the largest packet, as on Ethernet: what is lost, held up or changed is as much as there.
	MTU = 1500

	// deviceQueue is how many packets a host may have sent that were not read yet, beyond which its kernel drops. The
	// default, 500, is less than a TCP connection that sends a snapshot has under way.
	deviceQueue = 5000

	// MaxQueueBytes and MaxQueuePackets bound what is under way from one host to another; beyond them the newest is dropped.
	MaxQueueBytes   = 16 << 20
	MaxQueuePackets = 20_000

	// A way with a bandwidth holds what passes in queueTime, but at least leastQueue: a router with more makes a
	// delay of what is meant to be a bottleneck.
	queueTime  = 200 * time.Millisecond
	leastQueue = 32 << 10

	// MaxDelay bounds Delay and Jitter.
	MaxDelay = time.Minute

	// A packet that is to be overtaken is held up for so long more.
	leastHold, mostHold = 2 * time.Millisecond, 10 * time.Millisecond
)
