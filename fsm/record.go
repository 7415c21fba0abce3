package fsm

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Record is one key's current value.
type Record struct {
	Key            string
	Value          []byte
	ContentType    string
	Revision       Revision // of the last change
	CreateRevision Revision // of the put that created it
	Version        uint64   // puts since then; 1 when created
	ModifiedAt     int64    // Unix nanoseconds; for display only
	ModifiedBy     string   // Principal.String of who made the last change
}

// bucket is a set of records of the database. Its byte seeds their checksums and
// starts their leaves, so that a record read from the wrong set is refused.
type bucket byte

const (
	// names is bbolt's root bucket: it holds the others, and no record.
	names bucket = iota
	// current holds the newest record of each key, under the key.
	current
	// superseded holds what was current before, under the key, a zero byte and the
	// complement of its revision, big-endian; its value has the revision that ended it in
	// front.
	superseded
	// answers holds what became of the commands that have an idempotency key, see answer.go.
	answers
	// namespaces holds who may do what, former what that was before: see namespace_apply.go.
	namespaces
	former
	// denied holds the ring of what was refused, under its number, big-endian: see audit.go.
	denied
	// changes holds the change log, under the revision, big-endian.
	changes
	// windows holds what is remembered of each origin, under its node, big-endian.
	windows
	// ranges holds the tally of each range of the buckets before changes, under
	// that bucket's byte and the range's first key.
	ranges
	// metadata holds one record, of everything else, under metaKey.
	metadata
)

// bucketNames are what the database calls them: any two differ in more than one
// byte, so a flipped one is not taken for another.
var bucketNames = [...]string{
	names: "root", current: "current", superseded: "superseded", answers: "answers", namespaces: "namespaces", former: "former",
	denied: "denied", changes: "log", windows: "windows", ranges: "tallies", metadata: "meta",
}

func (b bucket) String() string { return bucketNames[b] }

// records are the buckets whose records the overlay holds under their keys, with a tally. They
// come before all others.
var records = [...]bucket{current, superseded, answers, namespaces, former, denied}

// hasTally tells whether in is one of records.
func (b bucket) hasTally() bool { return b >= current && b <= denied }

// Every value of the database starts with a checksum over its key and the rest:
//
//	offset  bytes
//	     0      8  xxHash64 of key and body, seeded with the bucket and the key's length
//	     8         body
//
// The key's length keeps a damaged boundary between key and value from moving
// bytes from one to the other unseen.
const checksumBytes = 8

func checksum(in bucket, key string, body []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(in)<<32 | uint64(len(key)))
	_, _ = d.WriteString(key)
	_, _ = d.Write(body)
	return d.Sum64()
}

// seal writes the checksum into value, whose body is complete.
func seal(in bucket, key string, value []byte) {
	binary.LittleEndian.PutUint64(value, checksum(in, key, value[checksumBytes:]))
}

// unseal verifies the checksum and returns the body.
func unseal(in bucket, key string, value []byte) ([]byte, error) {
	if len(value) < checksumBytes || binary.LittleEndian.Uint64(value) != checksum(in, key, value[checksumBytes:]) {
		return nil, damaged("record %q of bucket %s: checksum does not match", key, in)
	}
	return value[checksumBytes:], nil
}

// The body of a record, integers little-endian:
//
//	offset  bytes
//	     0      8  revision
//	     8      8  create revision
//	    16      8  version
//	    24      8  modified at, Unix nanoseconds, two's complement
//	    32      1  length of the content type
//	    33      2  length of modified-by
//	    35         content type, modified-by, value
//
// In bucket superseded 8 bytes come before it: the revision that ended the record.
const recordHeaderBytes = 35

// body is an encoded record. What makes one checks its lengths.
type body []byte

func (b body) revision() Revision { return Revision(binary.LittleEndian.Uint64(b)) }
func (b body) created() Revision  { return Revision(binary.LittleEndian.Uint64(b[8:])) }
func (b body) version() uint64    { return binary.LittleEndian.Uint64(b[16:]) }
func (b body) modifiedAt() int64  { return int64(binary.LittleEndian.Uint64(b[24:])) }

func (b body) contentType() []byte {
	return b[recordHeaderBytes : recordHeaderBytes+int(b[32])]
}

func (b body) modifiedBy() []byte {
	from := recordHeaderBytes + int(b[32])
	return b[from : from+int(binary.LittleEndian.Uint16(b[33:]))]
}

func (b body) value() []byte {
	return b[recordHeaderBytes+int(b[32])+int(binary.LittleEndian.Uint16(b[33:])):]
}

// checkBody returns b as a record if its lengths fit. Past a checksum they do,
// unless another program wrote it.
func checkBody(key string, b []byte) (body, error) {
	if len(b) < recordHeaderBytes ||
		len(b) < recordHeaderBytes+int(b[32])+int(binary.LittleEndian.Uint16(b[33:])) {
		return nil, damaged("record %q: %d bytes are no record", key, len(b))
	}
	return b, nil
}

// record decodes b. The value aliases b; the texts of like are used again where
// they are equal.
func (b body) record(key string, like *Record) Record {
	r := Record{
		Key:            key,
		Value:          b.value(),
		Revision:       b.revision(),
		CreateRevision: b.created(),
		Version:        b.version(),
		ModifiedAt:     b.modifiedAt(),
		ContentType:    like.ContentType,
		ModifiedBy:     like.ModifiedBy,
	}
	if t := b.contentType(); string(t) != r.ContentType {
		r.ContentType = string(t)
	}
	if t := b.modifiedBy(); string(t) != r.ModifiedBy {
		r.ModifiedBy = string(t)
	}
	return r
}

// encodeCurrent returns r as bucket current stores it.
func encodeCurrent(r *Record) []byte { return encodeRecord(current, r.Key, r) }

// encodeRecord returns r as bucket in stores it under key.
func encodeRecord(in bucket, key string, r *Record) []byte {
	must(len(r.ContentType) <= MaxContentTypeBytes && len(r.ModifiedBy) < 1<<16, "record %q: texts too long", r.Key)
	v := make([]byte, checksumBytes+recordHeaderBytes, checksumBytes+recordHeaderBytes+
		len(r.ContentType)+len(r.ModifiedBy)+len(r.Value))
	h := v[checksumBytes:]
	binary.LittleEndian.PutUint64(h, uint64(r.Revision))
	binary.LittleEndian.PutUint64(h[8:], uint64(r.CreateRevision))
	binary.LittleEndian.PutUint64(h[16:], r.Version)
	binary.LittleEndian.PutUint64(h[24:], uint64(r.ModifiedAt))
	h[32] = byte(len(r.ContentType))
	binary.LittleEndian.PutUint16(h[33:], uint16(len(r.ModifiedBy)))
	v = append(v, r.ContentType...)
	v = append(v, r.ModifiedBy...)
	v = append(v, r.Value...)
	seal(in, key, v)
	return v
}

// endedBytes is the revision in front of a superseded record's body.
const endedBytes = 8

// pastBytes is what a key in bucket superseded has behind the key of the record.
const pastBytes = 9

// supersededKey is where bucket superseded keeps key's record of revision rev: newer ones
// come first, so that what a key had at some revision is the first one from there on.
func supersededKey(key string, rev Revision) string {
	var behind [pastBytes]byte
	binary.BigEndian.PutUint64(behind[1:], ^uint64(rev))
	return key + string(behind[:])
}

// encodeSuperseded returns b as bucket superseded stores it under skey. With b nil it stands,
// in the place of the oldest of them, for records that ended at a revision or before and are
// not held: see compact.go.
func encodeSuperseded(skey string, ended Revision, b body) []byte {
	return encodeEnded(superseded, skey, ended, b)
}

func encodeEnded(in bucket, skey string, ended Revision, b body) []byte {
	v := make([]byte, checksumBytes+endedBytes, checksumBytes+endedBytes+len(b))
	binary.LittleEndian.PutUint64(v[checksumBytes:], uint64(ended))
	v = append(v, b...)
	seal(in, skey, v)
	return v
}

// recordTally is what one record of bucket in counts for. value is as stored.
func recordTally(scratch *[]byte, in bucket, key string, value []byte) tally {
	return tally{
		sum:   recordLeaf(scratch, in, key, value[checksumBytes:]),
		count: 1,
		bytes: int64(len(key) + len(value)),
	}
}

// recordLeaf hashes bucket, key and body:
//
//	1 bucket | 8 length of key | key | body
func recordLeaf(scratch *[]byte, in bucket, key string, b []byte) sum {
	s := append((*scratch)[:0], byte(in))
	s = binary.LittleEndian.AppendUint64(s, uint64(len(key)))
	s = append(s, key...)
	s = append(s, b...)
	*scratch = s
	return leaf(s)
}
