package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

func view(node string, index uint64, hash string) nodeView {
	return nodeView{Reachable: true, View: &client.Cluster{Node: node, AppliedIndex: index, StateHash: hash}}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name  string
		views []nodeView
		want  string
		code  int
	}{
		{"same", []nodeView{view("a", 7, "x"), view("b", 7, "x")}, "2 nodes answered and hold the same state", exitOK},
		{"other indices", []nodeView{view("a", 7, "x"), view("b", 8, "y"), view("c", 8, "y")}, "3 nodes answered, at different indices: no two at the same index differ", exitOK},
		{"one", []nodeView{view("a", 7, "x"), {}}, "one node answered: there is nothing to compare", exitOK},
		{
			"diverged",
			[]nodeView{view("a", 7, "x"), view("b", 8, "y"), view("c", 7, "z"), {}},
			"STATE HASHES DIFFER AT THE SAME INDEX: a and c at index 7", exitError,
		},
		{"none", []nodeView{{err: &client.Error{Err: client.ErrAttemptTimeout}}}, "no node answered", exitUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, verdict(c.views))
			assert.Equal(t, c.code, exitCode(judge(c.views)))
			var b bytes.Buffer
			require.NoError(t, clusterTable(&b, c.views))
			assert.Contains(t, b.String(), c.want)
		})
	}
}
