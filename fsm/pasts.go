package fsm

import "strings"

// pasts knows of keys that were looked at lately how many superseded records above the floor they have at most, so that
// most changes need no look into the database to find that there is nothing to trim. What a look would find it never changes:
// it is of this process, and other replicas know others.
type pasts map[string]uint8

// changed counts one more record of key, if anything is known of it.
func (p pasts) changed(key string) {
	if n, known := p[key]; known && n < keptForOne {
		p[key] = n + 1
	}
}

// few tells whether key is known to have no more than keep records, and so few that a look at them costs a command no room.
func (p pasts) few(key string, keep int) bool {
	n, known := p[key]
	return known && int(n) <= keep && n < keptForOne
}

// looked remembers that key had n records, at the time of the newest change.
func (p pasts) looked(key string, n int) {
	if len(key) > maxPastKeyBytes {
		return
	}
	if len(p) >= maxPasts {
		clear(p)
	}
	p[strings.Clone(key)] = uint8(min(n, keptForOne))
}
