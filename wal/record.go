package wal

import (
	"encoding/binary"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
)

// Numbers are little-endian; records begin at multiples of 8.
//
//	record
//	   0  4  CRC-32C of all that follows, with the padding, seeded with the CRC of
//	         the record before it (a batch header: with batchSeed)
//	   4  4  n, the length of the body, at least 1
//	   8  n  body; its first byte is the record's type
//	 8+n     zeros up to a multiple of 8
//
//	body of a batch header (type 1), the first record of each batch
//	   8  1  type
//	   9  3  zeros
//	  12  4  CRC of the record before it, or of the segment header
//	  16  8  offset of this record in the segment
//	  24  8  number of the batch; counts through all segments, from 1
//	  32  8  proven offset: all before it was durable when this was written
//	  40  8  length of the batch in bytes, this record included
//	  48
//
//	body of an entry (type 2)
//	   8  1  type
//	   9  1  raftpb.EntryType
//	  10  6  zeros
//	  16  8  index
//	  24  8  term
//	  32     data; none and empty are the same
//
//	body of a hard state (type 3)
//	   8  1  type
//	   9  7  zeros
//	  16  8  term
//	  24  8  vote
//	  32  8  commit
//	  40
//
//	body of a seal (type 4), the last record of a segment that has a successor
//	   8  1  type
//	   9  7  zeros
//	  16  8  number of the next segment
//	  24
//
//	body of a marker (type 5), the first record behind its batch header
//	   8  1  type
//	   9  1  1 if the ConfState has AutoLeave, else 0
//	  10  6  zeros
//	  16  8  index of the snapshot, at least 1
//	  24  8  term of that index
//	  32  4  number of voters
//	  36  4  number of learners
//	  40  4  number of outgoing voters
//	  44  4  number of next learners
//	  48  8  each of these, in that order
//
//	body of a truncation (type 6)
//	   8  1  type
//	   9  7  zeros
//	  16  8  number of the oldest segment that is still needed
//	  24
//
// A batch that is nothing but its header is a proof.
type recordType uint8

const (
	typeBatch recordType = iota + 1
	typeEntry
	typeHardState
	typeSeal
	typeMarker
	typeTruncation
)

const (
	recordHeaderBytes = 8
	batchHeaderBytes  = 48
	entryHeaderBytes  = 32
	hardStateBytes    = 40
	sealBytes         = 24
	markerHeaderBytes = 48
	truncationBytes   = 24

	proofBytes           = batchHeaderBytes
	sealBatchBytes       = batchHeaderBytes + sealBytes
	truncationBatchBytes = batchHeaderBytes + truncationBytes

	// tailBytes is what Append leaves free at the end of a segment: room for a proof,
	// a truncation, the proof of that, and the seal. So on a full disk a log can always be truncated.
	tailBytes = proofBytes + truncationBatchBytes + proofBytes + sealBatchBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchSeed is what the CRC of the batch headers of a segment begins with.
func batchSeed(nonce, segment uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], nonce)
	binary.LittleEndian.PutUint64(b[8:], segment)
	return crc32.Checksum(b[:], castagnoli)
}

func padded(n int64) int64 { return (n + 7) &^ 7 }

func entryBytes(e *raftpb.Entry) int64 { return padded(entryHeaderBytes + int64(len(e.GetData()))) }

func markerBytes(m *Marker) int64 {
	c := m.Conf
	n := len(c.GetVoters()) + len(c.GetLearners()) + len(c.GetVotersOutgoing()) + len(c.GetLearnersNext())
	return markerHeaderBytes + 8*int64(n)
}

// batchHeader is a decoded batch header.
type batchHeader struct {
	before uint32 // CRC of the record before it
	offset int64
	number uint64
	proven int64
	size   int64
}

// appendBatchHeader encodes h at the end of b and returns its CRC.
func appendBatchHeader(b []byte, seed uint32, h batchHeader) ([]byte, uint32) {
	start := len(b)
	b = appendRecordStart(b, batchHeaderBytes, typeBatch)
	b = append(b, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, h.before)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.offset))
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.proven))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.size))
	return b, closeRecord(b[start:], seed)
}

func appendEntry(b []byte, seed uint32, e *raftpb.Entry) ([]byte, uint32) {
	start := len(b)
	data := e.GetData()
	b = appendRecordStart(b, entryHeaderBytes+len(data), typeEntry)
	b = append(b, byte(e.GetType()), 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, e.GetIndex())
	b = binary.LittleEndian.AppendUint64(b, e.GetTerm())
	b = append(b, data...)
	for len(b)%8 != 0 { // the buffer begins with the batch, so this pads the record
		b = append(b, 0)
	}
	return b, closeRecord(b[start:], seed)
}

func appendHardState(b []byte, seed uint32, hs hardState) ([]byte, uint32) {
	start := len(b)
	b = appendRecordStart(b, hardStateBytes, typeHardState)
	b = append(b, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, hs.term)
	b = binary.LittleEndian.AppendUint64(b, hs.vote)
	b = binary.LittleEndian.AppendUint64(b, hs.commit)
	return b, closeRecord(b[start:], seed)
}

func appendSeal(b []byte, seed uint32, next uint64) ([]byte, uint32) {
	start := len(b)
	b = appendRecordStart(b, sealBytes, typeSeal)
	b = append(b, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, next)
	return b, closeRecord(b[start:], seed)
}

func appendMarker(b []byte, seed uint32, m *Marker) ([]byte, uint32) {
	start := len(b)
	b = appendRecordStart(b, int(markerBytes(m)), typeMarker)
	autoLeave := byte(0)
	if m.Conf.GetAutoLeave() {
		autoLeave = 1
	}
	b = append(b, autoLeave, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, m.Index)
	b = binary.LittleEndian.AppendUint64(b, m.Term)
	lists := [4][]uint64{m.Conf.GetVoters(), m.Conf.GetLearners(), m.Conf.GetVotersOutgoing(), m.Conf.GetLearnersNext()}
	for _, ids := range lists {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(ids)))
	}
	for _, ids := range lists {
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	return b, closeRecord(b[start:], seed)
}

func appendTruncation(b []byte, seed uint32, oldest uint64) ([]byte, uint32) {
	start := len(b)
	b = appendRecordStart(b, truncationBytes, typeTruncation)
	b = append(b, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, oldest)
	return b, closeRecord(b[start:], seed)
}

func appendRecordStart(b []byte, size int, t recordType) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(size-recordHeaderBytes))
	return append(b, byte(t))
}

// closeRecord puts the CRC into the encoded record and returns it.
func closeRecord(record []byte, seed uint32) uint32 {
	crc := crc32.Update(seed, castagnoli, record[4:])
	binary.LittleEndian.PutUint32(record, crc)
	return crc
}

// hardState is a decoded raftpb.HardState.
type hardState struct{ term, vote, commit uint64 }

// record is a record as it lies on disk, with its padding: the CRC need not be
// right, the length is.
type record []byte

// recordSize returns the length of the record whose first recordHeaderBytes are
// in b. It is at most 4 GiB, and 0 if there can be no record.
func recordSize(b []byte) int64 {
	n := binary.LittleEndian.Uint32(b[4:])
	if n == 0 {
		return 0
	}
	return padded(recordHeaderBytes + int64(n))
}

func (r record) crc() uint32             { return binary.LittleEndian.Uint32(r) }
func (r record) verify(seed uint32) bool { return r.crc() == crc32.Update(seed, castagnoli, r[4:]) }
func (r record) kind() recordType        { return recordType(r[recordHeaderBytes]) }
func (r record) uint64(at int) uint64    { return binary.LittleEndian.Uint64(r[at:]) }

// wellFormed says whether a record inside a batch has a type and the length of that type.
func (r record) wellFormed() bool {
	switch r.kind() {
	case typeEntry:
		return len(r) >= entryHeaderBytes && r.bodyEnd() >= entryHeaderBytes && r.entryType() <= raftpb.EntryConfChangeV2
	case typeHardState:
		return r.bodyEnd() == hardStateBytes
	case typeSeal:
		return r.bodyEnd() == sealBytes
	case typeMarker:
		return len(r) >= markerHeaderBytes && r.bodyEnd() == r.markerEnd() && r.index() > 0 && r.index() <= maxIndex
	case typeTruncation:
		return r.bodyEnd() == truncationBytes
	default:
		return false
	}
}

func (r record) bodyEnd() int64 {
	return recordHeaderBytes + int64(binary.LittleEndian.Uint32(r[4:]))
}

func (r record) entryType() raftpb.EntryType { return raftpb.EntryType(r[9]) }
func (r record) index() uint64               { return r.uint64(16) }
func (r record) term() uint64                { return r.uint64(24) }

// data is the data of an entry. It aliases r.
func (r record) data() []byte { return r[entryHeaderBytes:r.bodyEnd()] }

func (r record) hardState() hardState {
	return hardState{term: r.uint64(16), vote: r.uint64(24), commit: r.uint64(32)}
}

// markerEnd is where a marker with so many members ends.
func (r record) markerEnd() int64 {
	n := int64(0)
	for at := 32; at < markerHeaderBytes; at += 4 {
		n += int64(binary.LittleEndian.Uint32(r[at:]))
	}
	return markerHeaderBytes + 8*n
}

// marker decodes a marker. Nothing of it aliases r.
func (r record) marker() Marker {
	at := markerHeaderBytes
	members := func(count int) []uint64 {
		var ids []uint64
		for range binary.LittleEndian.Uint32(r[count:]) {
			ids = append(ids, r.uint64(at))
			at += 8
		}
		return ids
	}
	conf := &raftpb.ConfState{
		Voters: members(32), Learners: members(36), VotersOutgoing: members(40), LearnersNext: members(44),
	}
	if r[9] != 0 {
		conf.AutoLeave = new(true)
	}
	return Marker{Index: r.index(), Term: r.term(), Conf: conf}
}

// truncationOldest is the number of the oldest segment that a truncation keeps.
func (r record) truncationOldest() uint64 { return r.uint64(16) }

// sealNext is the number of the segment after the one that a seal ends.
func (r record) sealNext() uint64 { return r.uint64(16) }

// decodeBatchHeader decodes the batch header at b, if it is one that was written
// at that offset of the segment with that seed.
func decodeBatchHeader(b []byte, seed uint32, offset int64) (batchHeader, bool) {
	if len(b) < batchHeaderBytes {
		return batchHeader{}, false
	}
	r := record(b[:batchHeaderBytes])
	if r.bodyEnd() != batchHeaderBytes || r.kind() != typeBatch || int64(r.uint64(16)) != offset || !r.verify(seed) {
		return batchHeader{}, false
	}
	h := batchHeader{
		before: binary.LittleEndian.Uint32(r[12:]),
		offset: offset,
		number: r.uint64(24),
		proven: int64(r.uint64(32)),
		size:   int64(r.uint64(40)),
	}
	ok := h.proven >= segmentHeaderBytes && h.proven <= offset && h.size >= batchHeaderBytes && h.size <= MaxBatchBytes && h.size%8 == 0
	return h, ok
}

// checkBatch verifies the records behind the header of the whole batch b. It
// returns the CRC of the last one, or where in b the first bad one begins.
func checkBatch(b []byte) (crc uint32, bad int64) {
	crc = record(b).crc()
	for at := int64(batchHeaderBytes); at < int64(len(b)); {
		if int64(len(b))-at < recordHeaderBytes {
			return 0, at
		}
		size := recordSize(b[at:])
		if size == 0 || size > int64(len(b))-at {
			return 0, at
		}
		r := record(b[at : at+size])
		if !r.verify(crc) || !r.wellFormed() {
			return 0, at
		}
		crc = r.crc()
		at += size
	}
	return crc, 0
}

// records calls do for each record behind the header of a batch that was
// checked, with its place in the batch and the CRC of the record before it.
func records(batch []byte, do func(at int64, seed uint32, r record)) {
	seed := record(batch).crc()
	for at := int64(batchHeaderBytes); at < int64(len(batch)); {
		r := record(batch[at : at+recordSize(batch[at:])])
		do(at, seed, r)
		seed = r.crc()
		at += int64(len(r))
	}
}
