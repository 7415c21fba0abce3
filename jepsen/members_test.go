package jepsen

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// askedGround keeps what the program was asked last, and as whom.
type askedGround struct {
	Ground
	args  []string
	token string
}

// Confman is part of Ground.
func (g *askedGround) Confman(_ context.Context, args ...string) ([]byte, error) {
	g.args, g.token = args, ""
	if i := slices.Index(args, "--token-file"); i >= 0 {
		token, err := os.ReadFile(args[i+1])
		if err != nil {
			return nil, err
		}
		g.token = string(token)
	}
	return []byte("{}"), nil
}

// TestProgramSaysWho: where the clients of a run have to say who they are, so does the program, and nothing of it is left.
func TestProgramSaysWho(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	g := &askedGround{}
	r := &Run{Ground: g}
	var out struct{}
	require.NoError(t, r.confman(t.Context(), &out, "cluster", "seat", "node4"))
	assert.NotContains(t, g.args, "--token-file")
	r.who = client.StaticToken("mine")
	require.NoError(t, r.confman(t.Context(), &out, "cluster", "seat", "node4"))
	assert.Equal(t, "mine", g.token)
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left)
}
