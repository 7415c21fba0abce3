package httpapi

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/auth/localissuer"
	"github.com/confman/confman/fsm"
)

// BenchmarkGetAuthenticated reads one key over loopback, in turns by anybody from a node without
// authentication, and by a user with a token from one that has a policy of a thousand namespaces. %anybody
// is the throughput of the latter as a share of the former: 80 is asked for.
func BenchmarkGetAuthenticated(b *testing.B) {
	for _, groups := range []int{0, 20, 200} {
		b.Run(fmt.Sprint("groups=", groups), func(b *testing.B) {
			const target = config + "/teams/payments/stripe/timeout-ms"
			open := newFixture(b)
			open.Now = time.Now
			open.ok("PUT", target, "30")
			known, header := authenticated(b, groups)
			known.ok("PUT", target, "30", header)

			const connections, turn = 16, 2_000
			anybody, user := dial(b, open, target, connections), dial(b, known, target, connections, header)
			anybody.run(b, turn)
			user.run(b, turn)
			b.ResetTimer()
			var openTime, knownTime time.Duration
			for done := 0; done < b.N; done += turn {
				n := min(turn, b.N-done)
				openTime += anybody.run(b, n)
				knownTime += user.run(b, n)
			}
			b.ReportMetric(float64(openTime.Nanoseconds())/float64(b.N), "anybody-ns/op")
			b.ReportMetric(float64(knownTime.Nanoseconds())/float64(b.N), "user-ns/op")
			b.ReportMetric(100*float64(openTime)/float64(knownTime), "%anybody")
		})
	}
}

// BenchmarkGetAuthenticatedHandler is the handler alone.
func BenchmarkGetAuthenticatedHandler(b *testing.B) {
	for _, groups := range []int{0, 20, 200} {
		b.Run(fmt.Sprint("groups=", groups), func(b *testing.B) {
			f, header := authenticated(b, groups)
			f.ok("PUT", config+"/teams/payments/stripe/timeout-ms", "30", header)
			r, err := http.NewRequest("GET", config+"/teams/payments/stripe/timeout-ms", nil)
			require.NoError(b, err)
			r.Header.Set("Authorization", header[len("Authorization: "):])
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				f.ServeHTTP(w, r)
			}
		})
	}
}

// authenticated is an API that takes tokens of a provider of its own, and the header of one of a user
// who is in so many groups, and may edit what it reads by the last of them, or by name.
func authenticated(b *testing.B, groups int) (f *fixture, header string) {
	b.Helper()
	const audience = "0d3b1d3e-4f5a-4a43-9d0c-0c1c7c7d7a10"
	p, err := localissuer.Start("127.0.0.1:0", localissuer.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, p.Close()) })
	who := localissuer.Token{
		Tenant: tenant, Audience: audience, Object: "5b0f6c0e-1111-4222-8333-944455556666", App: "6b0f6c0e-1111-4222-8333-944455556666", Scope: "Config",
	}
	subject := user(who.Object)
	for i := range groups {
		id := fmt.Sprintf("7b0f6c0e-1111-4222-8333-%012d", i)
		who.Groups = append(who.Groups, id)
		subject = "group:entra/" + tenant + "/" + id
	}
	token, err := p.Issue(who)
	require.NoError(b, err)
	f = newFixture(b)
	guarded(f)
	for i := range 1_000 {
		f.bind(fmt.Sprintf("teams/%s/", hex.EncodeToString([]byte{byte(i >> 8), byte(i)})), fsm.RoleEditor, fmt.Sprint("somebody-", i))
	}
	n := fsm.Namespace{Bindings: []fsm.Binding{{Role: fsm.RoleEditor, Subjects: []string{subject}}}}
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: "teams/payments/", Value: n.Encode()}}})
	f.Now = time.Now
	f.api.Auth, err = auth.New(auth.Config{Issuers: []auth.Issuer{{
		Name: "entra", EntraTenants: []string{tenant}, EntraURL: p.Base(), EntraV1URL: p.EntraV1URL(),
		Audiences: []string{audience}, Scopes: map[string][]string{"Config": {"read", "write"}},
	}}})
	require.NoError(b, err)
	f.Scopes = map[string]map[string]fsm.Verbs{"entra": {"Config": fsm.VerbRead | fsm.VerbWrite}}
	return f, "Authorization: Bearer " + token
}
