package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport/grpctransport"
)

func TestVersion(t *testing.T) {
	r := command(t, "", "", "version")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, fmt.Sprintf("versions %d to %d", fsm.MinVersion, fsm.Version))
	assert.Contains(t, r.out, version())
	r = command(t, "", "", "version", "-o", "json")
	require.Zero(t, r.code, r.err)
	var a about
	require.NoError(t, json.Unmarshal([]byte(r.out), &a))
	assert.Equal(t, aboutThis(), a)
	assert.Equal(t, fsm.Version, a.CommandVersion)
	assert.Equal(t, grpctransport.WireVersion, a.WireVersion)
	assert.NotEmpty(t, a.Go)
	for _, asksNoNode := range [][]string{{"version"}, {"backup", "verify", "a"}, {"backup", "salvage"}} {
		assert.Equal(t, exitUsage, command(t, "", "", append(asksNoNode, "-o", "xml")...).code)
	}
	assert.Equal(t, exitUsage, command(t, "", "", "version", "now").code)
	assert.Equal(t, "version 3", versions(3, 3))
}
