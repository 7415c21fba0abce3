package jepsen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"strings"
	"time"
)

func init() {
	scenario(&Scenario{
		Name: "revoked-elsewhere", Number: 15, Needs: []Capability{Cuts}, Lost: true,
		Workloads: []string{"auth"}, Clients: 4,
		About:  "permissions are granted and revoked while a follower is cut off, and then stopped, and those who had them ask it: for bounded reads, linearizable ones, and writes that it forwards",
		Script: revokedElsewhere,
	})
	scenario(&Scenario{
		Name: "raft-port-stranger", Number: 15, Lost: true,
		About:  "somebody without a certificate, and somebody with one of their own, speak to the port that the nodes speak to each other at: neither is let in, and the cluster does not mind",
		Script: raftPortStranger,
	})
}

// lagging is how long a follower hears of nothing.
const lagging = 4 * time.Second

func revokedElsewhere(ctx context.Context, s *Stage) {
	for _, stop := range []bool{false, true, false} {
		late := s.others(s.leader(ctx))[0]
		from := s.Recorder.Now()
		over := s.isolated
		if stop {
			over = s.stopped
		}
		end := over(ctx, late)
		s.lasts(ctx, lagging)
		end(ctx)
		s.ready(ctx)
		h, _ := s.Recorder.History()
		there, elsewhere, revoked := 0, 0, s.askedInVain(late, from)
		for i := range h.Ops {
			op := &h.Ops[i]
			if op.Call < from || !strings.HasPrefix(op.Key, "auth/") {
				continue
			}
			if op.Node == late {
				there++
			} else {
				elsewhere++
			}
		}
		s.Log("%d operations were asked at %s, and %d elsewhere, meanwhile", there, late, elsewhere)
		s.shown(revoked > 0, "nobody whose permission was revoked asked %s, which did not know it", late)
		s.shown(there >= 2 && elsewhere >= 10, "%d operations were asked at %s, and %d elsewhere", there, late, elsewhere)
	}
}

// askedInVain is how often somebody asked a node, since from, whose permission was revoked since then, too.
func (s *Stage) askedInVain(node string, from int64) (n int) {
	h, _ := s.Recorder.History()
	for _, load := range s.loads {
		w, ok := load.(*authorized)
		if !ok {
			continue
		}
		w.mu.Lock()
		for i := range h.Ops {
			op := &h.Ops[i]
			if by := w.owner[op.ID]; by != nil && op.Node == node && by.revokedAt > from && op.Call > by.revokedAt {
				n++
			}
		}
		w.mu.Unlock()
	}
	return n
}

func raftPortStranger(ctx context.Context, s *Stage) {
	own, err := strangersCertificate()
	s.ok(err)
	// It is shown though nobody asked for one that this one signed.
	shown := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
	for _, name := range s.Members() {
		m := s.Machine(name)
		address := net.JoinHostPort(m.Address, strconv.Itoa(m.RaftPort))
		for who, config := range map[string]*tls.Config{
			"nobody in particular":                     {InsecureSkipVerify: true, MinVersion: tls.VersionTLS13},
			"somebody with a certificate of their own": {InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, GetClientCertificate: shown},
		} {
			conn, err := s.Ground.Dial(ctx, "tcp", address)
			s.ok(err)
			config.ServerName, config.NextProtos = name, []string{"h2"}
			err = s.spoken(ctx, tls.Client(conn, config))
			s.promised(err != nil, "%s lets %s in", name, who)
			s.Log("%s to %s: %v", name, who, err)
		}
		conn, err := s.Ground.Dial(ctx, "tcp", address)
		s.ok(err)
		err = s.spoken(ctx, conn)
		s.promised(err != nil, "%s lets somebody in who speaks plain text", name)
	}
	for _, name := range s.Members() {
		s.writes(ctx, name, 10)
	}
	s.ready(ctx)
}

// spoken speaks HTTP/2, as the nodes do, and returns why it was not listened to.
func (s *Stage) spoken(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	until, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	stop := context.AfterFunc(until, func() { _ = conn.Close() })
	defer stop()
	// The preface of a connection and its settings: whoever is let in is answered with settings.
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	if _, err := conn.Write([]byte(preface)); err != nil {
		return err
	}
	var answer [9]byte
	n, err := conn.Read(answer[:])
	switch {
	case err != nil:
		return err
	case n == len(answer) && answer[3] == 4:
		return nil
	}
	return fmt.Errorf("it answers with %x", answer[:n])
}

// strangersCertificate is one that nobody signed but its holder.
func strangersCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node1"}, DNSNames: []string{"node1", "node2", "node3"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
