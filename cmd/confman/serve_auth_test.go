package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/config"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// fill gives every field that v has something that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(elem)
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(int64(time.Minute))
	default:
		panic(v.Kind())
	}
}

// TestEverythingOfAuthIsHandedOn: no setting is read and then forgotten.
func TestEverythingOfAuthIsHandedOn(t *testing.T) {
	var c config.Auth
	fill(reflect.ValueOf(&c).Elem())
	got := authConfig(c, slog.New(slog.DiscardHandler))
	for _, part := range []any{got.Issuers[0], got.Issuers[0].Claims, got.Certificates, got.Certificates.Rules[0]} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			assert.False(t, v.Field(i).IsZero(), "%T.%s", part, v.Type().Field(i).Name)
		}
	}
	assert.Equal(t, [3]time.Duration{time.Minute, time.Minute, time.Minute}, [3]time.Duration{got.Refresh, got.MinRefresh, got.MaxKeyAge})
	assert.NotNil(t, got.Log)
}

func TestScopesAreVerbs(t *testing.T) {
	scopes, err := scopesOf(config.Auth{Issuers: []config.Issuer{
		{Name: "a", Scopes: map[string][]string{"look": {"read"}, "all": {"read", "write", "delete-tree"}}}, {Name: "b"},
	}})
	require.NoError(t, err)
	assert.Equal(t, map[string]map[string]fsm.Verbs{
		"a": {"look": fsm.VerbRead, "all": fsm.VerbRead | fsm.VerbWrite | fsm.VerbDeleteTree},
		"b": {},
	}, scopes)
}

// TestServeRefusesWhatOnlyTheOthersKnow: what package config cannot check is said before anything
// starts, all of it, as a fault of the file.
func TestServeRefusesWhatOnlyTheOthersKnow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "confman.json")
	require.NoError(t, os.WriteFile(file, []byte(`{
		"Cluster": {"NodeId": "a", "Nodes": [{"Id": "a", "Address": "127.0.0.1"}]}, "Raft": {"PlainText": true}, "Data": {"Dir": "/nowhere"},
		"Auth": {"Mode": "oidc", "Bootstrap": "alice", "Issuers": [
			{"Name": "o", "Url": "http://o.example.com", "Scopes": {"all": ["read", "everything"]}},
			{"Name": "o", "Url": "https://p.example.com", "Audiences": ["x"], "Algorithms": ["HS256"]}]}}`), 0o600))
	r := command(t, "", "", "serve", "--config", file)
	assert.Equal(t, exitUsage, r.code)
	for _, want := range []string{
		`Auth.Bootstrap: fsm: subject "alice": `,
		`Auth.Issuers[0].Url: "http://o.example.com" is not https`,
		"Auth.Issuers[0].Audiences: missing",
		`Auth.Issuers[1].Algorithms[0]: "HS256" needs a shared secret`,
		`Auth.Issuers[1].Name: "o" is the Name of Issuers[0] already`,
		`Auth.Issuers[0].Scopes["all"]: "everything" is no verb: read, write, rollback`,
	} {
		assert.Contains(t, r.err, want)
	}
}

// TestServeRefusesAnAdministratorWhoCouldNotAct: who is bound first cannot be taken back, so a name that
// nobody could have, or that could bind nobody, does not get that far.
func TestServeRefusesAnAdministratorWhoCouldNotAct(t *testing.T) {
	c := config.Auth{Mode: config.ModeOIDC}
	c.Issuers = []config.Issuer{
		{Name: "entra", URL: "https://a.example.com", Audiences: []string{"x"}, Scopes: map[string][]string{"Read": {"read"}, "Admin": {"bind"}}},
		{Name: "ci", URL: "https://b.example.com", Audiences: []string{"x"}, Scopes: map[string][]string{"Write": {"read", "write"}}},
	}
	const tenant, id = "8f9bbf3b-3c0e-4c2a-9f57-2a6f1f0e0a01", "00000000-0000-0000-0000-0000000000aa"
	c.Issuers = append(c.Issuers, config.Issuer{
		Name: "corp", EntraTenants: []string{strings.ToUpper(tenant)}, Audiences: []string{"y"}, Scopes: map[string][]string{"Admin": {"bind"}},
	})
	c.Certificates.Rules = []config.CertificateRule{{CommonName: "x", Name: "sealed/50%"}}
	c.Certificates.URIPrefix = "spiffe://example.org/"
	for subject, want := range map[string]string{
		"":                 "",
		"user:entra/t/ann": "",
		"user:entre/t/ann": `no issuer is called "entre"`,
		"group:entre/t/8f9bbf3b-3c0e-4c2a-9f57-2a6f1f0e0a01": `no issuer is called "entre"`,
		"user:ci/ann":                                     `no scope of issuer "ci" stands for bind`,
		"app:ci/deploy":                                   "",
		"role:ci/admins":                                  "", // applications may have it
		"user:corp/" + tenant + "/" + id:                  "",
		"group:corp/" + tenant + "/" + id:                 "",
		"role:corp/Confman.Admin":                         "",
		"user:corp/" + id:                                 `want a tenant of issuer "corp" before the id: ` + tenant,
		"group:corp/" + id + "/" + id:                     `want a tenant of issuer "corp" before the id`,
		"user:corp/" + tenant + "/" + strings.ToUpper(id): "is no id of Entra ID",
		"app:corp/" + tenant + "/deploy":                  "is no id of Entra ID",
		"cert:sealed%2F50%25":                             "",
		"cert:spiffe:%2F%2Fexample.org%2Fa":               "",
		"cert:sealed":                                     `no rule of Certificates gives the name "sealed"`,
	} {
		c.Bootstrap = subject
		err := checkAuth(c)
		if want == "" {
			require.NoError(t, err, subject)
			continue
		}
		require.ErrorContains(t, err, "Auth.Bootstrap: ", subject)
		require.ErrorContains(t, err, want, subject)
	}
}

func TestServeWarnsOfWhatOthersCanDo(t *testing.T) {
	for _, c := range []struct{ name, address, mode, certificate, want string }{
		{"on loopback", "127.0.0.1", "none", "", ""},
		{"everybody", "10.0.1.10", "none", "/c", "whoever reaches the API can read and write everything"},
		{"tokens in plain text", "10.0.1.10", "oidc", "", "whoever is between can read tokens"},
		{"as it should be", "10.0.1.10", "oidc", "/c", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said bytes.Buffer
			s := &server{log: slog.New(slog.NewTextHandler(&said, nil)), config: config.Config{
				Cluster: config.Cluster{NodeID: "a", Nodes: []config.Node{{ID: "a", Address: c.address}}},
				API:     config.API{TLS: config.TLS{CertFile: c.certificate, KeyFile: c.certificate}},
				Auth:    config.Auth{Mode: c.mode},
			}}
			s.warnAuth()
			if c.want == "" {
				assert.Empty(t, said.String())
			} else {
				assert.Contains(t, said.String(), c.want)
			}
		})
	}
}

// TestServeWarnsThatItLetsNobodyIn: once, however long it takes until a node knows.
func TestServeWarnsThatItLetsNobodyIn(t *testing.T) {
	const locked = "lets nobody do anything"
	s := single(t, t.TempDir())
	said := &output{}
	s.log = slog.New(slog.NewTextHandler(said, nil))
	_, stop := runs(t, s)
	require.NoError(t, stop())
	assert.NotContains(t, said.String(), locked, "there is no administrator yet")

	s.config.Auth = config.Auth{
		Mode: config.ModeOIDC, MaxPolicyStaleness: time.Second, Bootstrap: "user:o/alice",
		Issuers: []config.Issuer{{ // it is down
			Name: "o", URL: "http://127.0.0.1:1", Audiences: []string{"x"}, Scopes: map[string][]string{"all": {"bind"}},
		}},
	}
	_, stop = runs(t, s)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "the cluster has its first administrator") }, 10*time.Second, time.Millisecond)
	require.NoError(t, stop())
	assert.NotContains(t, said.String(), locked, "callers can say who they are")

	s.config.Auth = config.Auth{}
	_, stop = runs(t, s)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), locked) }, 10*time.Second, time.Millisecond)
	require.NoError(t, stop())
	assert.Equal(t, 1, strings.Count(said.String(), locked))
}

// late is a node that knows nothing for a while, and then nothing new.
type late struct {
	forming, linearized int
}

func (l *late) Linearize(context.Context) error {
	l.linearized++
	return node.ErrNoQuorum
}

func (l *late) View() (*fsm.View, node.Freshness, error) {
	if l.forming--; l.forming < 0 {
		return nil, node.Freshness{}, node.ErrStopped
	}
	return nil, node.Freshness{}, node.ErrForming
}

func TestTheWarningWaitsAndEndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, start := &server{log: slog.New(slog.DiscardHandler)}, time.Now()
		n := &late{forming: 60}
		s.warnLocked(t.Context(), n)
		assert.Equal(t, 60*lockedPoll, time.Since(start))
		assert.Equal(t, 61, n.linearized)

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.warnLocked(ctx, &late{forming: 1_000_000})
		require.Error(t, ctx.Err())
	})
}
