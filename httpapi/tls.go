package httpapi

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Certificate is a certificate with its key, from two files that are read again when they
// change: a renewed certificate goes into the next handshake, and no connection is dropped.
//
// There is no watcher: a handshake looks at the files if nobody did for certificateCheck. Files
// that do not fit together, or cannot be read, leave the certificate as it was: they may be in
// the middle of being replaced. Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]

	mu      sync.Mutex // held by who looks at the files; the others do not wait
	checked time.Time
	loaded  [2]os.FileInfo // the files that current is from
	told    string         // what was said last about others
}

// LoadCertificate reads a certificate, with those of its issuers, and its key, in PEM.
// The logger hears of each renewal, and of what is in its way.
func LoadCertificate(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger, now: time.Now}
	files, err := c.stat()
	if err == nil {
		err = c.load(files)
	}
	if err != nil {
		return nil, err
	}
	c.checked = c.now()
	return c, nil
}

func (c *Certificate) stat() (files [2]os.FileInfo, err error) {
	for i, name := range [...]string{c.certFile, c.keyFile} {
		if files[i], err = os.Stat(name); err != nil {
			return files, fmt.Errorf("certificate: %w", err)
		}
	}
	return files, nil
}

func (c *Certificate) load(files [2]os.FileInfo) error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&cert)
	c.loaded, c.told = files, ""
	attrs := []any{
		slog.String("file", c.certFile), slog.Time("not_before", cert.Leaf.NotBefore), slog.Time("not_after", cert.Leaf.NotAfter),
	}
	if now := c.now(); now.Before(cert.Leaf.NotBefore) || now.After(cert.Leaf.NotAfter) {
		c.logger.Warn("the certificate is not valid now: clients will refuse it", attrs...)
	} else {
		c.logger.Info("certificate loaded", attrs...)
	}
	return nil
}

// get is tls.Config's GetCertificate.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		c.check()
		c.mu.Unlock()
	}
	return c.current.Load(), nil
}

// check loads the files again if they are not those that were loaded.
func (c *Certificate) check() {
	now := c.now()
	if d := now.Sub(c.checked); d >= 0 && d < certificateCheck {
		return
	}
	c.checked = now
	files, err := c.stat()
	if err == nil {
		if same(files, c.loaded) {
			return
		}
		err = c.load(files)
	}
	if err != nil && err.Error() != c.told { // said once, but tried again each time
		c.told = err.Error()
		c.logger.Warn("the certificate cannot be renewed, the one before is kept", slog.Any("error", err))
	}
}

// same tells whether the files are those of before, unchanged.
func same(now, before [2]os.FileInfo) bool {
	return slices.EqualFunc(now[:], before[:], func(a, b os.FileInfo) bool {
		return b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}

// tlsConfig is TLS 1.3, or 1.2 with forward secrecy and authenticated encryption: what RFC 9325
// recommends and HTTP/2 (RFC 9113 §9.2) takes. Go chooses the suites of 1.3 itself.
func (c *Certificate) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: c.get,
	}
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
