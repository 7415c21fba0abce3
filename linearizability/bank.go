package linearizability

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// CheckBank decides of each Bank workload whether the values of its keys, which are numbers,
// sum to its total: whenever one transaction reads them all, and, with the change
// log, at every revision from the first on at which all of them exist. Missing keys count as 0.
// It returns how many states were looked at.
func CheckBank(h *History) (states int, err error) {
	banks := h.banks()
	for i := range h.Ops {
		o := &h.Ops[i]
		if o.Kind != Txn || o.Outcome != ReadDone || !o.isAnswered() {
			continue
		}
		for _, b := range banks.of(o.Steps) {
			values := map[string]string{}
			for _, s := range o.Steps {
				if banks[s.Key] == b {
					values[s.Key] = s.Got
				}
			}
			if len(values) < len(b.Keys) {
				continue
			}
			states++
			if err := b.check(values, o, "read", ""); err != nil {
				return states, err
			}
		}
	}
	n, err := replayBanks(h, banks)
	return states + n, err
}

// accounts are banks, by each of their keys.
type accounts map[string]*bank

type bank struct {
	*Workload
	values map[string]string // at a revision of the change log
	lost   bool              // they are not known any more
}

func (h *History) banks() accounts {
	all := accounts{}
	for i := range h.Workloads {
		w := &h.Workloads[i]
		if w.Name != Bank {
			continue
		}
		b := &bank{Workload: w, values: map[string]string{}}
		for _, key := range w.Keys {
			all[key] = b
		}
	}
	return all
}

// of are the banks that have a key in some of steps, in their order.
func (a accounts) of(steps []Step) (banks []*bank) {
	for i := range steps {
		if b := a[steps[i].Key]; b != nil && !slices.Contains(banks, b) {
			banks = append(banks, b)
		}
	}
	return banks
}

// replayBanks sums the accounts at each revision of the change log.
func replayBanks(h *History, banks accounts) (states int, err error) {
	_, byID := h.operations()
	for i, c := range h.Changes {
		o := byID[c.Op]
		if o == nil {
			if b := banks[c.Key]; b != nil {
				b.lost = true
			}
			continue
		}
		if i > 0 && h.Changes[i-1].Revision == c.Revision {
			continue
		}
		var touched []*bank
		for _, s := range o.steps() {
			b := banks[s.Key]
			if b == nil || s.Kind == Read {
				continue
			}
			if !slices.Contains(touched, b) {
				touched = append(touched, b)
			}
			b.values[s.Key] = s.Value
			if s.Kind == Delete {
				b.values[s.Key] = ""
			}
		}
		for _, b := range touched {
			if b.lost || len(b.values) < len(b.Keys) {
				continue
			}
			states++
			if err := b.check(b.values, o, "wrote", fmt.Sprintf("at revision %d ", c.Revision)); err != nil {
				return states, err
			}
		}
	}
	return states, nil
}

// check sums values that an operation read or wrote.
func (b *bank) check(values map[string]string, o *Op, did, when string) error {
	sum, err := total(values)
	switch {
	case err != nil:
		return violation([]*Op{o}, "%v %s %v", o, did, err)
	case sum != b.Total:
		return violation([]*Op{o}, "money made or lost: %sthe accounts sum to %d, not %d, in what %v %s", when, sum, b.Total, o, did)
	}
	return nil
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
