package fsm

// Version is the newest command version that this program knows, MinVersion the oldest. What a
// cluster uses is State.Version, which rises by FinalizeUpgrade only: until then the program
// before this one can take part, and read all that is written.
//
//	1  the first
//	2  a transaction may carry a Trace
const (
	MinVersion = 1
	Version    = 2
)

// The versions from which on there is something.
const versionOfTrace = 2
