package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/confman/confman/faultpoint"
)

const (
	segmentPrefix = "wal-"
	segmentSuffix = ".log"
	newSuffix     = ".new"

	segmentMagic       = "confwal\x01"
	segmentHeaderBytes = 96

	// firstSegment is the number of the oldest segment of a log that was never truncated.
	firstSegment = 1
)

// segment is an open segment.
type segment struct {
	segmentHeader
	name string
	file File
	seed uint32 // of its batch headers

	users atomic.Int32 // the log, until it is truncated, and each read that is under way
}

// hold keeps the file open until release. Only for one to which the log still holds.
func (s *segment) hold() { s.users.Add(1) }

// release ends a hold. The last one closes the file: it was given up, so an error of that means nothing.
func (s *segment) release() {
	if s.users.Add(-1) == 0 {
		_ = s.file.Close()
	}
}

// segmentHeader begins a segment. It repeats the state of the log where the
// segment begins, so that the ones before it can go. (They may go, too, when a
// marker behind makes the last entry and its term meaningless: index.start.)
//
//	 0  8  "confwal" and the version of the format, 1
//	 8  8  nonce of the log
//	16  8  number of the segment
//	24  8  size of the file
//	32  8  number of the first batch in it
//	40  8  where the segment before it ends; 0 if there was none
//	48  8  index of the last entry before it
//	56  8  term of that entry
//	64 24  hard state before it: term, vote, commit
//	88  4  CRC of the last record of the segment before it
//	92  4  CRC-32C of bytes 0 to 92
//	96
type segmentHeader struct {
	nonce      uint64
	number     uint64
	size       int64
	firstBatch uint64
	prevEnd    int64
	lastIndex  uint64
	lastTerm   uint64
	hard       hardState
	prevCRC    uint32
}

func (h segmentHeader) encode() []byte {
	b := append(make([]byte, 0, segmentHeaderBytes), segmentMagic...)
	for _, v := range []uint64{
		h.nonce, h.number, uint64(h.size), h.firstBatch, uint64(h.prevEnd),
		h.lastIndex, h.lastTerm, h.hard.term, h.hard.vote, h.hard.commit,
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, h.prevCRC)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// crc is what the first batch of the segment is chained to.
func (h segmentHeader) crc() uint32 {
	return binary.LittleEndian.Uint32(h.encode()[segmentHeaderBytes-4:])
}

func decodeSegmentHeader(b []byte) (segmentHeader, bool) {
	if len(b) != segmentHeaderBytes || string(b[:8]) != segmentMagic ||
		binary.LittleEndian.Uint32(b[92:]) != crc32.Checksum(b[:92], castagnoli) {
		return segmentHeader{}, false
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return segmentHeader{
		nonce: u(8), number: u(16), size: int64(u(24)), firstBatch: u(32), prevEnd: int64(u(40)),
		lastIndex: u(48), lastTerm: u(56), hard: hardState{u(64), u(72), u(80)},
		prevCRC: binary.LittleEndian.Uint32(b[88:]),
	}, true
}

func segmentName(number uint64) string {
	return fmt.Sprintf("%s%016x%s", segmentPrefix, number, segmentSuffix)
}

// segmentNumber reads the number out of a segment's name.
func segmentNumber(name string) (uint64, bool) {
	digits := strings.TrimSuffix(strings.TrimPrefix(name, segmentPrefix), segmentSuffix)
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil && segmentName(n) == name
}

// finishSegment makes of the allocated file f, called name and zero throughout, the segment h.
// The rename comes last: a file with a segment's name always has a durable header.
func finishSegment(fsys FS, f File, name string, h segmentHeader) (*segment, error) {
	s := newSegment(f, h)
	err := writeAll(f, h.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = faultpoint.Hit("wal/before-segment-rename")
	}
	if err == nil {
		err = fsys.Rename(name, s.name)
	}
	if err == nil {
		err = faultpoint.Hit("wal/after-segment-rename")
	}
	if err == nil {
		err = fsys.SyncDir()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wal: making segment %s: %w", s.name, err), f.Close())
	}
	return s, nil
}

func newSegment(f File, h segmentHeader) *segment {
	s := &segment{segmentHeader: h, name: segmentName(h.number), file: f, seed: batchSeed(h.nonce, h.number)}
	s.hold()
	return s
}

// openSegment opens a segment and checks its header and size.
func openSegment(fsys FS, name string, number uint64) (*segment, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("wal: opening segment %s: %w", name, err)
	}
	h, err := readSegmentHeader(f, name)
	if err == nil && h.number != number {
		err = damaged(name, 0, fmt.Sprintf("the file holds segment %d: it was renamed or copied", h.number))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return newSegment(f, h), nil
}

func readSegmentHeader(f File, name string) (segmentHeader, error) {
	size, err := f.Size()
	if err != nil {
		return segmentHeader{}, fmt.Errorf("wal: segment %s: %w", name, err)
	}
	if size < segmentHeaderBytes {
		return segmentHeader{}, damaged(name, size, "the file ends within the segment's header")
	}
	b := make([]byte, segmentHeaderBytes)
	if err := readAll(f, b, 0); err != nil {
		return segmentHeader{}, fmt.Errorf("wal: segment %s at 0: %w", name, err)
	}
	h, ok := decodeSegmentHeader(b)
	switch {
	case !ok:
		return h, damaged(name, 0, "the segment's header is not what was written")
	case h.size != size:
		// Allocation is durable before the segment is used: no crash changes it.
		return h, damaged(name, min(size, h.size), fmt.Sprintf("the file has %d bytes, it was made with %d", size, h.size))
	}
	return h, nil
}

// damaged is an ErrDamaged with what an operator needs to know.
func damaged(name string, offset int64, what string) error {
	return fmt.Errorf("wal: segment %s at %d: %w: %s; what was acknowledged may be lost: rejoin the cluster as a new member with an empty data directory", name, offset, ErrDamaged, what)
}
