package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Client talks to a Confman cluster. Safe for concurrent use.
type Client struct {
	http      *http.Client
	endpoints *endpoints
	opts      Options
	turn      *atomic.Uint64 // spreads requests that are to be spread
	seen      *atomic.Uint64 // the greatest revision that the session saw; nil: it is none
}

// Options is what a Client is made from. The zero value of a field means its default.
type Options struct {
	// Endpoints are the nodes' API addresses, such as http://10.0.1.10:5000; http
	// is assumed if there is no scheme. At least one. The first that is well is asked:
	// name the nearest first.
	Endpoints []string
	// HTTP sends the requests (default: one of its own). Its Timeout should be
	// zero: it would cut exports.
	HTTP *http.Client
	// CAFile names a PEM file with the certificates that those of https endpoints must lead to
	// (default: the ones that the system trusts). Not together with HTTP, which has its own.
	CAFile string
	// CertFile and KeyFile name a client certificate and its key, in PEM, to show to https endpoints. They
	// are read again for each connection. Not together with HTTP.
	CertFile, KeyFile string
	// Token gives the token that requests carry (default: they carry none). It is sent to https
	// endpoints and to loopback only, and never follows a redirect. A request that is refused with 401
	// is sent again, once, if there is another token then.
	Token TokenSource
	// PlainTextToken lets Token be sent to endpoints beyond loopback without TLS: whoever is between can
	// use it.
	PlainTextToken bool
	// MaxAttempts bounds the attempts of one request; negative: only the context does.
	MaxAttempts int
	// AttemptTimeout bounds one attempt, and the silence within a stream.
	AttemptTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause between two rounds over all endpoints.
	MinBackoff, MaxBackoff time.Duration
	// OnRetry is called with what the last attempt met before each pause; it may be
	// called from several goroutines. nil: nobody is told.
	OnRetry func(error)
}

// New makes a client. It connects to nothing yet. It fails only on opts.
func New(opts Options) (*Client, error) {
	if len(opts.Endpoints) == 0 {
		return nil, errors.New("client: no endpoints: name at least one node, such as http://127.0.0.1:5000")
	}
	list := make([]*endpoint, len(opts.Endpoints))
	for i, raw := range opts.Endpoints {
		u, err := parseEndpoint(raw)
		if err != nil {
			return nil, err
		}
		list[i] = &endpoint{url: u}
	}
	switch {
	case opts.HTTP == nil:
		t := newTransport()
		var err error
		if t.TLSClientConfig, err = opts.tlsConfig(); err != nil {
			return nil, err
		}
		opts.HTTP = &http.Client{Transport: t}
	case opts.CAFile != "" || opts.CertFile != "" || opts.KeyFile != "":
		return nil, errors.New("client: both HTTP and CAFile, CertFile or KeyFile: the client in HTTP has a transport that knows whom to trust and what to show")
	}
	if opts.Token != nil {
		if err := checkPlainText(list); err != nil && !opts.PlainTextToken {
			return nil, err
		}
		opts.HTTP = withoutRedirects(opts.HTTP)
	}
	def(&opts.MaxAttempts, DefaultMaxAttempts)
	def(&opts.AttemptTimeout, DefaultAttemptTimeout)
	def(&opts.MinBackoff, DefaultMinBackoff)
	def(&opts.MaxBackoff, DefaultMaxBackoff)
	return &Client{http: opts.HTTP, endpoints: newEndpoints(list), opts: opts, turn: new(atomic.Uint64)}, nil
}

// Session returns a client that reads what it has written, and never an older state than it
// has seen, whichever nodes answer: it carries the greatest revision that an answer to it
// told, and a node that is not there yet waits, or another is asked. Whoever shares the
// session shares the promise. It shares the connections and what is known of the nodes
// with c. If the cluster is restored from a backup, one read is told so: IsRevisionLost.
func (c *Client) Session() *Client {
	s := *c
	s.seen = new(atomic.Uint64)
	return &s
}

// SeenRevision is the greatest revision that the session saw, 0 if c is none. It can be
// handed to another process, which reads on from there with ReadOptions.MinRevision.
func (c *Client) SeenRevision() uint64 {
	if c.seen == nil {
		return 0
	}
	return c.seen.Load()
}

// observe remembers the revision of an answer.
func (c *Client) observe(h http.Header) { c.saw(metaOf(h).Revision) }

// saw remembers a revision.
func (c *Client) saw(now uint64) {
	if c.seen == nil {
		return
	}
	for {
		was := c.seen.Load()
		if now <= was || c.seen.CompareAndSwap(was, now) {
			return
		}
	}
}

// Endpoints returns the addresses as Options gave them.
func (c *Client) Endpoints() []string { return c.endpoints.urls() }

// parseEndpoint returns the address without a slash at its end.
func parseEndpoint(raw string) (string, error) {
	s := strings.TrimSpace(raw)
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("client: endpoint %q is not an address such as http://127.0.0.1:5000", raw)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// tlsConfig is whom to trust and what to show; nil: as the system has it, and nothing.
func (o *Options) tlsConfig() (*tls.Config, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, fmt.Errorf("client: CertFile is %q and KeyFile is %q: both are needed, or none", o.CertFile, o.KeyFile)
	}
	if o.CAFile == "" && o.CertFile == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		roots, err := readRoots(o.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = roots
	}
	if cert, key := o.CertFile, o.KeyFile; cert != "" {
		read := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("client: certificate %s with key %s: %w", cert, key, err)
			}
			return &pair, nil
		}
		if _, err := read(); err != nil {
			return nil, err
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return read() }
	}
	return cfg, nil
}

// readRoots reads the certificates to trust.
func readRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file) //nolint:gosec // who makes the client names the file
	if err != nil {
		return nil, fmt.Errorf("client: CAFile: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("client: CAFile: %s holds no certificate in PEM", file)
	}
	return roots, nil
}

// newTransport is net/http's default but for what matters here: a node that is
// off is found out soon, connections are kept for imports, and nothing is compressed.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: DialTimeout, KeepAlive: 15 * time.Second}).DialContext
	t.TLSHandshakeTimeout = 2 * DialTimeout
	t.MaxIdleConnsPerHost = MaxInFlight
	t.DisableCompression = true
	t.WriteBufferSize = 64 << 10
	t.ReadBufferSize = 64 << 10
	return t
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
