// Package auth says who a caller is: it turns a bearer token of a configured
// OpenID Connect issuer, or a client certificate that the TLS layer has verified,
// into an [Identity]. What the caller may do is decided elsewhere.
//
// # What holds of an Identity from a token
//
//   - Its signature was made, with an algorithm that is allowed, by a key that its
//     issuer published, and that was still published when the issuer was last asked;
//     that is at most Config.MaxKeyAge ago, and Config.Refresh while the issuer answers.
//   - The issuer is a configured one, exactly, and, where the issuer has tenants, the
//     one of the token's own tenant.
//   - It is an access token, for an audience of this service, within its time.
//   - Every claim that is read had the type that was expected. Nothing was cut.
//
// # What a stranger can make us do
//
// A request without a valid token costs a hash of at most MaxTokenBytes, the parsing
// of as much JSON and, if it names a key of a configured issuer, one verification of a
// signature. Nothing of it is remembered. A token that names a key we do not have makes
// us ask its issuer for keys, at most once in Config.MinRefresh for each key set,
// however many come; those that wait share that one fetch, their contexts bound the
// wait, and no more than a few hundred wait at a time. A bad signature under a known key
// fetches nothing. No URL out of a token is ever fetched, neither of its header (jku, x5u)
// nor of its claims (_claim_sources).
//
// # What is cached
//
// Verified tokens, at most MaxTokens, until they expire, and only as long as the newest
// key set of their issuer holds the key that signed them.
//
// go-oidc parses, checks the signature by way of our [oidc.KeySet], and compares the
// issuer. Its key set, its leeway and its audience check are not used: see the tests
// named for its traps.
package auth
