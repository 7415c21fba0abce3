package sim

import (
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

// hooks plant bugs in the driver and in its seams: tests show by them that the
// judges see what they are for.
type hooks struct {
	// log wraps each log that is opened.
	log func(raftLog) raftLog
	// ackEarly: the core is told of an append when it begins.
	ackEarly bool
	// readEarly: reads are served without asking the core.
	readEarly bool
	// results changes what the core is told of applied entries.
	results func(generator, []fsm.Result) []fsm.Result
	// answer changes what a client is told.
	answer func(*linearizability.Op)
	// behind: sessions take answers of nodes that are behind them.
	behind bool
	// anyAge: bounds on the age of an answer are not kept.
	anyAge bool
	// minted is what each transfer between accounts makes out of nothing.
	minted int
	// history changes what is handed to the judges.
	history func(*linearizability.History)
}
