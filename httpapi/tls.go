package httpapi

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/confman/confman/tlsfiles"
)

// CertificateFiles are what a Server proves its name with, in PEM. Files that are replaced are
// read again, by the next handshake, and no connection is dropped.
type CertificateFiles struct {
	// CertFile is the certificate, then those of its issuers; KeyFile is its key.
	CertFile, KeyFile string
	// ClientCAFile is a bundle of CAs: clients may show a certificate of one of them, and
	// handlers find it verified in Request.TLS.VerifiedChains. One that does not verify is
	// refused. Nobody needs one. A CA that is taken out is believed by no new connection; those
	// that are open go on. "": no client is asked.
	ClientCAFile string
	// Now is the wall clock (default time.Now).
	Now func() time.Time
}

// Certificate is what was read from CertificateFiles. Safe for concurrent use.
type Certificate struct {
	files   *tlsfiles.Source
	clients bool // are asked for a certificate
}

// LoadCertificate reads the files. The logger hears of each renewal, and of what is in its way.
func LoadCertificate(files CertificateFiles, logger *slog.Logger) (*Certificate, error) {
	source, err := tlsfiles.Load(tlsfiles.Config{
		CertFile: files.CertFile, KeyFile: files.KeyFile, CAFile: files.ClientCAFile, Logger: logger, Now: files.Now,
	})
	if err != nil {
		return nil, err
	}
	return &Certificate{source, files.ClientCAFile != ""}, nil
}

// Current is what the next handshake uses.
func (c *Certificate) Current() *tlsfiles.Material { return c.files.Current() }

// tlsConfig is TLS 1.3, or 1.2 with forward secrecy and authenticated encryption: what RFC 9325
// recommends and HTTP/2 (RFC 9113 §9.2) takes. Go chooses the suites of 1.3 itself.
func (c *Certificate) tlsConfig() *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.files.Current().Certificate, nil },
	}
	if c.clients {
		// Which CAs are believed may change, and a tls.Config may not. Go resumes a session
		// only if its client would be believed now.
		base := cfg.Clone()
		cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := c.files.Current()
			now := base.Clone()
			now.ClientAuth, now.ClientCAs = tls.VerifyClientCertIfGiven, m.CAs
			return now, nil
		}
	}
	return cfg
}

// http2 bounds what one connection may ask for at a time.
func http2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          MaxStreams,
		MaxReceiveBufferPerConnection: MaxConnectionBufferBytes,
		MaxReceiveBufferPerStream:     MaxStreamBufferBytes,
		SendPingTimeout:               PingInterval,
		PingTimeout:                   PingTimeout,
		WriteByteTimeout:              TransferTimeout,
	}
}
