package tlsfiles

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func validFor(d time.Duration) Validity {
	return Validity{time.Now().Add(-time.Hour), time.Now().Add(d)}
}

func newCA(t *testing.T, name string) (*CA, Pair) {
	t.Helper()
	ca, pair, err := NewCA(name, validFor(10000*time.Hour))
	require.NoError(t, err)
	return ca, pair
}

// disk is the files of a node and a clock.
type disk struct {
	t     *testing.T
	ca    *CA
	files Config
	log   bytes.Buffer
	now   time.Time
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	ca, pair := newCA(t, "test CA")
	d := &disk{t: t, ca: ca, now: time.Now()}
	d.files = Config{
		CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), CAFile: filepath.Join(dir, "ca.crt"),
		Logger: slog.New(slog.NewTextHandler(&d.log, nil)), Now: func() time.Time { return d.now },
	}
	d.replace(d.files.CAFile, pair.Cert)
	d.renew(1000 * time.Hour)
	return d
}

func (d *disk) replace(file string, text []byte) {
	require.NoError(d.t, os.WriteFile(file+".new", text, 0o600))
	require.NoError(d.t, os.Rename(file+".new", file))
}

// renew replaces certificate and key, and returns the new one's serial number.
func (d *disk) renew(valid time.Duration) string {
	pair, err := d.ca.Node("node1", nil, validFor(valid))
	require.NoError(d.t, err)
	require.NoError(d.t, pair.Write(d.files.CertFile, d.files.KeyFile, true))
	return pair.Leaf.SerialNumber.String()
}

func (d *disk) load() *Source {
	s, err := Load(d.files)
	require.NoError(d.t, err)
	return s
}

func serial(s *Source) string { return s.Current().Certificate.Leaf.SerialNumber.String() }

func TestFilesAreLookedAtRarely(t *testing.T) {
	d := newDisk(t)
	s := d.load()
	first, renewed := serial(s), d.renew(1000*time.Hour)
	assert.Equal(t, first, serial(s))
	d.now = d.now.Add(CheckInterval)
	assert.Equal(t, renewed, serial(s))
	assert.Equal(t, 2, strings.Count(d.log.String(), "certificate loaded"))
}

// TestWhatDoesNotFitChangesNothing: the log says so once, and what fits later is taken.
func TestWhatDoesNotFitChangesNothing(t *testing.T) {
	d := newDisk(t)
	d.files.Check = func(*Material, time.Time) error { return nil }
	s := d.load()
	pair, err := d.ca.Node("node1", nil, validFor(time.Hour))
	require.NoError(t, err)
	was, bundle := serial(s), s.Current().CAs
	d.replace(d.files.CertFile, pair.Cert)
	for range 3 {
		d.now = d.now.Add(CheckInterval)
		assert.Equal(t, was, serial(s))
	}
	assert.Equal(t, 1, strings.Count(d.log.String(), "cannot be renewed"), d.log.String())
	was = d.renew(1000 * time.Hour)
	d.now = d.now.Add(CheckInterval)
	assert.Equal(t, was, serial(s))

	d.replace(d.files.CAFile, []byte("nonsense"))
	d.now = d.now.Add(CheckInterval)
	assert.Equal(t, was, serial(s))
	assert.Contains(t, d.log.String(), "holds no certificate")
	require.NoError(t, os.Remove(d.files.CAFile))
	d.now = d.now.Add(CheckInterval)
	assert.Equal(t, was, serial(s))
	_, other := newCA(t, "another CA")
	d.replace(d.files.CAFile, other.Cert)
	d.now = d.now.Add(CheckInterval)
	assert.False(t, s.Current().CAs.Equal(bundle))

	s.cfg.Check = func(*Material, time.Time) error { return errors.New("of no use") }
	d.renew(time.Hour)
	d.now = d.now.Add(CheckInterval)
	assert.Equal(t, was, serial(s))
	assert.Contains(t, d.log.String(), "of no use")
}

// TestHalfAFileChangesNothing: one that is written in place is seen in the middle of it. Of a bundle,
// half would have the nodes of the other half shut out.
func TestHalfAFileChangesNothing(t *testing.T) {
	d := newDisk(t)
	_, other := newCA(t, "another CA")
	first, err := os.ReadFile(d.files.CAFile)
	require.NoError(t, err)
	both := append(bytes.Clone(first), other.Cert...)
	d.replace(d.files.CAFile, both)
	s := d.load()
	was, leaf := s.Current(), serial(s)
	end := len("-----END CERTIFICATE-----\n")
	for _, cut := range []int{1, len(other.Cert) / 2, len(other.Cert) - end, len(other.Cert) - 2} {
		d.replace(d.files.CAFile, both[:len(first)+cut])
		d.now = d.now.Add(CheckInterval)
		assert.Same(t, was, s.Current(), "%d bytes of the second", cut)
	}
	assert.Contains(t, d.log.String(), "ends in the middle of")
	d.replace(d.files.CAFile, both)

	// The certificates of issuers after the own one.
	pair, err := d.ca.Node("node1", nil, validFor(time.Hour))
	require.NoError(t, err)
	chain := append(bytes.Clone(pair.Cert), other.Cert...)
	d.replace(d.files.KeyFile, pair.Key)
	d.replace(d.files.CertFile, chain[:len(chain)-end])
	d.now = d.now.Add(CheckInterval)
	assert.Equal(t, leaf, serial(s))
	d.replace(d.files.CertFile, chain)
	d.now = d.now.Add(CheckInterval)
	assert.Len(t, s.Current().Certificate.Certificate, 2)
}

func TestAnEndIsComplainedOfOnceADay(t *testing.T) {
	d := newDisk(t)
	s := d.load()
	said := func() int { return strings.Count(d.log.String(), "ends soon") }
	s.Current()
	assert.Zero(t, said())
	d.now = d.now.Add(1000*time.Hour - 10*24*time.Hour)
	for range 3 {
		s.Current()
		d.now = d.now.Add(time.Hour)
	}
	assert.Equal(t, 1, said())
	d.now = d.now.Add(24 * time.Hour)
	s.Current()
	assert.Equal(t, 2, said())
	d.now = time.Now()
	d.renew(24 * time.Hour) // of a day, more than a quarter is left
	d.now = d.now.Add(time.Hour)
	s.Current()
	assert.Equal(t, 2, said(), d.log.String())
	d.now = d.now.Add(100 * time.Hour)
	d.renew(time.Hour)
	d.now = d.now.Add(time.Second)
	s.Current()
	assert.Contains(t, d.log.String(), "not valid now")
}

func TestAKeyThatAllCanReadIsComplainedOf(t *testing.T) {
	d := newDisk(t)
	d.load()
	assert.NotContains(t, d.log.String(), "chmod")
	require.NoError(t, os.Chmod(d.files.KeyFile, 0o644))
	d.load()
	assert.Contains(t, d.log.String(), "chmod 600")
}

func TestLoadRefuses(t *testing.T) {
	fresh := func() *disk { return newDisk(t) }
	fails := func(d *disk, want string) {
		t.Helper()
		_, err := Load(d.files)
		require.ErrorContains(t, err, want)
	}
	d := fresh()
	require.NoError(t, os.Remove(d.files.CertFile))
	fails(d, "tls.crt: no such file")
	d = fresh()
	require.NoError(t, os.Remove(d.files.CAFile))
	fails(d, "ca.crt: no such file")
	d = fresh()
	pair, err := d.ca.Node("node1", nil, validFor(time.Hour))
	require.NoError(t, err)
	d.replace(d.files.CertFile, pair.Cert)
	fails(d, "private key does not match")
	d.replace(d.files.CertFile, make([]byte, MaxFileBytes+1))
	fails(d, "tls.crt is larger than 1048576 bytes")
	d = fresh()
	d.replace(d.files.CAFile, pair.Cert)
	fails(d, `the certificate of "node1" in it is not one of a CA`)
	d.replace(d.files.CAFile, pair.Key)
	fails(d, "holds a PRIVATE KEY")
	d.replace(d.files.CAFile, nil)
	fails(d, "holds no certificate")
}
