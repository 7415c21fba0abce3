package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config is which files a Source reads. They are PEM.
type Config struct {
	// CertFile is the certificate, then those of its issuers; KeyFile is its key.
	CertFile, KeyFile string
	// CAFile is a bundle: the CAs whose certificates the others may have; "": none.
	CAFile string
	// Check refuses what can be read, but is of no use; nil: everything is of use.
	Check func(m *Material, now time.Time) error
	// Logger hears of each renewal, of what is in its way, and of a certificate that ends.
	Logger *slog.Logger
	// Now is time.Now, but in tests.
	Now func() time.Time
}

// Material is what was in the files at one time. Nobody changes it.
type Material struct {
	Certificate *tls.Certificate // with its Leaf
	CAs         *x509.CertPool   // nil without a CAFile

	cas int // how many CAs there are
}

// Source is what the files hold. There is no watcher: who asks for it looks at the files, if
// nobody did for CheckInterval. Files that do not fit together, or cannot be read, leave
// everything as it was: they may be in the middle of being replaced. Safe for concurrent use.
type Source struct {
	cfg     Config
	current atomic.Pointer[Material]

	mu      sync.Mutex // held by who looks at the files; the others do not wait
	checked time.Time
	loaded  []os.FileInfo // the files that current is from
	told    string        // what was said last about others
	noticed time.Time     // when the end of the certificate was last complained of
}

// Load reads the files.
func Load(cfg Config) (*Source, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Source{cfg: cfg, checked: cfg.Now()}
	files, err := s.stat()
	if err == nil {
		err = s.load(files, s.checked)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Now is the time by which certificates are judged.
func (s *Source) Now() time.Time { return s.cfg.Now() }

// Current is what to use for the next handshake.
func (s *Source) Current() *Material {
	if s.mu.TryLock() {
		s.check()
		s.mu.Unlock()
	}
	return s.current.Load()
}

// names are the files, the certificate first.
func (s *Source) names() []string {
	names := []string{s.cfg.CertFile, s.cfg.KeyFile}
	if s.cfg.CAFile != "" {
		names = append(names, s.cfg.CAFile)
	}
	return names
}

func (s *Source) stat() ([]os.FileInfo, error) {
	var files []os.FileInfo
	for _, name := range s.names() {
		f, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// check loads the files again if they are not those that were loaded.
func (s *Source) check() {
	now := s.cfg.Now()
	if d := now.Sub(s.checked); d >= 0 && d < CheckInterval {
		return
	}
	s.checked = now
	files, err := s.stat()
	if err == nil && !same(files, s.loaded) {
		err = s.load(files, now)
	}
	if err != nil && err.Error() != s.told { // said once, but tried again each time
		s.told = err.Error()
		s.cfg.Logger.Warn("the certificate cannot be renewed, the one before is kept", slog.Any("error", err))
	}
	s.notice(now)
}

// same tells whether the files are those of before, unchanged.
func same(now, before []os.FileInfo) bool {
	return slices.EqualFunc(now, before, func(a, b os.FileInfo) bool {
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	})
}

func (s *Source) load(files []os.FileInfo, now time.Time) error {
	m, err := s.read()
	if err != nil {
		return err
	}
	if s.cfg.Check != nil {
		if err := s.cfg.Check(m, now); err != nil {
			return fmt.Errorf("certificate %s: %w", s.cfg.CertFile, err)
		}
	}
	s.current.Store(m)
	s.loaded, s.told, s.noticed = files, "", time.Time{}
	leaf := m.Certificate.Leaf
	attrs := []any{
		slog.String("file", s.cfg.CertFile), slog.String("serial", fmt.Sprintf("%x", leaf.SerialNumber)),
		slog.Time("not_before", leaf.NotBefore), slog.Time("not_after", leaf.NotAfter),
	}
	if m.CAs != nil {
		attrs = append(attrs, slog.Int("cas", m.cas))
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		s.noticed = now
		s.cfg.Logger.Warn("the certificate is not valid now: the others will refuse it", attrs...)
	} else {
		s.cfg.Logger.Info("certificate loaded", attrs...)
	}
	// A warning and no more: secrets that are mounted into a container look like that.
	if mode := files[1].Mode(); mode.Perm()&0o004 != 0 {
		s.cfg.Logger.Warn("everybody on this machine can read the key: chmod 600 it",
			slog.String("file", s.cfg.KeyFile), slog.String("mode", mode.String()))
	}
	s.notice(now)
	return nil
}

// notice complains now and then of a certificate that nobody renews.
func (s *Source) notice(now time.Time) {
	leaf := s.current.Load().Certificate.Leaf
	left := leaf.NotAfter.Sub(now)
	if left > min(maxNotice, leaf.NotAfter.Sub(leaf.NotBefore)/4) || now.Sub(s.noticed) < noticeInterval {
		return
	}
	s.noticed = now
	s.cfg.Logger.Warn("the certificate ends soon: renew it, by replacing the files", slog.String("file", s.cfg.CertFile),
		slog.Time("not_after", leaf.NotAfter), slog.Duration("left", left.Round(time.Second)))
}

func (s *Source) read() (*Material, error) {
	cert, err := readFile(s.cfg.CertFile)
	if err != nil {
		return nil, err
	}
	if err := whole(cert); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", s.cfg.CertFile, err)
	}
	key, err := readFile(s.cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", s.cfg.CertFile, s.cfg.KeyFile, err)
	}
	m := &Material{Certificate: &pair}
	if s.cfg.CAFile != "" {
		text, err := readFile(s.cfg.CAFile)
		if err == nil {
			m.CAs, m.cas, err = bundle(text)
		}
		if err != nil {
			return nil, fmt.Errorf("CA bundle %s: %w", s.cfg.CAFile, err)
		}
	}
	return m, nil
}

// bundle is a pool of all certificates in text. Each must be one that may sign others: a node's
// certificate here would be believed whatever became of its CA.
func bundle(text []byte) (pool *x509.CertPool, n int, err error) {
	if err := whole(text); err != nil {
		return nil, 0, err
	}
	pool = x509.NewCertPool()
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, 0, fmt.Errorf("it holds a %s, and should hold certificates of CAs only", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, 0, err
		}
		if !cert.IsCA {
			return nil, 0, fmt.Errorf("the certificate of %q in it is not one of a CA", cert.Subject.CommonName)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, 0, errors.New("it holds no certificate in PEM")
	}
	return pool, n, nil
}

// whole tells whether each block of text that begins can be read to its end: package pem passes
// over one that cannot, which is how a file looks while it is written.
func whole(text []byte) error {
	marks := 0 // lines that begin or end a block
	for line := range bytes.Lines(text) {
		if line[0] == '-' {
			marks++
		}
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		marks -= 2
	}
	if marks != 0 {
		return errors.New("it ends in the middle of a certificate, or one in it is damaged")
	}
	return nil
}

// readFile is os.ReadFile with a bound.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if len(b) > MaxFileBytes {
		return nil, fmt.Errorf("certificate: %s is larger than %d bytes", name, MaxFileBytes)
	}
	return b, nil
}
