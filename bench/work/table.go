// Package work is what is compared: which work, by whom, how it is measured, and when a measurement counts.
package work

import "github.com/confman/confman/bench/load"

// Load is work that clients do again and again for some time.
type Load struct {
	Name    string  `json:"name"`
	Clients int     `json:"clients"`
	Reads   float64 `json:"reads"` // of all operations
	Local   bool    `json:"local"`
	Empty   bool    `json:"empty"` // compared with the empty handler, too
	Want    Want    `json:"want"`
	// Curve is the plot that this is a point of; all that have Extra are measured for that alone.
	Curve string `json:"curve,omitempty"`
	Extra bool   `json:"extra,omitempty"`
}

// Want is what Confman must reach; what is 0 is not asked for.
type Want struct {
	Ratio float64 `json:"ratio,omitempty"` // at least: its operations a second, by etcd's
	P99   float64 `json:"p99,omitempty"`   // at most: its p99, by etcd's
	CPU   float64 `json:"cpu,omitempty"`   // at most: microseconds of the servers' processors an operation
	Empty float64 `json:"empty,omitempty"` // at least: its operations a second, by the empty handler's
}

// Plots.
const (
	curvePut    = "put"
	curveLinear = "linearizable read"
	curveLocal  = "local read"
)

// Loads is the table.
func Loads() []Load {
	return []Load{
		{Name: "put, 1 client", Clients: 1, Want: Want{Ratio: 1.7}, Curve: curvePut},
		{Name: "put, 4 clients", Clients: 4, Curve: curvePut, Extra: true},
		{Name: "put, 16 clients", Clients: 16, Want: Want{Ratio: 2}, Curve: curvePut},
		{Name: "put, 64 clients", Clients: 64, Want: Want{Ratio: 2.3, P99: 0.5, CPU: 115}, Curve: curvePut},
		{Name: "put, 256 clients", Clients: 256, Want: Want{Ratio: 2.5, P99: 0.5, CPU: 100}, Curve: curvePut},
		{Name: "linearizable read, 1 client", Clients: 1, Reads: 1, Curve: curveLinear, Extra: true},
		{Name: "linearizable read, 4 clients", Clients: 4, Reads: 1, Curve: curveLinear, Extra: true},
		{Name: "linearizable read, 16 clients", Clients: 16, Reads: 1, Curve: curveLinear, Extra: true},
		{Name: "linearizable read, 64 clients", Clients: 64, Reads: 1, Want: Want{Ratio: 2.5, CPU: 60}, Curve: curveLinear},
		{Name: "linearizable read, 256 clients", Clients: 256, Reads: 1, Curve: curveLinear, Extra: true},
		{Name: "local read, 1 client", Clients: 1, Reads: 1, Local: true, Curve: curveLocal, Extra: true},
		{Name: "local read, 4 clients", Clients: 4, Reads: 1, Local: true, Curve: curveLocal, Extra: true},
		{Name: "local read, 16 clients", Clients: 16, Reads: 1, Local: true, Curve: curveLocal, Extra: true},
		{Name: "local read, 64 clients", Clients: 64, Reads: 1, Local: true, Empty: true, Want: Want{Ratio: 3, CPU: 28, Empty: 0.65}, Curve: curveLocal},
		{Name: "local read, 256 clients", Clients: 256, Reads: 1, Local: true, Curve: curveLocal, Extra: true},
		{Name: "90/10 mix, linearizable, 64 clients", Clients: 64, Reads: 0.9, Want: Want{Ratio: 2.8}},
		{Name: "70/30 mix, bounded, 64 clients", Clients: 64, Reads: 0.7, Local: true, Want: Want{Ratio: 2.3}},
	}
}

// of is the work of a load on a cluster that holds keys.
func (l Load) of(keys int, v *load.Values, seed uint64) load.Work {
	return load.Work{Clients: l.Clients, Reads: l.Reads, Local: l.Local, Keys: keys, Values: v, Seed: seed}
}
