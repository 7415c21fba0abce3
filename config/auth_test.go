package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// loadAuth loads a node at an address with a section Auth, and what else follows it.
func loadAuth(t *testing.T, address, auth string, environ ...string) (Auth, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "confman.json")
	text := `{"Cluster":{"NodeId":"a","Nodes":[{"Id":"a","Address":"` + address + `"}]},"Raft":{"PlainText":true},"Data":{"Dir":"/d"},"Auth":` + auth + `}`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	c, err := Load(path, environ, nil)
	return c.Auth, err
}

func TestAuthIsRead(t *testing.T) {
	a, err := loadAuth(t, "10.0.1.10", `{
		"Mode": "oidc", "Bootstrap": "user:entra/t/o", "MaxPolicyStaleness": "2s", "Refresh": "1m", "MinRefresh": "10s", "MaxKeyAge": "12h",
		"Issuers": [
			{"Name": "entra", "EntraTenants": ["t1", "t2"], "EntraUrl": "https://a", "EntraV1Url": "https://b", "Audiences": ["x", "y"],
			 "Clients": ["c"], "Scopes": {"Config.Read": ["read"], "Config.All": ["read", "write"]}, "OverageFallback": "roles"},
			{"Name": "other", "Url": "https://o", "Audiences": ["x"], "Algorithms": ["ES256"], "Tenants": ["t"], "Leeway": "30s", "RequireAtJwt": true,
			 "Claims": {"Tenant": "1", "Object": "sub", "App": "3", "Roles": "4", "Groups": "5", "Scopes": "scope", "Name": "7"}}],
		"Certificates": {"CaFile": "/ca", "UriPrefix": "spiffe://e/", "Rules": [{"Uri": "u", "Name": "n"}, {"CommonName": "c", "Name": "m"}, {"Subject": "s", "Name": "k"}]}
	}`, "CONFMAN_Api__Tls__CertFile=/c", "CONFMAN_Api__Tls__KeyFile=/k")
	require.NoError(t, err)
	assert.Equal(t, Auth{
		Mode: "oidc", Bootstrap: "user:entra/t/o", MaxPolicyStaleness: 2 * time.Second, Refresh: time.Minute, MinRefresh: 10 * time.Second, MaxKeyAge: 12 * time.Hour,
		Issuers: []Issuer{
			{
				Name: "entra", EntraTenants: []string{"t1", "t2"}, EntraURL: "https://a", EntraV1URL: "https://b", Audiences: []string{"x", "y"},
				Clients: []string{"c"}, Scopes: map[string][]string{"Config.Read": {"read"}, "Config.All": {"read", "write"}}, OverageFallback: "roles",
			},
			{
				Name: "other", URL: "https://o", Audiences: []string{"x"}, Algorithms: []string{"ES256"}, Tenants: []string{"t"}, Leeway: 30 * time.Second, RequireAtJWT: true,
				Claims: Claims{Tenant: "1", Object: "sub", App: "3", Roles: "4", Groups: "5", Scopes: "scope", Name: "7"},
			},
		},
		Certificates: Certificates{CAFile: "/ca", URIPrefix: "spiffe://e/", Rules: []CertificateRule{
			{URI: "u", Name: "n"}, {CommonName: "c", Name: "m"}, {Subject: "s", Name: "k"},
		}},
	}, a)
	assert.False(t, a.Open())
}

func TestAuthFromTheEnvironment(t *testing.T) {
	a, err := loadAuth(t, "10.0.1.10", `{"Mode": "none"}`,
		"CONFMAN_Auth__Mode=oidc", "CONFMAN_Auth__Bootstrap=cert:deploy", "CONFMAN_Auth__MaxPolicyStaleness=3s",
		`CONFMAN_Auth__Issuers=[{"Name":"o","Url":"https://o","Audiences":["x"],"Scopes":{"Config.Read":["read"]}}]`)
	require.NoError(t, err)
	assert.Equal(t, Auth{
		Mode: "oidc", Bootstrap: "cert:deploy", MaxPolicyStaleness: 3 * time.Second,
		Issuers: []Issuer{{Name: "o", URL: "https://o", Audiences: []string{"x"}, Scopes: map[string][]string{"Config.Read": {"read"}}}},
	}, a)
	a, err = loadAuth(t, "10.0.1.10", `{"Mode": "none"}`, "CONFMAN_Auth__AnyoneMayReadAndWrite=true")
	require.NoError(t, err)
	assert.True(t, a.AnyoneMayReadAndWrite)
	assert.True(t, a.Open())
}

// TestOnLoopbackNobodyProvesAnything unless the file says so.
func TestOnLoopbackNobodyProvesAnything(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "127.3.2.1", "::1", "localhost", "LOCALHOST"} {
		for _, auth := range []string{`{}`, `{"Mode": "none"}`} {
			a, err := loadAuth(t, address, auth)
			require.NoError(t, err, address)
			assert.True(t, a.Open())
			assert.Equal(t, DefaultMaxPolicyStaleness, a.MaxPolicyStaleness)
		}
	}
}

func TestFaultsOfAuth(t *testing.T) {
	const issuers = `"Issuers": [{"Name": "o", "Url": "https://o", "Audiences": ["x"]}]`
	cases := []struct{ name, address, auth, want string }{
		{
			"no mode beyond loopback", "10.0.1.10", `{}`,
			`Auth.Mode: missing, and node a is reached at 10.0.1.10, from beyond this machine: set "oidc" and name Issuers or Certificates`,
		},
		{
			"none beyond loopback", "confman.example.com", `{"Mode": "none"}`,
			"Auth.Mode: none, and node a is reached at confman.example.com, from beyond this machine: whoever reaches it could read and write everything; set oidc, or, if that is what you want, Auth.AnyoneMayReadAndWrite to true",
		},
		{"all interfaces", "0.0.0.0", `{"Mode": "none"}`, "Auth.Mode: none, and node a is reached at 0.0.0.0"},
		{"the override alone", "10.0.1.10", `{"AnyoneMayReadAndWrite": true}`, "Auth.Mode: missing"},
		{"the override is not true", "10.0.1.10", `{"Mode": "none", "AnyoneMayReadAndWrite": "yes"}`, `Auth.AnyoneMayReadAndWrite: "yes", want true or false`},
		{"other mode", "127.0.0.1", `{"Mode": "OIDC"}`, `Auth.Mode: "OIDC", want oidc or none`},
		{"nobody to believe", "127.0.0.1", `{"Mode": "oidc"}`, "Auth: Mode is oidc, and nobody could prove who they are: name at least one of Issuers, or Certificates"},
		{"override of nothing", "127.0.0.1", `{"Mode": "oidc", "AnyoneMayReadAndWrite": true, ` + issuers + `}`, "Auth.AnyoneMayReadAndWrite: true, and Mode is oidc: remove one of the two"},
		{"issuers for nothing", "127.0.0.1", `{` + issuers + `}`, "Auth: Issuers or Certificates are there, and nobody is asked for what they prove"},
		{"administrator whom nobody can be", "127.0.0.1", `{"Mode": "none", "Bootstrap": "cert:a"}`, "Auth.Bootstrap: with Mode none nobody can prove to be the administrator"},
		{"no bound", "127.0.0.1", `{"MaxPolicyStaleness": "0"}`, "Auth.MaxPolicyStaleness: 0s is not more than 0s, up to 1m0s"},
		{"no bound worth the name", "127.0.0.1", `{"MaxPolicyStaleness": "61s"}`, "Auth.MaxPolicyStaleness: 1m1s is not more than 0s, up to 1m0s"},
		{"certificates of whom", "127.0.0.1", `{"Mode": "oidc", "Certificates": {"UriPrefix": "spiffe://e/"}}`, "Auth.Certificates.CaFile: missing"},
		{"certificates for whom", "127.0.0.1", `{"Mode": "oidc", "Certificates": {"CaFile": "/ca"}}`, "Auth.Certificates: neither Rules nor UriPrefix"},
		{"certificates without TLS", "127.0.0.1", `{"Mode": "oidc", "Certificates": {"CaFile": "/ca", "UriPrefix": "spiffe://e/"}}`, "Auth.Certificates: clients can show certificates over TLS only: set Api.Tls"},
		{"everything at once", "10.0.1.10", `{"Bootstrap": "x", "MaxPolicyStaleness": "1h", "Mode": "none"}`, `Auth.Mode: none, and node a is reached at 10.0.1.10, from beyond this machine: whoever reaches it could read and write everything; set oidc, or, if that is what you want, Auth.AnyoneMayReadAndWrite to true
Auth.Bootstrap: with Mode none nobody can prove to be the administrator, and once there is one, nobody else may do anything: set Mode to oidc, or remove it
Auth.MaxPolicyStaleness: 1h0m0s is not`},
		{"key of an issuer", "127.0.0.1", `{"Issuers": [{"URL": "https://o"}]}`, "unknown key Auth.Issuers[0].URL: did you mean Auth.Issuers[].Url?"},
		{"scopes that are a list", "127.0.0.1", `{"Issuers": [{"Scopes": ["read"]}]}`, "Auth.Issuers[0].Scopes: a list, want an object"},
		{"scope that is a text", "127.0.0.1", `{"Issuers": [{"Scopes": {"Config.Read": "read"}}]}`, `Auth.Issuers[0].Scopes.Config.Read: "read", want a list`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadAuth(t, c.address, c.auth)
			require.ErrorContains(t, err, c.want)
		})
	}
}
