package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

const (
	unauthenticated = `{"type":"urn:confman:problem:unauthenticated","title":"It cannot be told who calls","detail":"the token has expired","status":401,"outcome":"not_applied","retryable":false}`
	written         = `{"path":"a","revision":58}`
)

// doorman lets in who has the token of the day, and writes down what each request had.
type doorman struct {
	*server
	mu    sync.Mutex
	good  string
	shown []string
}

func newDoorman(t *testing.T, good string, handler http.HandlerFunc) *doorman {
	t.Helper()
	d := &doorman{good: good}
	d.server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		token := r.Header.Get("Authorization")
		d.shown = append(d.shown, token)
		in := token == "Bearer "+d.good
		d.mu.Unlock()
		if !in {
			answer(http.StatusUnauthorized, unauthenticated)(w, r)
			return
		}
		handler(w, r)
	})
	return d
}

// dialWith makes a client with a token.
func dialWith(t *testing.T, endpoint string, source client.TokenSource) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Endpoints: []string{endpoint}, MaxAttempts: 6, MinBackoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond, Token: source})
	require.NoError(t, err)
	return c
}

func write(t *testing.T, c *client.Client) error {
	t.Helper()
	_, _, err := c.Put(t.Context(), "a", []byte("1"), "text/plain", client.WriteOptions{})
	return err
}

func TestTokenIsSent(t *testing.T) {
	d := newDoorman(t, "t0ken", answer(http.StatusOK, written))
	require.NoError(t, write(t, dialWith(t, d.URL, client.StaticToken(" t0ken\n"))))
	err := write(t, dial(t, d.URL))
	require.True(t, client.IsUnauthenticated(err), err)
	assert.False(t, client.IsForbidden(err))
	assert.Equal(t, client.NotApplied, client.OutcomeOf(err))
	assert.Equal(t, []string{"Bearer t0ken", ""}, d.shown)
}

// TestTokenIsRefused: it is sent again once, if the source has another.
func TestTokenIsRefused(t *testing.T) {
	d := newDoorman(t, "new", answer(http.StatusOK, written))
	var asked []string
	require.NoError(t, write(t, dialWith(t, d.URL, func(_ context.Context, refused string) (string, error) {
		asked = append(asked, refused)
		if refused == "old" {
			return "new", nil
		}
		return "old", nil
	})))
	assert.Equal(t, []string{"", "old"}, asked)
	assert.Equal(t, []string{"Bearer old", "Bearer new"}, d.shown)

	for name, source := range map[string]client.TokenSource{
		"the same": client.StaticToken("s3cret-1"),
		"another that is no better": func(_ context.Context, refused string) (string, error) {
			return "s3cret-" + fmt.Sprint(1+len(refused)), nil
		},
		"none": func(_ context.Context, refused string) (string, error) {
			if refused != "" {
				return "", errors.New("the issuer is down")
			}
			return "s3cret-1", nil
		},
	} {
		before := d.requests.Load()
		err := write(t, dialWith(t, d.URL, source))
		require.Error(t, err, name)
		assert.LessOrEqual(t, d.requests.Load()-before, int64(2), name)
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "s3cret", name)
		assert.Equal(t, client.NotApplied, client.OutcomeOf(err), name)
	}
}

func TestTokenSourceFails(t *testing.T) {
	d := newDoorman(t, "", answer(http.StatusOK, written))
	for text, source := range map[string]client.TokenSource{
		"the issuer is down": func(context.Context, string) (string, error) { return "", errors.New("the issuer is down") },
		"it is empty":        client.StaticToken(" \n"),
		"has spaces":         client.StaticToken("s3cret and another"),
		"has more than":      client.StaticToken(strings.Repeat("s3cret", 10_000)),
		"no such file":       client.TokenFile(filepath.Join(t.TempDir(), "none")),
	} {
		err := write(t, dialWith(t, d.URL, source))
		require.ErrorContains(t, err, text)
		require.ErrorIs(t, err, client.ErrToken)
		assert.False(t, client.IsUnavailable(err))
		assert.NotContains(t, err.Error(), "s3cret")
		assert.Equal(t, client.NotApplied, client.OutcomeOf(err))
	}
	assert.Zero(t, d.requests.Load(), "what has no token is not sent")
}

// TestTokenFileIsReadAgain when it changed, as by whoever renews it.
func TestTokenFileIsReadAgain(t *testing.T) {
	d := newDoorman(t, "one", answer(http.StatusOK, written))
	path := filepath.Join(t.TempDir(), "token")
	put := func(token string) { require.NoError(t, os.WriteFile(path, []byte(token+"\n"), 0o600)) }
	put("one")
	c := dialWith(t, d.URL, client.TokenFile(path))
	require.NoError(t, write(t, c))
	put("three")
	d.mu.Lock()
	d.good = "three"
	d.mu.Unlock()
	require.NoError(t, write(t, c))
	assert.Equal(t, []string{"Bearer one", "Bearer three"}, d.shown)

	// A change that cannot be seen, of the same size in the same instant, is found by the refusal.
	info, err := os.Stat(path)
	require.NoError(t, err)
	put("four5")
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime()))
	d.mu.Lock()
	d.good = "four5"
	d.mu.Unlock()
	require.NoError(t, write(t, c))
	assert.Equal(t, []string{"Bearer three", "Bearer four5"}, d.shown[2:])
	require.NoError(t, write(t, c))
}

// TestTokenStaysOffTheWire where others could read it.
func TestTokenStaysOffTheWire(t *testing.T) {
	for endpoint, sent := range map[string]bool{
		"http://127.0.0.1:1": true, "http://localhost:1": true, "http://[::1]:1": true, "https://10.0.1.10:1": true, "127.0.0.1:1": true,
		"http://10.0.1.10:5000": false, "confman.example.com": false, "http://localhost.example.com": false, "http://127.0.0.1.example.com": false,
	} {
		o := client.Options{Endpoints: []string{"https://a.example.com", endpoint}, Token: client.StaticToken("s3cret")}
		_, err := client.New(o)
		if sent {
			require.NoError(t, err, endpoint)
			continue
		}
		require.ErrorContains(t, err, endpoint)
		require.ErrorContains(t, err, "the token would cross the network in plain text")
		assert.NotContains(t, err.Error(), "s3cret")
		o.PlainTextToken = true
		_, err = client.New(o)
		require.NoError(t, err)
	}
}

// TestTokenFollowsNoRedirect.
func TestTokenFollowsNoRedirect(t *testing.T) {
	other := newDoorman(t, "t0ken", answer(http.StatusOK, written))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	_, _, err := dialWith(t, s.URL, client.StaticToken("t0ken")).Get(t.Context(), "a", client.ReadOptions{})
	require.ErrorContains(t, err, "307")
	assert.Empty(t, other.shown)
}

// TestWatchOutlivesItsToken: it goes on where it was, with the next one.
func TestWatchOutlivesItsToken(t *testing.T) {
	var d *doorman
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("one"), 0o600))
	d = newDoorman(t, "one", func(w http.ResponseWriter, r *http.Request) {
		from := 57
		if q := r.URL.Query().Get("from_revision"); q != "" {
			_, _ = fmt.Sscan(q, &from)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "id: %d\nevent: change\ndata: {\"revision\":%d,\"events\":[{\"path\":\"a\",\"action\":\"delete\"}]}\n\n", from+1, from+1)
		if from == 57 {
			d.mu.Lock()
			d.good = "two"
			d.mu.Unlock()
			if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
				panic(err)
			}
			_, _ = fmt.Fprintf(w, "event: error\ndata: %s\n\n", unauthenticated)
		}
	})
	var got []uint64
	for ch, err := range dialWith(t, d.URL, client.TokenFile(path)).Watch(t.Context(), "", client.WatchOptions{From: 57}) {
		require.NoError(t, err)
		if got = append(got, ch.Revision); len(got) == 2 {
			break
		}
	}
	assert.Equal(t, []uint64{58, 59}, got)
	assert.Equal(t, []string{"Bearer one", "Bearer two"}, d.shown)

	// Without another it ends.
	d.good = "one"
	err := error(nil)
	for _, err = range dialWith(t, d.URL, client.StaticToken("one")).Watch(t.Context(), "", client.WatchOptions{From: 57}) {
		if err != nil {
			break
		}
	}
	require.True(t, client.IsUnauthenticated(err), err)
}

// holder makes a certificate of its own for a client, and returns its files.
func holder(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return cert, key
}

func TestClientCertificateIsShown(t *testing.T) {
	var mu sync.Mutex
	var shown []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		shown = append(shown, r.TLS.PeerCertificates[0].Subject.CommonName)
		mu.Unlock()
		w.Header().Set("Connection", "close")
		answer(http.StatusOK, written)(w, r)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	cert, key := holder(t, dir, "first")
	o := client.Options{Endpoints: []string{s.URL}, CAFile: ca, CertFile: cert, KeyFile: key}
	c, err := client.New(o)
	require.NoError(t, err)
	require.NoError(t, write(t, c))
	holder(t, dir, "renewed")
	require.NoError(t, write(t, c))
	assert.Equal(t, []string{"first", "renewed"}, shown)

	o.KeyFile = ""
	_, err = client.New(o)
	require.ErrorContains(t, err, "both are needed, or none")
	o.KeyFile = filepath.Join(dir, "none")
	_, err = client.New(o)
	require.ErrorContains(t, err, "none")
	o.HTTP = http.DefaultClient
	_, err = client.New(o)
	require.ErrorContains(t, err, "client: both HTTP and CAFile, CertFile or KeyFile")
}
