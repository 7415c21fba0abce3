package jepsen

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var twoMachines = []Machine{
	{Name: "a", Address: "10.0.0.1", APIPort: 5000, RaftPort: 5001},
	{Name: "b", Address: "10.0.0.2", APIPort: 6000, RaftPort: 6001},
}

// TestChainRules: one way of a link is cut where it ends, for the ports of the nodes alone.
func TestChainRules(t *testing.T) {
	cut := map[Link]Condition{{From: "a", To: "b"}: {Cut: true}}
	assert.Empty(t, chainRules(twoMachines, twoMachines[0], cut))
	assert.Equal(t, `-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --dport 6001 -j DROP
-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --dport 6000 -j DROP
-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 5001 -j DROP
-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 5000 -j DROP`, chainRules(twoMachines, twoMachines[1], cut))
	assert.Contains(t, chainRules(twoMachines, twoMachines[1], map[Link]Condition{{From: "a", To: "b"}: {Loss: 0.25}}),
		"--sport 5000 -m statistic --mode random --probability 0.250000 -j DROP")
}

// TestChainRulesOfClients: clients are all but the nodes.
func TestChainRulesOfClients(t *testing.T) {
	assert.Equal(t, `-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.1 -p tcp --dport 5000 -j RETURN
-A CONFMAN-JEPSEN -s 10.0.0.2 -d 10.0.0.1 -p tcp --dport 5000 -j RETURN
-A CONFMAN-JEPSEN -d 10.0.0.1 -p tcp --dport 5000 -j DROP`, chainRules(twoMachines, twoMachines[0], map[Link]Condition{{To: "a"}: {Cut: true}}))
	assert.Contains(t, chainRules(twoMachines, twoMachines[0], map[Link]Condition{{From: "a"}: {Cut: true}}),
		"-A CONFMAN-JEPSEN -s 10.0.0.1 -p tcp --sport 5000 -j DROP")
}

func TestShapeCommands(t *testing.T) {
	device := func(string) string { return "eth0" }
	assert.Empty(t, shapeCommands(twoMachines, twoMachines[0], map[Link]Condition{{From: "a", To: "b"}: {Cut: true}}, device))
	assert.Equal(t, map[string]string{"eth0": `qdisc add dev eth0 root handle c0f1: htb
class add dev eth0 parent c0f1: classid c0f1:2 htb rate 1000bps burst 16kb quantum 60000
qdisc add dev eth0 parent c0f1:2 netem delay 20000us 5000us
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip dport 6001 0xffff flowid c0f1:2
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip dport 6000 0xffff flowid c0f1:2
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip sport 5001 0xffff flowid c0f1:2
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip sport 5000 0xffff flowid c0f1:2
`}, shapeCommands(twoMachines, twoMachines[0], map[Link]Condition{
		{From: "a", To: "b"}: {Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, BytesPerSecond: 1000},
	}, device))
}
