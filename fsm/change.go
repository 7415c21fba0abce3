package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"time"
)

// Change is one line of the change log: who changed what, when and why, at one
// revision. The values are not here: each is stored once, under its key.
type Change struct {
	Revision  Revision
	Origin    Origin
	RequestID string
	At        int64         // Unix nanoseconds; never less than the change's before it
	Time      time.Duration // replicated
	Source    netip.Addr
	Comment   string
	Principal Principal
	// Ops are the operations that changed something, in their order.
	Ops []ChangedKey
	// Content is the hash of what the puts stored, in their order.
	Content [32]byte
	// Chain is the hash of the change before this one and of all of the above.
	Chain [32]byte
}

// ChangedKey is what a Change did to one key.
type ChangedKey struct {
	Kind OpKind
	Key  string
	// Old is the revision of what there was before; 0: nothing.
	Old Revision
}

// IsNamespace tells that it is of a namespace, whose prefix is Key, not of a key.
func (c *ChangedKey) IsNamespace() bool { return c.Kind.isNamespace() }

// IsMembers tells that it is of the members called Key, or of the cluster's version, not of a key.
func (c *ChangedKey) IsMembers() bool { return c.Kind.isMembers() }

// IsKey tells that it is of a key.
func (c *ChangedKey) IsKey() bool { return !c.Kind.alone() }

// A change as bucket changes stores it, integers little-endian; texts and counts
// as in a command:
//
//	offset  bytes
//	     0      8  checksum
//	     8     32  chain: SHA-256 of chain of the change before | 8 revision | all below
//	    40      8  at, Unix nanoseconds, two's complement
//	    48      8  replicated time, nanoseconds
//	    56     24  origin: node, incarnation, sequence number
//	    80     32  content: SHA-256 of the leaves of the records put, in order
//	   112      1  principal: kind
//	   113      1  source address: length, 0, 4 or 16
//	   114 0|4|16  source address
//	               request id, comment           text each
//	               principal                     as in a command
//	               operations                    count, then for each:
//	                   1  kind
//	                      key                    text
//	                      old revision           number
const (
	changeChainAt  = checksumBytes
	changeAt       = changeChainAt + 32
	changeTimeAt   = changeAt + 8
	changeOriginAt = changeTimeAt + 8
	contentAt      = changeOriginAt + 24
	changeKindAt   = contentAt + 32
	changeSourceAt = changeKindAt + 1
)

// changeKey is where bucket changes keeps the change of revision rev.
func changeKey(rev Revision) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(rev))
	return string(b[:])
}

// encodeChange returns ch as stored and sets ch.Chain, given the chain before it.
func encodeChange(ch *Change, before [32]byte) []byte {
	source := ch.Source.AsSlice()
	n := changeSourceAt + 64 + len(ch.RequestID) + len(ch.Comment)
	for i := range ch.Ops {
		n += 8 + len(ch.Ops[i].Key)
	}
	v := make([]byte, changeSourceAt, n)
	binary.LittleEndian.PutUint64(v[changeAt:], uint64(ch.At))
	binary.LittleEndian.PutUint64(v[changeTimeAt:], uint64(ch.Time))
	binary.LittleEndian.PutUint64(v[changeOriginAt:], ch.Origin.Node)
	binary.LittleEndian.PutUint64(v[changeOriginAt+8:], ch.Origin.Incarnation)
	binary.LittleEndian.PutUint64(v[changeOriginAt+16:], ch.Origin.Seq)
	copy(v[contentAt:], ch.Content[:])
	v[changeKindAt] = byte(ch.Principal.Kind)
	v = append(v, byte(len(source)))
	v = append(v, source...)
	v = appendText(v, ch.RequestID)
	v = appendText(v, ch.Comment)
	v = appendPrincipal(v, &ch.Principal)
	v = binary.AppendUvarint(v, uint64(len(ch.Ops)))
	for i := range ch.Ops {
		v = append(v, byte(ch.Ops[i].Kind))
		v = appendText(v, ch.Ops[i].Key)
		v = binary.AppendUvarint(v, uint64(ch.Ops[i].Old))
	}
	// What chainHash takes is as long as what stands before the rest: it is put there first.
	copy(v, before[:])
	binary.LittleEndian.PutUint64(v[len(before):], uint64(ch.Revision))
	ch.Chain = sha256.Sum256(v)
	copy(v[changeChainAt:], ch.Chain[:])
	seal(changes, changeKey(ch.Revision), v)
	return v
}

// chainHash is the chain after a change of revision rev whose record after the
// chain field is rest.
func chainHash(before [32]byte, rev Revision, rest []byte) [32]byte {
	h := sha256.New()
	_, _ = h.Write(before[:])
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(rev))
	_, _ = h.Write(b[:])
	_, _ = h.Write(rest)
	return [32]byte(h.Sum(nil))
}

// decodeChange reads what encodeChange wrote, once its checksum was verified.
func decodeChange(key string, value []byte) (Change, error) {
	if len(key) != 8 || len(value) < changeSourceAt {
		return Change{}, damaged("change %x: %d bytes are no change", key, len(value))
	}
	ch := Change{
		Revision: Revision(binary.BigEndian.Uint64([]byte(key))),
		At:       int64(binary.LittleEndian.Uint64(value[changeAt:])),
		Time:     time.Duration(binary.LittleEndian.Uint64(value[changeTimeAt:])),
		Origin: Origin{
			Node:        binary.LittleEndian.Uint64(value[changeOriginAt:]),
			Incarnation: binary.LittleEndian.Uint64(value[changeOriginAt+8:]),
			Seq:         binary.LittleEndian.Uint64(value[changeOriginAt+16:]),
		},
		Content: [32]byte(value[contentAt:]),
		Chain:   [32]byte(value[changeChainAt:]),
	}
	d := decoder{b: value[changeSourceAt:]}
	ch.Source = d.address()
	ch.RequestID = d.text()
	ch.Comment = d.text()
	d.principal(PrincipalKind(value[changeKindAt]), &ch.Principal)
	ch.Ops = d.changedKeys()
	if d.err != "" || len(d.b) != 0 {
		return Change{}, damaged("change of revision %d: %s", ch.Revision, d.trouble())
	}
	return ch, nil
}

func (d *decoder) changedKeys() (ops []ChangedKey) {
	if n := d.count(math.MaxInt); n > 0 {
		ops = make([]ChangedKey, n)
	}
	for i := range ops {
		ops[i] = ChangedKey{Kind: OpKind(d.byte()), Key: d.text(), Old: Revision(d.uvarint())}
	}
	return ops
}

// decodeChangedKeys reads of what encodeChange wrote the operations only, once its checksum was verified.
func decodeChangedKeys(rev Revision, value []byte) ([]ChangedKey, error) {
	if len(value) < changeSourceAt {
		return nil, damaged("change of revision %d: %d bytes are no change", rev, len(value))
	}
	d := decoder{b: value[changeSourceAt:]}
	d.address()
	d.bytes() // request id
	d.bytes() // comment
	d.skipPrincipal()
	ops := d.changedKeys()
	if d.err != "" || len(d.b) != 0 {
		return nil, damaged("change of revision %d: %s", rev, d.trouble())
	}
	return ops, nil
}

// openChange verifies the checksum of value and decodes it.
func openChange(key string, value []byte) (Change, error) {
	if _, err := unseal(changes, key, value); err != nil {
		return Change{}, err
	}
	return decodeChange(key, value)
}

// trouble is what is wrong with what was not decoded to its end.
func (d *decoder) trouble() string {
	if d.err == "" {
		return "bytes follow it"
	}
	return d.err
}

// genesisChain is the chain before the first change: it binds the log to its cluster.
func genesisChain(g *Genesis) [32]byte {
	b := []byte("confman change log 1\n")
	b = append(b, g.Cluster[:]...)
	for _, m := range g.Members {
		b = binary.LittleEndian.AppendUint64(b, m.RaftID)
		b = appendText(b, m.Name)
	}
	return sha256.Sum256(b)
}
