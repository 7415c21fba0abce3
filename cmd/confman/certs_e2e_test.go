package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestE2ECertificates runs a cluster on certificates of confman cert, replaces them and then
// their CA while clients write, and lets in nobody who has a certificate of another CA.
func TestE2ECertificates(t *testing.T) {
	f := newFleet(t, 3)
	cert := func(args ...string) {
		t.Helper()
		r := f.confman(append([]string{"cert"}, args...)...)
		require.Zero(t, r.code, r.err)
	}
	first, second, foreign := filepath.Join(f.dir, "first-ca"), filepath.Join(f.dir, "second-ca"), filepath.Join(f.dir, "foreign-ca")
	f.certs = first
	believe := func(dir string, cas ...string) { // by rename: nobody reads half of it
		t.Helper()
		var bundle []byte
		for _, ca := range cas {
			text, err := os.ReadFile(filepath.Join(ca, "ca.crt"))
			require.NoError(t, err)
			bundle = append(bundle, text...)
		}
		file := filepath.Join(dir, "bundle.crt")
		require.NoError(t, os.WriteFile(file+".new", bundle, 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	cert("init", "--dir", first)
	believe(first, first)
	for _, p := range f.nodes {
		cert("node", p.name, "--dir", first)
		f.configure(p)
	}
	f.start(f.nodes...)
	f.await(f.nodes...)
	for _, p := range f.nodes {
		require.Contains(t, p.output(), "raft_tls=true")
	}

	// Clients write meanwhile; an election that the machine is too slow for is not at issue.
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for _, p := range f.nodes {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				a, err := f.send(http.MethodPut, fmt.Sprintf("%s%s%s/%d", p.url(), configPath, p.name, i), "1")
				if err != nil || a.status != http.StatusCreated && a.status != http.StatusServiceUnavailable {
					t.Errorf("a write at %s: %v, %d %s", p.name, err, a.status, a.body)
					return
				}
			}
		})
	}
	// loaded waits until all nodes use what is in their files, and believe so many CAs.
	loaded := func(cas int) {
		t.Helper()
		f.until(readyWait, "all have read their files again", func() bool {
			for _, p := range f.nodes {
				serial := readCert(t, filepath.Join(first, p.name+".crt")).SerialNumber
				lines := strings.Split(p.output(), "certificate loaded")
				if last := lines[len(lines)-1]; !strings.Contains(last, fmt.Sprintf("serial=%x ", serial)) || !strings.Contains(last, fmt.Sprintf("cas=%d\n", cas)) {
					return false
				}
			}
			return true
		})
	}
	loaded(1)
	for _, p := range f.nodes {
		cert("node", p.name, "--dir", first, "--force")
	}
	loaded(1)
	// A new CA: all believe both, have certificates of the new one, and then believe it alone.
	cert("init", "--dir", second)
	believe(first, first, second)
	loaded(2)
	for _, p := range f.nodes {
		cert("node", p.name, "--dir", second)
		for _, ext := range []string{".key", ".crt"} {
			require.NoError(t, os.Rename(filepath.Join(second, p.name+ext), filepath.Join(first, p.name+ext)))
		}
	}
	loaded(2)
	believe(first, second)
	loaded(1)
	close(stop)
	writers.Wait()
	for _, p := range f.nodes {
		for _, word := range []string{"unknown authority", "bad certificate", "not valid now"} {
			assert.NotContains(t, p.output(), word, "nobody is refused meanwhile")
		}
	}
	f.await(f.nodes...)
	f.stop(f.nodes[2])
	f.start(f.nodes[2])
	f.await(f.nodes...)
	require.Equal(t, http.StatusCreated, f.ask(f.nodes[0], http.MethodPut, configPath+"after", "1").status)
	got := f.ask(f.nodes[2], http.MethodGet, configPath+"after?consistency=linearizable", "")
	assert.Equal(t, http.StatusOK, got.status, got.body)
	f.converge()

	// A fourth in the name of node3 believes the others, and they do not believe it.
	cert("init", "--dir", foreign)
	cert("node", "node3", "--dir", foreign)
	believe(foreign, second, foreign)
	ports := steadyPorts(t, 2)
	intruder := &proc{
		name: "node3", api: ports[0], raft: ports[1], config: filepath.Join(f.dir, "intruder.json"),
		data: filepath.Join(f.dir, "intruder"), log: filepath.Join(f.dir, "intruder.log"),
	}
	all := f.nodes
	f.nodes, f.certs = []*proc{all[0], all[1], intruder}, foreign
	f.configure(intruder)
	f.nodes = append(all, intruder)
	f.start(intruder)
	f.until(readyWait, "the fourth is refused by both", func() bool {
		return strings.Contains(all[0].output(), "signed by unknown authority") && strings.Contains(all[1].output(), "signed by unknown authority")
	})
	f.until(readyWait, "the fourth tells of it", func() bool {
		return strings.Contains(intruder.output(), "no connection to a peer; trying again")
	})
	a := f.ask(intruder, http.MethodGet, "/health/ready", "")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.Contains(t, a.body, "node1")
	for _, p := range all[:2] {
		assert.LessOrEqual(t, strings.Count(p.output(), "signed by unknown authority"), 2, "once a minute, not for each attempt")
	}
	f.nodes = all
	f.kill(intruder)
	f.converge()

	// With a name that is not its own a node does not even start.
	f.certs = first
	require.NoError(t, os.Rename(filepath.Join(first, "node1.crt"), filepath.Join(first, "node3.crt")))
	require.NoError(t, os.Rename(filepath.Join(first, "node1.key"), filepath.Join(first, "node3.key")))
	f.stop(all[2])
	f.start(all[2])
	require.Error(t, f.exit(all[2]))
	assert.Contains(t, all[2].output(), `it names "node1" and not "node3": a node's certificate has its Id as a DNS name (confman cert node node3)`)
}

// TestE2EFromPlainTextToTLS restarts one node after the other with certificates, as docs/tls.md
// says: while only one of three has them, the other two go on; with the second the majority changes over.
func TestE2EFromPlainTextToTLS(t *testing.T) {
	f := up(t, 3)
	f.certs = filepath.Join(f.dir, "raft-ca")
	require.Zero(t, f.confman("cert", "init", "--dir", f.certs).code)
	require.NoError(t, os.Link(filepath.Join(f.certs, "ca.crt"), filepath.Join(f.certs, "bundle.crt")))
	for _, p := range f.nodes {
		require.Zero(t, f.confman("cert", "node", p.name, "--dir", f.certs).code)
	}
	// writes waits until a node acknowledges a write.
	writes := func(p *proc, key string) {
		t.Helper()
		f.until(readyWait, p.name+" writes", func() bool {
			a, err := f.send(http.MethodPut, p.url()+configPath+key, "1", "Idempotency-Key", key)
			return err == nil && a.status == http.StatusCreated
		})
	}
	writes(f.nodes[0], "before")
	change := func(p *proc) {
		f.stop(p)
		f.configure(p)
		f.start(p)
	}
	change(f.nodes[0])
	writes(f.nodes[1], "with-one")
	f.until(readyWait, "the two ways do not meet", func() bool {
		return strings.Contains(f.nodes[0].output(), "it speaks no TLS") && strings.Contains(f.nodes[1].output(), "it speaks TLS")
	})
	change(f.nodes[1])
	f.await(f.nodes[:2]...)
	writes(f.nodes[0], "with-two")
	change(f.nodes[2])
	f.await(f.nodes...)
	writes(f.nodes[2], "with-all")
	f.converge()
	for _, key := range []string{"before", "with-one", "with-two", "with-all"} {
		assert.Equal(t, http.StatusOK, f.ask(f.nodes[2], http.MethodGet, configPath+key, "").status, key)
	}
}
