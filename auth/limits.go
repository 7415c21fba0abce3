package auth

import "time"

const (
	// MaxTokenBytes bounds a token as it was sent; past it, too-large. A token of Entra ID
	// with 200 groups has some 10 KiB.
	MaxTokenBytes = 16 << 10
	// maxDepth bounds the nesting of a token's JSON.
	maxDepth = 16

	// MaxTextBytes bounds each text of an Identity, MaxRoles its roles and MaxGroups its
	// groups: what the replicated log takes of a principal. Past them a token is refused:
	// a cut list of groups would be a lie.
	MaxTextBytes = 512
	MaxRoles     = 64
	MaxGroups    = 200
	// MaxScopes bounds the scopes of one token.
	MaxScopes = 64

	// maxWaiting bounds the tokens that wait for keys at a time, of all issuers; the next one is
	// keys-unavailable at once. While an issuer does not answer, each may wait as long as
	// fetchTimeout, and forged ones would fill whatever bounds the requests of their caller.
	maxWaiting = 256

	// MaxTokens bounds the verified tokens that are remembered: with MaxTokenBytes, their
	// memory to 160 MiB; with tokens of the usual kilobyte it is some 10 MiB.
	MaxTokens = 10_000
)

// Bounds of what is fetched from an issuer. One that exceeds them counts as down.
const (
	// MaxResponseBytes bounds a discovery document and a key set. Entra's have 2 and 30 KiB.
	MaxResponseBytes = 1 << 20
	// MaxKeys bounds the keys of one set.
	MaxKeys = 64
	// fetchTimeout bounds the fetch of both documents together.
	fetchTimeout = 10 * time.Second
	// discoveryAge is how long a discovery document is good for. It says where the keys
	// are, which hardly ever changes; it is also read again when they are not there.
	discoveryAge = time.Hour
	// firstRetry is when an issuer that never answered is asked again; it doubles up to
	// Config.MinRefresh.
	firstRetry = time.Second

	minRSABits, maxRSABits = 2048, 8192
)

// Defaults of a Config and an Issuer, and what they may be.
const (
	// DefaultRefresh is how often keys are fetched: a key that was withdrawn is refused
	// after that.
	DefaultRefresh = 5 * time.Minute
	// DefaultMinRefresh is how often at most tokens with unknown keys cause a fetch.
	DefaultMinRefresh = 30 * time.Second
	// DefaultMaxKeyAge is how long keys are good for that cannot be fetched again: an
	// outage of the issuer up to that long goes unnoticed.
	DefaultMaxKeyAge = 24 * time.Hour

	// DefaultLeeway is by how much this machine's clock and an issuer's may differ.
	DefaultLeeway = time.Minute
	// MaxLeeway bounds it: beyond, clocks are broken, and tokens live visibly longer.
	MaxLeeway = 5 * time.Minute

	// MaxIssuers, MaxTenants and MaxListed bound a configuration: its issuers, the
	// tenants of each, and each other list of it. Each tenant has a key set of its own
	// that is fetched on a timer.
	MaxIssuers = 16
	MaxTenants = 64
	MaxListed  = 1000
	// MaxIssuerNameBytes bounds Issuer.Name, which is a part of many subjects.
	MaxIssuerNameBytes = 32
)

// A failed refresh must have several more chances before keys are too old. Negative: no compile.
const _ = uint(DefaultMaxKeyAge - 10*DefaultRefresh)
