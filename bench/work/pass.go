package work

// Attempts is how often a pass is made at most, if nothing else is asked for, until nobody else disturbs it.
const Attempts = 4

// pass has all contenders measured under one load, one right after the other, again while others disturb one of them. It
// returns the cells of the least disturbed attempt, and tells what it repeats.
func pass(contenders []Contender, attempts int, measure func(Contender) (Cell, error), say func(string, ...any)) ([]Cell, error) {
	var best []Cell
	for attempt := 1; ; attempt++ {
		var cells []Cell
		for _, c := range contenders {
			got, err := measure(c)
			if err != nil {
				return nil, err
			}
			got.Attempt = attempt
			cells = append(cells, got)
		}
		if best == nil || worst(cells) < worst(best) {
			best = cells
		}
		if worst(best) <= MaxOthers || attempts <= 1 {
			return best, nil
		}
		if attempt >= attempts {
			say("disturbed: others took %.0f%% of the processors in the best of %d attempts, which is kept", 100*worst(best), attempt)
			return best, nil
		}
		say("disturbed: others took %.0f%% of the processors, more than %.0f%%: again", 100*worst(cells), 100*MaxOthers)
	}
}

// worst is the greatest share of others.
func worst(cells []Cell) (share float64) {
	for _, c := range cells {
		share = max(share, c.Others)
	}
	return share
}

// turn is the order of a round: each begins with another one.
func turn[T any](all []T, round int) []T {
	k := round % len(all)
	return append(append([]T(nil), all[k:]...), all[:k]...)
}
