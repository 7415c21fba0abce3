package linearizability

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// CheckBank decides whether the values of the workload's keys, which are numbers,
// sum to its total: whenever one transaction reads them all, and, with the change
// log, at every revision from the first on at which all of them exist. Missing keys count as 0.
// It returns how many states were looked at.
func CheckBank(h *History) (states int, err error) {
	keys := map[string]bool{}
	for _, k := range h.Workload.Keys {
		keys[k] = true
	}
	for i := range h.Ops {
		o := &h.Ops[i]
		if o.Kind != Txn || o.Outcome != ReadDone || !o.isAnswered() {
			continue
		}
		values := map[string]string{}
		for _, s := range o.Steps {
			if keys[s.Key] {
				values[s.Key] = s.Got
			}
		}
		if len(values) < len(keys) {
			continue
		}
		states++
		sum, err := total(values)
		if err != nil {
			return states, violation([]*Op{o}, "%v read %v", o, err)
		}
		if sum != h.Workload.Total {
			return states, violation([]*Op{o}, "money made or lost: the accounts sum to %d, not %d, in %v", sum, h.Workload.Total, o)
		}
	}
	n, err := replayBank(h, keys)
	return states + n, err
}

// replayBank sums the accounts at each revision of the change log.
func replayBank(h *History, keys map[string]bool) (states int, err error) {
	_, byID := h.operations()
	values := map[string]string{}
	for i, c := range h.Changes {
		if i > 0 && h.Changes[i-1].Revision == c.Revision {
			continue
		}
		o := byID[c.Op]
		if o == nil {
			return states, nil // from here on the values are not known
		}
		touched := false
		for _, s := range o.steps() {
			if !keys[s.Key] || s.Kind == Read {
				continue
			}
			touched = true
			values[s.Key] = s.Value
			if s.Kind == Delete {
				values[s.Key] = ""
			}
		}
		if !touched || len(values) < len(keys) {
			continue
		}
		states++
		sum, err := total(values)
		if err != nil {
			return states, violation([]*Op{o}, "%v wrote %v", o, err)
		}
		if sum != h.Workload.Total {
			return states, violation([]*Op{o}, "money made or lost: at revision %d the accounts sum to %d, not %d, after %v", c.Revision, sum, h.Workload.Total, o)
		}
	}
	return states, nil
}

// total sums values; an empty one is 0.
func total(values map[string]string) (int64, error) {
	sum := int64(0)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if values[k] == "" {
			continue
		}
		n, err := strconv.ParseInt(values[k], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q in account %s, which is no number", values[k], k)
		}
		sum += n
	}
	return sum, nil
}
