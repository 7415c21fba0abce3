package auth

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAValidConfig(t *testing.T) {
	require.NoError(t, newWorld(t).config().Validate())
	require.NoError(t, Config{}.Validate(), "nobody is believed")
	require.NoError(t, Config{Issuers: []Issuer{{Name: "corp", EntraTenants: []string{tenantA}, Audiences: []string{apiID}}}}.Validate())
}

// TestValidateNamesEverything at once.
func TestValidateNamesEverything(t *testing.T) {
	cfg := Config{
		Issuers: []Issuer{
			{},
			{Name: "Bad Name", URL: "http://login.example.com", Audiences: []string{"", "https://graph.microsoft.com/"}},
			{Name: "a", URL: "https://x.example.com", EntraTenants: []string{tenantA}},
			{Name: "a", EntraTenants: []string{"common", tenantA, strings.ToUpper(tenantA)}, Tenants: []string{"t"}, RequireAtJWT: true, Claims: Claims{Object: "sub"}},
			{Name: "b", URL: "https://u:p@y.example.com/?q#f", EntraURL: "https://z", Algorithms: []string{"none", "HS256", "nOnE", "RS1", "RS256"}},
			{
				Name: "c", URL: "https://y.example.com", Audiences: []string{"a"}, Leeway: 6 * time.Minute, OverageFallback: "ignore",
				Claims: Claims{Object: "email", Name: "a\nb"}, Scopes: map[string][]string{"a b": {"read"}, "c": nil},
			},
			{Name: "d", URL: "https://y.example.com", Audiences: []string{"a"}, Leeway: -1},
			{Name: "e", EntraTenants: []string{tenantB}, EntraURL: "https://l/", EntraV1URL: "ftp://l", Audiences: []string{"a"}},
		},
		Certificates: Certificates{
			URIPrefix: "spiffe://example.org",
			Rules: []CertificateRule{
				{},
				{URI: "a", CommonName: "b", Name: "c"},
				{CommonName: "x", Name: "n"},
				{CommonName: "x", Name: "m"},
				{CommonName: "y", Name: "spiffe://example.org/a"},
			},
		},
		Refresh: time.Second, MinRefresh: time.Millisecond, MaxKeyAge: time.Second,
	}
	err := cfg.Validate()
	require.Error(t, err)
	for _, want := range []string{
		"Issuers[0].Name: missing", "Issuers[0].Url: exactly one", "Issuers[0].Audiences: missing",
		"Issuers[1].Name: \"Bad Name\"", "Issuers[1].Url: \"http://login.example.com\" is not https", "Issuers[1].Audiences[0]: is empty",
		"Issuers[1].Audiences[1]: \"https://graph.microsoft.com/\" is a service of Microsoft",
		"Issuers[2].Url: exactly one",
		"Issuers[3].Name: \"a\" is the Name of Issuers[2]", "Issuers[3].EntraTenants[0]: \"common\"", "Issuers[3].EntraTenants[2]", "Issuers[3].Tenants", "Issuers[3].RequireAtJwt", "Issuers[3].Claims",
		"Issuers[4].Url", "Issuers[4].EntraUrl", "Issuers[4].Algorithms[0]", "Issuers[4].Algorithms[1]", "Issuers[4].Algorithms[2]", "Issuers[4].Algorithms[3]",
		"Issuers[5].Leeway", "Issuers[5].OverageFallback", "Issuers[5].Claims.Object", "Issuers[5].Claims.Name", "Issuers[5].Scopes: \"a b\"", "Issuers[5].Scopes[\"c\"]",
		"Issuers[6]: tokens of https://y.example.com are those of Issuers[5]", "Issuers[6].Leeway",
		"Issuers[7].EntraUrl", "Issuers[7].EntraV1Url",
		"Certificates.Rules[0]: exactly one", "Certificates.Rules[0].Name", "Certificates.Rules[1]: exactly one", "Certificates.Rules[3]: fits what Rules[2]",
		"Certificates.Rules[4].Name", "Certificates.UriPrefix",
		"MinRefresh", "MaxKeyAge",
	} {
		assert.Contains(t, err.Error(), want)
	}
	assert.NotContains(t, err.Error(), "Algorithms[4]")
	_, newErr := New(cfg)
	require.Error(t, newErr)
}

func TestURLs(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://login.example.com": true, "https://login.example.com/a/": true, "http://127.0.0.1:8400/oidc": true,
		"http://localhost:1": true, "http://[::1]:1": true,
		"http://example.com": false, "http://127.0.0.1.example.com": false, "http://localhost.example.com": false,
		"//example.com": false, "example.com": false, "https://": false, "https://:443": false, "https://a?": false, "": false,
	} {
		assert.Equal(t, ok, checkURL(url) == nil, url)
	}
}

// TestNothingOfAConfigIsShared: its owner may go on changing it.
func TestNothingOfAConfigIsShared(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Issuers[0].Clients = []string{appID}
	a, err := New(cfg)
	require.NoError(t, err)
	cfg.Issuers[0].Clients[0] = robot
	cfg.Issuers[0].Audiences[0] = "other"
	cfg.Issuers[0].EntraTenants[0] = foreign
	delete(cfg.Issuers[0].Scopes, "Config.Read")
	_, err = a.Token(t.Context(), w.edit(user()))
	require.NoError(t, err)
}

// TestEveryReasonIsDocumented, with the status that it has, and none that there is not.
func TestEveryReasonIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/tokens.md")
	require.NoError(t, err)
	rows := map[string]string{}
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(line, "|")
		if len(cells) > 4 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") && len(strings.TrimSpace(cells[2])) == 3 {
			rows[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
		}
	}
	want := map[string]string{}
	for _, r := range Reasons() {
		want[string(r)] = map[int]string{401: "401", 403: "403", 503: "503"}[r.Status()]
	}
	assert.Equal(t, want, rows)
}

// TestEveryReasonHappens in some case.
func TestEveryReasonHappens(t *testing.T) {
	happens := map[Reason]bool{
		KeysUnavailable: true,                           // TestStartUpDoesNotNeedTheIssuer
		BadCertificate:  true, UnknownCertificate: true, // TestCertificates
	}
	for _, c := range tokenCases {
		happens[c.want] = true
	}
	for _, r := range Reasons() {
		assert.True(t, happens[r], r)
	}
}
