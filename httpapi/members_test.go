package httpapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// TestNextVersion: an upgrade that this node's program is too old for is none that is done already.
func TestNextVersion(t *testing.T) {
	state := func(active uint8, known ...uint8) *fsm.State {
		s := &fsm.State{Version: active}
		for _, v := range known {
			s.Members = append(s.Members, fsm.Member{Version: v})
		}
		return s
	}
	assert.Equal(t, uint8(fsm.MinVersion+1), nextVersion(state(0)))
	assert.Equal(t, uint8(fsm.Version), nextVersion(state(fsm.Version-1, fsm.Version-1)))
	assert.Equal(t, uint8(fsm.Version), nextVersion(state(fsm.Version, fsm.Version)), "there is nothing to finalize")
	assert.Equal(t, uint8(fsm.Version+1), nextVersion(state(fsm.Version, fsm.Version, fsm.Version+1)), "others know more")
}

func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{"id":"node4","address":"10.0.1.13","api_port":5000,"raft_port":5001}`, `{"ids":["a","b"],"even_fewer":true}`,
		`{"version":2}`, `{"to":"node3"}`, `{"on":false}`, `{"ids":[]}`, `{"api_port":1e3}`, `{"id":"a","id":"b"}`, `{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, fault := parseMembers(text, 0, "id", "ids", "address", "api_port", "raft_port", "even_fewer", "version", "to", "on")
		if fault != nil {
			require.LessOrEqual(t, fault.offset, len(text))
			return
		}
		require.True(t, json.Valid(text))
		require.NoError(t, b.spec.Validate())
		require.LessOrEqual(t, len(b.ids), fsm.MaxMembers)
		for _, id := range b.ids {
			require.NoError(t, fsm.ValidateMemberName(id))
		}
	})
}
