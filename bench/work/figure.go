package work

import "fmt"

// Etcd is who is compared where it does not matter how etcd is driven.
const Etcd = "etcd"

// Task is work that is done once a round, or a fixed number of times. Less is better.
type Task struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Of   string `json:"of,omitempty"` // how much of what
	// Want is what Confman must reach: at most, by etcd's, whichever way it is driven.
	Want float64 `json:"want,omitempty"`
	// Against is the one to compare with, if it is not the better one.
	Against string `json:"against,omitempty"`
	// Pooled: what is compared is the medians of all, not figures of the same round.
	Pooled bool `json:"pooled,omitempty"`
}

// Figure is what one contender took for a task, once.
type Figure struct {
	Task  string  `json:"task"`
	By    string  `json:"by"`
	Round int     `json:"round"`
	Value float64 `json:"value"`
}

// Tasks.
const (
	taskBulk      = "bulk load"
	taskMemory    = "memory of a node"
	taskRestart   = "restart of one node"
	taskRestarts  = "restart of the whole cluster"
	taskWatch     = "put to the last watcher, p50"
	taskWatch99   = "put to the last watcher, p99"
	taskKill      = "leader killed: longest gap in acknowledged writes"
	taskBytes     = "bytes written to disk per put, all nodes"
	taskElections = "elections under full load"
)

// tasks is the table.
func (o Options) tasks() []Task {
	keys, watchers := fmt.Sprintf("%d keys", o.Big), fmt.Sprintf("%d watchers", o.Watchers)
	return []Task{
		{Name: taskBulk, Of: keys, Unit: "s", Want: 0.5},
		{Name: taskMemory, Of: keys, Unit: "MiB", Want: 1.0 / 6},
		{Name: taskRestart, Of: keys, Unit: "s", Want: 1.0 / 3},
		{Name: taskRestarts, Of: keys, Unit: "s", Want: 1.0 / 3},
		{Name: taskWatch, Of: watchers, Unit: "ms", Want: 1, Against: EtcdGRPC},
		{Name: taskWatch99, Of: watchers, Unit: "ms"},
		{Name: taskKill, Unit: "ms", Want: 0.5, Pooled: true},
		{Name: taskBytes, Unit: "bytes", Want: 0.5},
		{Name: taskElections, Unit: "elections"},
	}
}

// has says whether one of some tasks is to be done.
func (r *Run) has(tasks ...string) bool {
	for _, t := range r.Tasks {
		for _, name := range tasks {
			if t.Name == name {
				return true
			}
		}
	}
	return false
}

// took keeps a figure, if it was asked for.
func (r *Run) took(task, by string, round int, value float64) {
	if !r.has(task) {
		return
	}
	r.Figures = append(r.Figures, Figure{Task: task, By: by, Round: round + 1, Value: value})
	for _, t := range r.Tasks {
		if t.Name == task {
			r.say("%-50s %-10s %8.2f %s", task, by, value, t.Unit)
		}
	}
}
