package jepsen

import (
	"context"
	"path/filepath"
	"time"
)

// certTime bounds making all certificates.
const certTime = time.Minute

func (l *Local) certs() string { return filepath.Join(l.o.Dir, "raft-ca") }

// certify makes what the nodes prove their names with.
func (l *Local) certify() error {
	if l.o.PlainText {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), certTime)
	defer cancel()
	if _, err := l.Confman(ctx, "cert", "init", "--dir", l.certs()); err != nil {
		return err
	}
	for _, m := range l.machines {
		if _, err := l.Confman(ctx, "cert", "node", m.Name, "--dir", l.certs()); err != nil {
			return err
		}
	}
	return nil
}

// raftSection is how a node speaks to the others.
func (l *Local) raftSection(m Machine) map[string]any {
	if l.o.PlainText {
		return map[string]any{"PlainText": true}
	}
	return map[string]any{"Tls": map[string]any{
		"CaFile":   filepath.Join(l.certs(), "ca.crt"),
		"CertFile": filepath.Join(l.certs(), m.Name+".crt"),
		"KeyFile":  filepath.Join(l.certs(), m.Name+".key"),
	}}
}
