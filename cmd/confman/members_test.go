package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

func TestClusterMembersCommands(t *testing.T) {
	_, url := newFakeAPI(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "node6.seat")
	r := command(t, url, "", "cluster", "add", "node6", "--address", "10.0.1.15", "--out", file)
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "confman serve --config FILE --seat @"+file)
	assert.Contains(t, r.out, "confman cluster promote node6")
	seat, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, fakeSeat+"\n", string(seat))
	assert.Contains(t, command(t, url, "", "cluster", "replace", "node2").out, "--seat "+fakeSeat)
	assert.Equal(t, fakeSeat+"\n", command(t, url, "", "cluster", "seat", "node4").out)
	assert.Equal(t, exitNotFound, command(t, url, "", "cluster", "seat", "node1").code)
	assert.Equal(t, exitConflict, command(t, url, "", "cluster", "add", "node1", "--address", "h").code)
	assert.Equal(t, exitNotFound, command(t, url, "", "cluster", "promote", "node9").code)
	for _, line := range [][]string{
		{"add", "node6"}, {"add"}, {"promote"}, {"replace", "node1", "--api-port", "7"}, {"drain"}, {"nothing"}, {"drain", "node9"},
	} {
		assert.Equal(t, exitUsage, command(t, url, "", append([]string{"cluster"}, line...)...).code, line)
	}

	r = command(t, url, "", "cluster", "promote", "node4", "node5")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.err, "node4 (raft id 4) has not come for its seat yet; node5 (raft id 5) is a learner that lacks 7 entries")
	assert.Contains(t, r.err, "two majorities must agree")
	assert.Contains(t, r.out, "node4, node5: with a vote, revision")
	r = command(t, url, "", "cluster", "remove", "node5", "--wait=false")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "node5: to leave, revision")
	assert.Contains(t, command(t, url, "", "cluster").out, "node5 (raft id 5) is to leave")
	r = command(t, url, "", "cluster", "remove", "node4")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.err, "node4 (raft id 4) is leaving")
	assert.Contains(t, r.out, "node4: gone, revision")
	assert.Equal(t, exitConflict, command(t, url, "", "cluster", "remove", "node1", "node2").code)
}

func TestRemoveCallsAReplacementOff(t *testing.T) {
	api, url := newFakeAPI(t)
	host := strings.TrimPrefix(url, "http://")
	api.members = append([]client.Seated{{ID: "node2", RaftID: 6, Part: client.Part{Membership: "learner", Wanted: "voter"}}}, fakeMembers(host)...)
	r := command(t, url, "", "cluster", "remove", "node2", "node5")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "node2, node5: gone, but for node2: not replaced any more, and still there, revision")

	api.members = append([]client.Seated{{ID: "node2", RaftID: 7, Part: client.Part{Membership: "learner", Wanted: "voter"}}}, fakeMembers(host)...)
	r = command(t, url, "", "cluster", "remove", "node2")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "node2: not replaced any more, and still there, revision")
}

func TestDrainCommand(t *testing.T) {
	api, url := newFakeAPI(t)
	assert.Equal(t, result{out: "node1 drains; node2 leads\n"}, command(t, url, "", "cluster", "drain", "node1"))
	assert.Contains(t, command(t, url, "", "cluster").out, "draining")
	assert.Equal(t, result{out: "node1 is in service\n"}, command(t, url, "", "cluster", "drain", "node1", "--off"))
	api.mu.Lock()
	api.clings = true
	api.mu.Unlock()
	r := command(t, url, "", "cluster", "drain", "node2") // its address is that of the fake
	assert.Equal(t, exitUnavailable, r.code)
	assert.Contains(t, r.err, "it goes on trying")
}

func TestAwaitedMembers(t *testing.T) {
	is := func(id, part, wanted string) client.Seated {
		return client.Seated{ID: id, Part: client.Part{Membership: part, Wanted: wanted}}
	}
	replaced := uint64(2)
	replacing := is("b", "learner", "voter")
	replacing.Replaces = &replaced
	for _, tc := range []struct {
		name           string
		members        client.Members
		promoted, gone bool
		fails          bool
	}{
		{"as it should be", client.Members{Items: []client.Seated{is("a", "voter", "voter"), is("b", "voter", "voter")}}, true, true, false},
		{"one learns", client.Members{Items: []client.Seated{is("a", "voter", "voter"), is("b", "learner", "voter")}}, false, true, false},
		{"two majorities", client.Members{Changing: true, Items: []client.Seated{is("a", "voter", "voter"), is("b", "voter", "voter")}}, false, false, false},
		{"one replaces the other", client.Members{Items: []client.Seated{is("a", "voter", "voter"), is("b", "voter", "voter"), replacing}}, false, true, false},
		{"one is to go", client.Members{Items: []client.Seated{is("a", "voter", "voter"), is("b", "leaving", "gone")}}, false, false, true},
		{"all are gone", client.Members{}, false, true, true},
	} {
		got, err := promoted([]string{"a", "b"}, &tc.members)
		assert.Equal(t, tc.promoted, got, tc.name)
		assert.Equal(t, tc.fails, err != nil, tc.name)
		got, err = removed([]string{"a", "b"}, &tc.members)
		assert.Equal(t, tc.gone, got, tc.name)
		assert.NoError(t, err, tc.name)
	}
}
