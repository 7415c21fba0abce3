package sim

// Judge names what a world is held to, and so what caught a failure.
type Judge string

// The judges. Those of recorded histories are named by package linearizability.
const (
	// JudgeInvariant: an assertion in the code did not hold.
	JudgeInvariant Judge = "invariant"
	// JudgeStop: a node stopped, or did not start, without a fault that excuses it.
	JudgeStop Judge = "stop"
	// JudgeSplit: one cluster, one leader in a term, one entry at an index.
	JudgeSplit Judge = "split-brain"
	// JudgeDurable: what was said to be durable is.
	JudgeDurable Judge = "durability"
	// JudgeState: each store is what the model makes of the log.
	JudgeState Judge = "state"
	// JudgePolicy: who may do something is done it for, who may not is not, as of what precedes it.
	JudgePolicy Judge = "policy"
	// JudgeTime: replicated time never runs ahead of true time.
	JudgeTime Judge = "time"
	// JudgeFresh: a claim of freshness is true the moment it is made.
	JudgeFresh Judge = "freshness"
	// JudgeRoom: a node without room on its disk takes no writes.
	JudgeRoom Judge = "room"
	// JudgeAnswer: each request is answered once, and with what became of it.
	JudgeAnswer Judge = "answers"
	// JudgeLive: once faults stop, the cluster comes to rest and serves; a node applies what it
	// knows to be committed at all times.
	JudgeLive Judge = "liveness"
	// JudgeWire: a message is not changed after it was sent.
	JudgeWire Judge = "wire"
	// JudgeTraffic: a run in which next to nothing happened proves nothing.
	JudgeTraffic Judge = "traffic"
)
