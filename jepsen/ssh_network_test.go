package jepsen

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var twoMachines = []Machine{
	{Name: "a", Address: "10.0.0.1", APIPort: 5000, RaftPort: 5001},
	{Name: "b", Address: "10.0.0.2", APIPort: 6000, RaftPort: 6001},
}

// rulesOf are the rules of a machine, a line each.
func rulesOf(m Machine, links map[Link]Condition) string {
	var lines []string
	for _, r := range chainRules(twoMachines, m, links) {
		lines = append(lines, r.text)
	}
	return strings.Join(lines, "\n")
}

// TestChainRules: one way of a link is cut where it ends, for the ports of the nodes alone.
func TestChainRules(t *testing.T) {
	cut := map[Link]Condition{{From: "a", To: "b"}: {Cut: true}}
	assert.Empty(t, rulesOf(twoMachines[0], cut))
	assert.Equal(t, `-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --dport 6001 -j DROP
-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --dport 6000 -j DROP
-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 5001 -j DROP
-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport 5000 -j DROP`, rulesOf(twoMachines[1], cut))
	assert.Contains(t, rulesOf(twoMachines[1], map[Link]Condition{{From: "a", To: "b"}: {Loss: 0.25}}),
		"--sport 5000 -m statistic --mode random --probability 0.250000 -j DROP")
}

// TestChainRulesOfClients: clients are all but the nodes.
func TestChainRulesOfClients(t *testing.T) {
	assert.Equal(t, `-A CONFMAN-JEPSEN -s 10.0.0.1 -d 10.0.0.1 -p tcp --dport 5000 -j RETURN
-A CONFMAN-JEPSEN -s 10.0.0.2 -d 10.0.0.1 -p tcp --dport 5000 -j RETURN
-A CONFMAN-JEPSEN -d 10.0.0.1 -p tcp --dport 5000 -j DROP`, rulesOf(twoMachines[0], map[Link]Condition{{To: "a"}: {Cut: true}}))
	assert.Contains(t, rulesOf(twoMachines[0], map[Link]Condition{{From: "a"}: {Cut: true}}),
		"-A CONFMAN-JEPSEN -s 10.0.0.1 -p tcp --sport 5000 -j DROP")
}

func TestShapeCommands(t *testing.T) {
	device := func(string) string { return "eth0" }
	assert.Empty(t, shapesOf(twoMachines, twoMachines[0], map[Link]Condition{{From: "a", To: "b"}: {Cut: true}}, device))
	slow := Condition{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, BytesPerSecond: 1000}
	link := Link{From: "a", To: "b"}
	assert.Equal(t, map[string]sshShape{"eth0": {commands: `qdisc add dev eth0 root handle c0f1: htb
class add dev eth0 parent c0f1: classid c0f1:2 htb rate 1000bps burst 16kb quantum 60000
qdisc add dev eth0 parent c0f1:2 netem delay 20000us 5000us
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip dport 6001 0xffff flowid c0f1:2
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip dport 6000 0xffff flowid c0f1:2
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip sport 5001 0xffff flowid c0f1:2
filter add dev eth0 parent c0f1: protocol ip prio 2 u32 match ip dst 10.0.0.2/32 match ip protocol 6 0xff match ip sport 5000 0xffff flowid c0f1:2
`, classes: []sshClass{{[]Link{link}, slow}}}}, shapesOf(twoMachines, twoMachines[0], map[Link]Condition{link: slow}, device))
}

// TestCounted: what a machine counts is told apart by link; what it has no rule for is nobody's.
func TestCounted(t *testing.T) {
	ab, ba, out := Link{From: "a", To: "b"}, Link{From: "b", To: "a"}, Link{From: "a", To: Clients}
	n := &sshLinks{
		rules: []sshRule{{link: ab, drops: cuts}, {link: ab, drops: cuts}, {link: ba, drops: loses}, {link: out}},
		shapes: map[string]sshShape{"eth0": {classes: []sshClass{
			{[]Link{ab}, Condition{BytesPerSecond: 1}}, {[]Link{out, ba}, Condition{Corrupt: 0.1}},
		}}},
	}
	assert.Equal(t, packetCounts{
		ab:  {Cut: 3, Delivered: 10, Full: 4},
		ba:  {Lost: 5, Delivered: 7, Corrupted: 7},
		out: {Delivered: 7, Corrupted: 7},
	}, n.counted("rule 1\nrule 2\nrule 5\nrule 9\nrule 9\nclass eth0 c0f1:2 10 4\nclass eth0 c0f1:3 7 0\nclass eth1 c0f1:2 1 1\n"))
	var sum packetCounts
	sum.add(packetCounts{ab: {Cut: 1}})
	sum.add(packetCounts{ab: {Cut: 2, Lost: 3}})
	assert.Equal(t, packetCounts{ab: {Cut: 3, Lost: 3}}, sum)
}
