package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func want() Config {
	return Config{
		Cluster: Cluster{NodeID: "node1", Nodes: []Node{
			{ID: "node1", Address: "10.0.1.10", APIPort: 5000, RaftPort: 5001},
			{ID: "node2", Address: "10.0.1.11", APIPort: 5000, RaftPort: 5001},
			{ID: "node3", Address: "10.0.1.12", APIPort: 5000, RaftPort: 5001},
		}},
		Raft:    Raft{TLS: RaftTLS{CAFile: "/etc/confman/raft-ca.crt", CertFile: "/etc/confman/node1.crt", KeyFile: "/etc/confman/node1.key"}},
		Data:    Data{Dir: "/var/lib/confman", StoreQuotaBytes: 8 << 30, MinFreeBytes: 256 << 20},
		Backup:  Backup{Every: time.Hour, Keep: 24},
		History: History{KeepFor: 90 * 24 * time.Hour, KeepVersions: 1000},
		Clock:   Clock{MaxDriftPPM: 500},
		Log:     Log{Level: "info"},
		Trace:   Trace{Ratio: DefaultTraceRatio},
		Auth: Auth{
			Mode: "oidc", MaxPolicyStaleness: 5 * time.Second,
			Issuers: []Issuer{{Name: "entra", Audiences: []string{"confman"}, Scopes: map[string][]string{"Config.Read": {"read"}}}},
		},
	}
}

func TestLoadReadsTheDesignsFileAndYAMLOfItsShape(t *testing.T) {
	for _, file := range []string{"testdata/good.json", "testdata/good.yaml"} {
		c, err := Load(file, nil, nil)
		require.NoError(t, err, file)
		assert.Equal(t, want(), c, file)
		assert.Equal(t, "10.0.1.10:5000", c.Self().API())
		assert.Equal(t, "10.0.1.10:5001", c.Self().Raft())
		assert.Equal(t, []string{"node1", "node2", "node3"}, c.Names())
	}
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	environ := []string{"CONFMAN_Cluster__NodeId=node2", "CONFMAN_Data__Dir=/env", "CONFMAN_ENDPOINTS=http://x", "PATH=/bin"}
	c, err := Load("testdata/good.json", environ, map[string]string{"Data.Dir": "/flag"})
	require.NoError(t, err)
	assert.Equal(t, "node2", c.Cluster.NodeID)
	assert.Equal(t, "/flag", c.Data.Dir)
}

func TestEverythingCanComeFromTheEnvironment(t *testing.T) {
	c, err := Load("", []string{
		"CONFMAN_Cluster__NodeId=a", "CONFMAN_Data__Dir=/d", "CONFMAN_Log__Level=debug", "CONFMAN_Log__Access=true",
		"CONFMAN_Trace__Endpoint=https://c:4318/otlp", "CONFMAN_Trace__Ratio=0.25", "CONFMAN_Api__DrainDelay=1m30s",
		"CONFMAN_Raft__PlainText=true", "CONFMAN_Api__Tls__CertFile=/c", "CONFMAN_Api__Tls__KeyFile=/k",
		`CONFMAN_Api__Cors__Origins=["https://ui.example.com","*"]`, `CONFMAN_Api__Hosts=["confman.example.com"]`,
		`CONFMAN_Cluster__Nodes=[{"Id":"a","Address":"localhost","ApiPort":"7000"}]`,
	}, nil)
	require.NoError(t, err)
	assert.Equal(t, Node{ID: "a", Address: "localhost", APIPort: 7000, RaftPort: 5001}, c.Self())
	assert.Equal(t, Log{Level: "debug", Access: true}, c.Log)
	assert.Equal(t, Trace{Endpoint: "https://c:4318/otlp", Ratio: 0.25}, c.Trace)
	assert.Equal(t, Raft{PlainText: true}, c.Raft)
	assert.Equal(t, API{
		DrainDelay: 90 * time.Second, TLS: TLS{CertFile: "/c", KeyFile: "/k"}, CORS: CORS{Origins: []string{"https://ui.example.com", "*"}},
		Hosts: []string{"confman.example.com"},
	}, c.API)
}

func TestHistoryIsKept(t *testing.T) {
	for text, want := range map[string]History{
		`{}`:                                {KeepFor: DefaultKeepFor, KeepVersions: DefaultKeepVersions},
		`{"KeepFor":"0","KeepVersions":0}`:  {},
		`{"KeepFor":"15m"}`:                 {KeepFor: MinKeepFor, KeepVersions: DefaultKeepVersions},
		`{"KeepFor":"0s","KeepVersions":1}`: {KeepVersions: 1},
	} {
		path := filepath.Join(t.TempDir(), "confman.json")
		require.NoError(t, os.WriteFile(path, []byte(`{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"::1"}]},"Raft":{"PlainText":true},"Data":{"Dir":"/d"},"History":`+text+`}`), 0o600))
		c, err := Load(path, nil, nil)
		require.NoError(t, err, text)
		assert.Equal(t, want, c.History, text)
	}
	c, err := Load("testdata/good.json", []string{"CONFMAN_History__KeepFor=720h", "CONFMAN_History__KeepVersions=5"}, nil)
	require.NoError(t, err)
	assert.Equal(t, History{KeepFor: 720 * time.Hour, KeepVersions: 5}, c.History)
}

func TestLimitsAreRead(t *testing.T) {
	c, err := Load("testdata/good.json", []string{
		"CONFMAN_Data__StoreQuotaBytes=16777216", "CONFMAN_Data__MinFreeBytes=0", "CONFMAN_Limits__RequestsPerSecond=100",
		"CONFMAN_Limits__RequestBurst=500", "CONFMAN_Limits__WritesPerSecond=10", "CONFMAN_Limits__WriteBurst=20", "CONFMAN_Limits__MemoryBytes=67108864",
	}, nil)
	require.NoError(t, err)
	assert.Equal(t, Data{Dir: "/var/lib/confman", StoreQuotaBytes: MinStoreQuotaBytes}, c.Data)
	assert.Equal(t, Limits{RequestsPerSecond: 100, RequestBurst: 500, WritesPerSecond: 10, WriteBurst: 20, MemoryBytes: MinMemoryBytes}, c.Limits)
}

// TestFaults holds the whole message of each fault: it is all that the person at
// the terminal gets.
func TestFaults(t *testing.T) {
	const node = `{"Id":"a","Address":"h"}`
	cases := []struct{ name, file, want string }{
		{
			"unknown key, near one that is", `{"Cluster":{"NodeID":"a","Nodes":[` + node + `]},"Data":{"Dir":"/d"}}`,
			"unknown key Cluster.NodeID: did you mean Cluster.NodeId?",
		},
		{
			"unknown key in a list", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"h","Port":1}]},"Data":{"Dir":"/d"}}`,
			"unknown key Cluster.Nodes[0].Port: did you mean Cluster.Nodes[].ApiPort?",
		},
		{"unknown section", `{"Xyzzy":1}`, "unknown key Xyzzy"},
		{
			"every fault at once", `{"Cluster":{"NodeId":"c","Nodes":[{"Id":"a","Address":"h"},{"Id":"a","Address":"h:1","ApiPort":70000}]},"Log":{"Level":"loud"}}`,
			`Cluster.Nodes: 2 nodes, want 1, 3 or 5
Cluster.Nodes[1].Id: "a" is the Id of Cluster.Nodes[0] already
Cluster.Nodes[1].Address: "h:1" is neither a host name nor an IP address (a port goes to ApiPort and RaftPort)
Cluster.Nodes[1].ApiPort: 70000 is not a port (1 to 65535)
Cluster.NodeId: "c" is not the Id of any of Cluster.Nodes
Raft: how the nodes speak to each other is missing: name CaFile, CertFile and KeyFile in Raft.Tls ("confman cert" makes them); or, on a network that nobody else can reach, set Raft.PlainText to true
Data.Dir: missing: the directory that keeps this node's log and state
Log.Level: "loud", want debug, info, warn or error`,
		},
		{
			"duplicate node ids", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"x"},{"Id":"b","Address":"y"},{"Id":"a","Address":"z"}]},"Data":{"Dir":"/d"}}`,
			`Cluster.Nodes[2].Id: "a" is the Id of Cluster.Nodes[0] already`,
		},
		{
			"one place for two", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"h","ApiPort":5001}]},"Data":{"Dir":"/d"}}`,
			"Cluster.Nodes[0].RaftPort: h:5001 is used by Cluster.Nodes[0].ApiPort already",
		},
		{
			"one place in two spellings", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"::1"},{"Id":"b","Address":"Host"},{"Id":"c","Address":"host","RaftPort":1},{"Id":"d","Address":"0::1","ApiPort":1}]},"Data":{"Dir":"/d"}}`,
			`Cluster.Nodes: 4 nodes, want 1, 3 or 5
Cluster.Nodes[2].ApiPort: host:5000 is used by Cluster.Nodes[1].ApiPort already
Cluster.Nodes[3].RaftPort: [::1]:5001 is used by Cluster.Nodes[0].RaftPort already`,
		},
		{
			"port 0", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"h","ApiPort":0}]},"Data":{"Dir":"/d"}}`,
			"Cluster.Nodes[0].ApiPort: 0 is not a port (1 to 65535)",
		},
		{
			"key with a dot", `{"Cluster.NodeId":"a","Cluster":{"Nodes":[` + node + `]},"Data":{"Dir":"/d"}}`,
			`unknown key "Cluster.NodeId": a key in a file is one name, and sections are objects`,
		},
		{"wrong type of a port", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"h","ApiPort":"http"}]},"Data":{"Dir":"/d"}}`, `Cluster.Nodes[0].ApiPort: "http", want a whole number`},
		{"fraction of a port", `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"h","ApiPort":1.5}]},"Data":{"Dir":"/d"}}`, `Cluster.Nodes[0].ApiPort: 1.5, want a whole number`},
		{"number for text", `{"Cluster":{"NodeId":7,"Nodes":[` + node + `]},"Data":{"Dir":"/d"}}`, "Cluster.NodeId: 7, want text"},
		{"object for a list", `{"Cluster":{"NodeId":"a","Nodes":{}},"Data":{"Dir":"/d"}}`, "Cluster.Nodes: an object, want a list"},
		{"text for an object", `{"Data":"/d"}`, `Data: "/d", want an object`},
		{"negative log", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a","CatchUpBytes":-1}}`, "Data.CatchUpBytes: -1 is not 0 to 1099511627776"},
		{
			"origins that are none", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Raft":{"PlainText":true},"Api":{"Cors":{"Origins":["https://ok.example","*","https://a/","https://A","a.example","https://x:443","null","https://*.a","ftp://a"]}},"Data":{"Dir":"/a"}}`,
			`Api.Cors.Origins[2]: "https://a/" is not an origin as browsers send it, such as https://ui.example.com or http://localhost:3000, nor "*" for all to read
Api.Cors.Origins[3]: "https://A" is not an origin as browsers send it, such as https://ui.example.com or http://localhost:3000, nor "*" for all to read
Api.Cors.Origins[4]: "a.example" is not`,
		},
		{"more origins that are none", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Api":{"Cors":{"Origins":["https://x:443","null","https://*.a","ftp://a","https://a:"]}},"Data":{"Dir":"/a"}}`, `Api.Cors.Origins[4]: "https://a:" is not`},
		{"text for origins", `{"Api":{"Cors":{"Origins":"https://a"}}}`, `Api.Cors.Origins: "https://a", want a list`},
		{"certificate without a key", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Api":{"Tls":{"CertFile":"/c"}},"Data":{"Dir":"/a"}}`, `Api.Tls: CertFile is "/c" and KeyFile is "": both are needed, or none`},
		{"key without a certificate", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Api":{"Tls":{"KeyFile":"/k"}},"Data":{"Dir":"/a"}}`, `Api.Tls: CertFile is "" and KeyFile is "/k": both are needed, or none`},
		{"unknown key of TLS", `{"Api":{"Tls":{"CertFiles":"/k"}}}`, `unknown key Api.Tls.CertFiles: did you mean Api.Tls.CertFile?`},
		{"host with a port", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Api":{"Hosts":["a.b","a:1"]},"Data":{"Dir":"/a"}}`, `Api.Hosts[1]: "a:1" is not the name of a host (it has neither a port nor a scheme)`},
		{"both plain text and TLS", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Raft":{"PlainText":true,"Tls":{"CaFile":"/ca"}},"Data":{"Dir":"/a"}}`, `Raft: PlainText is true, and Tls names files: remove one of the two`},
		{"TLS between nodes by halves", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Raft":{"Tls":{"CaFile":"/ca","KeyFile":"/k"}},"Data":{"Dir":"/a"}}`, `Raft.Tls: CaFile is "/ca", CertFile is "" and KeyFile is "/k": all three are needed`},
		{"an id that no certificate can have", `{"Cluster":{"NodeId":"-a.","Nodes":[{"Id":"-a.","Address":"h"}]},"Raft":{"Tls":{"CaFile":"/ca","CertFile":"/c","KeyFile":"/k"}},"Data":{"Dir":"/a"}}`, `Cluster.Nodes[0].Id: "-a." is no DNS name, and with Raft.Tls the Id is one in the node's certificate`},
		{"text for true", `{"Raft":{"PlainText":"yes"}}`, `Raft.PlainText: "yes", want true or false`},
		{"number for true", `{"Raft":{"PlainText":1}}`, `Raft.PlainText: 1, want true or false`},
		{"number for a duration", `{"Api":{"DrainDelay":5}}`, `Api.DrainDelay: 5, want a duration such as "15s"`},
		{"text for a duration", `{"Api":{"DrainDelay":"soon"}}`, `Api.DrainDelay: "soon", want a duration such as "15s"`},
		{"delay out of range", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Api":{"DrainDelay":"1h"},"Data":{"Dir":"/a"}}`, "Api.DrainDelay: 1h0m0s is not 0s to 5m0s"},
		{"negative delay", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Api":{"DrainDelay":"-1s"},"Data":{"Dir":"/a"}}`, "Api.DrainDelay: -1s is not 0s to 5m0s"},
		{"no quota", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a","StoreQuotaBytes":0}}`, "Data.StoreQuotaBytes: 0 is not 16777216 to 1099511627776"},
		{"floor below nothing", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a","MinFreeBytes":-1}}`, "Data.MinFreeBytes: -1 is not 0 (no floor) to 1125899906842624"},
		{"rates of no caller", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Limits":{"RequestsPerSecond":-1,"RequestBurst":1000001,"WriteBurst":2}}`, `Limits.RequestsPerSecond: -1 is not 0 (no limit) to 1000000
Limits.RequestBurst: 1000001 is not 0 (what a second allows) to 1000000
Limits.WriteBurst: 2, and Limits.WritesPerSecond sets no limit: set that, or remove it`},
		{"memory for nothing", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Limits":{"MemoryBytes":1024}}`, "Limits.MemoryBytes: 1024 is not 67108864 to 17592186044416, nor 0 for what the control group allows"},
		{"backups too often", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Backup":{"Dir":"/b","Every":"1s","Keep":0}}`, "Backup.Every: 1s is not 1m0s to 8784h0m0s\nBackup.Keep: 0 is not 1 to 10000"},
		{"backups where the data is", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Backup":{"Dir":"/a/"}}`, `Backup.Dir: "/a/" is Data.Dir: a backup is for when that is lost`},
		{"history too short", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"History":{"KeepFor":"14m59s"}}`, "History.KeepFor: 14m59s is less than 15m0s, which replays and pages rest on (\"0\": for ever)"},
		{"negative history", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"History":{"KeepFor":"-1h","KeepVersions":-1}}`, "History.KeepFor: -1h0m0s is less than 15m0s, which replays and pages rest on (\"0\": for ever)\nHistory.KeepVersions: -1 is not 1 to 100000, nor 0 for all"},
		{"history too long", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"History":{"KeepVersions":100001}}`, "History.KeepVersions: 100001 is not 1 to 100000, nor 0 for all"},
		{"clock that never drifts", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Clock":{"MaxDriftPPM":0}}`, "Clock.MaxDriftPPM: 0 is not 1 to 100000"},
		{"clock that is broken", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Clock":{"MaxDriftPPM":100001}}`, "Clock.MaxDriftPPM: 100001 is not 1 to 100000"},
		{"collector without a scheme", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Trace":{"Endpoint":"localhost:4318","Ratio":1.5}}`, "Trace.Endpoint: \"localhost:4318\" is not the URL of a collector, such as http://127.0.0.1:4318\nTrace.Ratio: 1.5 is not 0 to 1"},
		{"collector with a password", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Trace":{"Endpoint":"https://u:p@c"}}`, "Trace.Endpoint: it has a name or a password in it"},
		{"share that is none", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/a"},"Trace":{"Ratio":"NaN"}}`, "Trace.Ratio: NaN is not 0 to 1"},
		{"text for a number", `{"Trace":{"Ratio":"1%"}}`, `Trace.Ratio: "1%", want a number`},
		{"true for a number", `{"Trace":{"Ratio":true}}`, `Trace.Ratio: true, want a number`},
		{"days in a duration", `{"History":{"KeepFor":"90d"}}`, `History.KeepFor: "90d", want a duration such as "15s"`},
		{"null", `{"Data":{"Dir":null}}`, "Data.Dir: null, want text"},
		{"root of the file system", `{"Cluster":{"NodeId":"a","Nodes":[` + node + `]},"Data":{"Dir":"/."}}`, `Data.Dir: "/." is the root of the file system`},
		{"member twice", "{\"Data\":{\"Dir\":\"/a\",\n  \"Dir\":\"/b\"}}", "line 2 column 8: Data.Dir is there twice"},
		{"bad syntax", "{\"Data\":\n  {,}}", "line 2 column 4: invalid character ','"},
		{"cut off", `{"Data":{"Dir"`, "line 1 column 15: the text ends in the middle"},
		{"something behind", `{} {}`, "something follows the configuration"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "confman.json")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o600))
			_, err := Load(path, nil, nil)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

func TestFaultsOfEnvironmentFlagsAndFiles(t *testing.T) {
	cases := []struct {
		name, file string
		environ    []string
		flags      map[string]string
		want       string
	}{
		{"no such file", "testdata/none.json", nil, nil, "testdata/none.json: no such file"},
		{"unknown variable", "testdata/good.json", []string{"CONFMAN_Cluster__NodeID=x"}, nil, "environment variable CONFMAN_Cluster__NodeID: unknown key Cluster.NodeID: did you mean Cluster.NodeId?"},
		{"section", "testdata/good.json", []string{"CONFMAN_Data=/x"}, nil, "environment variable CONFMAN_Data: Data is a section: set the keys in it, such as Data.Dir"},
		{"list that is none", "testdata/good.json", []string{"CONFMAN_Cluster__Nodes=a,b"}, nil, "environment variable CONFMAN_Cluster__Nodes: Cluster.Nodes wants a list in JSON"},
		{"unknown key in a list", "testdata/good.json", []string{`CONFMAN_Cluster__Nodes=[{"id":"a"}]`}, nil, "unknown key Cluster.Nodes[0].id: did you mean Cluster.Nodes[].Id?"},
		{"unknown flag", "testdata/good.json", nil, map[string]string{"Data.Dirs": "x"}, "flag for Data.Dirs: unknown key Data.Dirs: did you mean Data.Dir?"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(c.file, c.environ, c.flags)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

func FuzzLoad(f *testing.F) {
	good, err := os.ReadFile("testdata/good.json")
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"Cluster":{"Nodes":[{"Id":1}]}}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "f.json")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		c, err := Load(path, nil, nil)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "config: "), err.Error())
			return
		}
		require.NoError(t, c.Validate())
		require.Equal(t, c.Cluster.NodeID, c.Self().ID)
	})
}
