package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/confman/confman/fsm"
)

// The change log's hash chain, computed as the formats in package fsm are documented
// and with none of its code: an auditor with the documents must come to the same heads.

// Bytes that the formats give a meaning.
const (
	chainCurrent      = 1 // the bucket of current records, where its records are hashed
	chainNamespaces   = 4 // that of namespaces
	chainRecordHeader = 35
)

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// firstHead is the chain before the first change of a cluster.
func firstHead(cluster fsm.ClusterID, members []fsm.Member) [32]byte {
	b := append([]byte("confman change log 1\n"), cluster[:]...)
	for _, m := range members {
		b = binary.LittleEndian.AppendUint64(b, m.RaftID)
		b = appendString(b, m.Name)
	}
	return sha256.Sum256(b)
}

// hashRecord hashes what a put stored in a bucket, which made v of its key.
func hashRecord(bucket byte, key, contentType, value string, v *modelVersion, at int64, who *fsm.Principal) [32]byte {
	by := namesOfPrincipal(who)[0]
	b := binary.LittleEndian.AppendUint64([]byte{bucket}, uint64(len(key)))
	b = append(b, key...)
	header := len(b)
	b = append(b, make([]byte, chainRecordHeader)...)
	h := b[header:]
	binary.LittleEndian.PutUint64(h, uint64(v.rev))
	binary.LittleEndian.PutUint64(h[8:], uint64(v.created))
	binary.LittleEndian.PutUint64(h[16:], v.puts)
	binary.LittleEndian.PutUint64(h[24:], uint64(at))
	h[32] = byte(len(contentType))
	binary.LittleEndian.PutUint16(h[33:], uint16(len(by)))
	b = append(b, contentType...)
	b = append(b, by...)
	return sha256.Sum256(append(b, value...))
}

// nextHead is the chain after change number rev, which the command made;
// content is the hash of the hashes of what its puts stored.
func nextHead(before [32]byte, rev fsm.Revision, c *modelChange, cmd *fsm.Command, content [32]byte) [32]byte {
	b := binary.LittleEndian.AppendUint64(slices.Clone(before[:]), uint64(rev))
	for _, n := range []uint64{uint64(c.at), uint64(c.time), cmd.Origin.Node, cmd.Origin.Incarnation, cmd.Origin.Seq} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = append(b, content[:]...)
	b = append(b, byte(cmd.Principal.Kind), 0) // no source address
	b = appendString(b, cmd.RequestID)
	b = appendString(b, cmd.Comment)
	for _, s := range []string{cmd.Principal.Issuer, cmd.Principal.Tenant, cmd.Principal.Object, cmd.Principal.App} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(cmd.Principal.Roles)))
	for _, s := range cmd.Principal.Roles {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(cmd.Principal.Groups)))
	for _, g := range cmd.Principal.Groups {
		b = append(b, g[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(c.ops)))
	for _, op := range c.ops {
		b = append(b, byte(op.kind))
		b = appendString(b, op.key)
		b = binary.AppendUvarint(b, uint64(op.old))
	}
	return sha256.Sum256(b)
}

// head is the chain at a revision that was made.
func (m *model) head(rev fsm.Revision) [32]byte {
	if rev == 0 {
		return m.genesis
	}
	return m.changes[m.place(rev)].head
}

// logged holds a change that a node's log has against the model's of that revision.
func (m *model) logged(c *fsm.Change) error {
	want := &m.changes[m.place(c.Revision)]
	switch {
	case c.RequestID != want.request || !slices.Equal(changedOps(c), want.ops):
		return fmt.Errorf("revision %d is a change by %s of %v, want one by %s of %v", c.Revision, c.RequestID, c.Ops, want.request, want.ops)
	case c.At != want.at:
		return fmt.Errorf("revision %d is of time %d, want %d: no change is before the one before it", c.Revision, c.At, want.at)
	case c.Time != want.time:
		return fmt.Errorf("revision %d is of replicated time %v, want %v", c.Revision, c.Time, want.time)
	case c.Chain != want.head:
		return fmt.Errorf("revision %d has the chain %x, want %x", c.Revision, c.Chain[:6], want.head[:6])
	}
	return nil
}
