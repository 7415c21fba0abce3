package jepsen

import "slices"

// cutOff are the nodes that cannot reach a majority of nodes, and be reached from it, while links are cut, over however many
// other nodes.
func cutOff(nodes []string, links []Link) (out []string) {
	reach := map[Link]bool{}
	for _, a := range nodes {
		for _, b := range nodes {
			l := Link{a, b}
			reach[l] = a == b || !slices.Contains(links, l)
		}
	}
	for _, via := range nodes {
		for _, a := range nodes {
			for _, b := range nodes {
				if reach[Link{a, via}] && reach[Link{via, b}] {
					reach[Link{a, b}] = true
				}
			}
		}
	}
	for _, a := range nodes {
		together := 0
		for _, b := range nodes {
			if reach[Link{a, b}] && reach[Link{b, a}] {
				together++
			}
		}
		if together <= len(nodes)/2 {
			out = append(out, a)
		}
	}
	return out
}
