package jepsen

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func local(t *testing.T, o LocalOptions) *Local {
	t.Helper()
	o.Dir = t.TempDir()
	l, err := NewLocal(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(t.Context())) })
	return l
}

// TestWhichNetwork: the kind of network is said, and what it cannot do.
func TestWhichNetwork(t *testing.T) {
	l := local(t, LocalOptions{PlainText: true, PlainDisk: true, Loopback: true})
	assert.Contains(t, strings.Join(l.Means(), "\n"), "network: loopback and a proxy of this process for each link; no namespaces: as asked for")
	for _, c := range []Capability{Cuts, Delays, Losses, Bandwidth} {
		require.NoError(t, l.Can(c))
	}
	require.ErrorContains(t, l.Can(Reorders), "it takes network namespaces")
	require.ErrorContains(t, l.Can(Corruption), "plain text")
	require.Error(t, l.Can(Spares))
	reordered := map[Link]Condition{{"node1", "node2"}: {Reorder: 0.5}}
	require.ErrorContains(t, l.SetLinks(t.Context(), reordered), "it takes network namespaces")

	l = local(t, LocalOptions{PlainText: true, PlainDisk: true, Spares: 2})
	require.NoError(t, l.Can(Spares))
	if l.Can(Reorders) == nil {
		assert.Contains(t, strings.Join(l.Means(), "\n"), "network: a namespace for each node")
		require.NoError(t, l.SetLinks(t.Context(), reordered))
		require.Error(t, l.SetLinks(t.Context(), map[Link]Condition{{"node1", "node9"}: {Cut: true}}))
	} else {
		assert.Contains(t, strings.Join(l.Means(), "\n"), "no namespaces: tunnet: ")
	}

	_, err := NewLocal(LocalOptions{Nodes: MaxLocalMachines + 1, Dir: t.TempDir()})
	require.ErrorContains(t, err, "room for 16")
}

// TestWhereNodesAre: on loopback a node listens elsewhere than where the others find it, so that a proxy is between.
func TestWhereNodesAre(t *testing.T) {
	l := local(t, LocalOptions{PlainText: true, PlainDisk: true, Loopback: true, Spares: 1})
	at := map[string]map[string]int{}
	for _, m := range l.Machines() {
		text, err := os.ReadFile(filepath.Join(l.o.Dir, m.Name+".json"))
		require.NoError(t, err)
		var c struct {
			Cluster struct {
				Nodes []struct {
					ID       string `json:"Id"`
					RaftPort int
				}
			}
		}
		require.NoError(t, json.Unmarshal(text, &c))
		at[m.Name] = map[string]int{}
		for _, n := range c.Cluster.Nodes {
			at[m.Name][n.ID] = n.RaftPort
		}
	}
	assert.Len(t, at["node1"], 3)
	assert.Len(t, at["node4"], 1, "a spare knows of nobody")
	for _, m := range l.Machines() {
		assert.NotEqual(t, m.RaftPort, at[m.Name][m.Name])
		for other, known := range at {
			if other != m.Name && known[m.Name] != 0 {
				assert.Equal(t, m.RaftPort, known[m.Name])
			}
		}
	}
}

// TestLinksChangeAtOnce: flapping links take a thousand changes, each within milliseconds.
func TestLinksChangeAtOnce(t *testing.T) {
	for name, o := range grounds {
		t.Run(name, func(t *testing.T) {
			o.PlainText, o.PlainDisk, o.Nodes = true, true, 5
			l := local(t, o)
			all := map[Link]Condition{}
			for _, a := range l.Machines() {
				for _, b := range l.Machines() {
					if a.Name != b.Name {
						all[Link{a.Name, b.Name}] = Condition{Cut: true}
					}
				}
			}
			began := time.Now()
			for range 500 {
				require.NoError(t, l.SetLinks(t.Context(), all))
				require.NoError(t, l.SetLinks(t.Context(), nil))
			}
			assert.Less(t, time.Since(began), 5*time.Second)
		})
	}
}

// TestSectionsOfCallers: a configuration in which callers prove who they are is one that a node takes.
func TestSectionsOfCallers(t *testing.T) {
	l := local(t, LocalOptions{PlainText: true, PlainDisk: true, Loopback: true, Sections: map[string]any{"Auth": map[string]any{"Mode": "oidc"}}})
	text, err := os.ReadFile(filepath.Join(l.o.Dir, "node1.json"))
	require.NoError(t, err)
	var c struct{ Auth map[string]any }
	require.NoError(t, json.Unmarshal(text, &c))
	assert.Equal(t, map[string]any{"Mode": "oidc"}, c.Auth)
}
