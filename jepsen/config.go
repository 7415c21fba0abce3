package jepsen

import (
	"encoding/json"
	"maps"
)

// nodeConfig is the configuration of a machine's node, sections added; a spare's has only itself. seen is how the machine
// sees another one.
func nodeConfig(machines []Machine, m Machine, seen func(Machine) Machine, data string, raft map[string]any, sections ...map[string]any) ([]byte, error) {
	var nodes []map[string]any
	for _, x := range machines {
		if x.Name == m.Name || !x.Spare && !m.Spare {
			x = seen(x)
			nodes = append(nodes, map[string]any{"Id": x.Name, "Address": x.Address, "ApiPort": x.APIPort, "RaftPort": x.RaftPort})
		}
	}
	all := map[string]any{
		"Cluster": map[string]any{"NodeId": m.Name, "Nodes": nodes},
		"Raft":    raft,
		"Auth":    map[string]any{"Mode": "none", "AnyoneMayReadAndWrite": true},
		"Data":    map[string]any{"Dir": data},
		"Log":     map[string]any{"Format": "text"},
	}
	for _, more := range sections {
		for name, section := range more {
			had, _ := all[name].(map[string]any)
			if keys, ok := section.(map[string]any); ok {
				both := map[string]any{}
				maps.Copy(both, had)
				maps.Copy(both, keys)
				section = both
			}
			all[name] = section
		}
	}
	if auth, ok := all["Auth"].(map[string]any); ok && auth["Mode"] != "none" {
		delete(auth, "AnyoneMayReadAndWrite") // callers have to say who they are after all
	}
	text, err := json.MarshalIndent(all, "", "  ")
	return append(text, '\n'), err
}
