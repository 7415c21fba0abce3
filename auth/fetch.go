package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

// boundedTransport bounds the bodies of responses. go-oidc reads a discovery document
// to its end, however far that is.
type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: MaxResponseBytes}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

var errTooLong = fmt.Errorf("a response of more than %d bytes", MaxResponseBytes)

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// discover is the address of issuer's keys. go-oidc compares the issuer that the document
// names: the document of "common" names none that exists.
func discover(ctx context.Context, client *http.Client, issuer string) (string, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
	if err != nil {
		return "", err
	}
	var doc struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&doc); err != nil {
		return "", err
	}
	if doc.URL == "" {
		return "", errors.New("the discovery document has no jwks_uri")
	}
	u, err := url.Parse(doc.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return "", fmt.Errorf("jwks_uri of the discovery document is not a URL: %q", short(doc.URL))
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname()) || strings.HasPrefix(issuer, "https:")):
		return "", fmt.Errorf("jwks_uri of the discovery document is not https: %q", short(doc.URL))
	}
	return doc.URL, nil
}

// fetchKeys are the keys of the JWK set at address that tokens of t can be signed with, and
// why the others cannot.
func fetchKeys(ctx context.Context, client *http.Client, address string, t trust) (keys []*key, unfit []error, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %s", short(address), resp.Status)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, nil, fmt.Errorf("the key set is not JSON: %w", err)
	}
	// An empty list is an issuer that withdrew all its keys; no list is not a key set.
	if doc.Keys == nil {
		return nil, nil, errors.New("the key set has no list of keys")
	}
	if n := len(doc.Keys); n > MaxKeys {
		return nil, nil, fmt.Errorf("the key set has %d keys, at most %d", n, MaxKeys)
	}
	for n, raw := range doc.Keys {
		k, err := parseKey(raw, t)
		if err != nil {
			unfit = append(unfit, fmt.Errorf("key %d: %w", n, err))
			continue
		}
		keys = append(keys, k)
	}
	return keys, unfit, nil
}
