package fsm

import "encoding/binary"

// Expands tells whether an encoded command may change much more than its own bytes say: an
// operation on a subtree, a restore, a Maintenance. It looks no further than it must; what does
// not decode changes nothing, and expands nothing.
func Expands(b []byte) bool {
	if len(b) > 1 && b[0] == commandVersion && b[1] == kindMaintenance {
		return true
	}
	if _, ok := OriginOf(b); !ok {
		return false
	}
	s := skipper{b: b[sourceAt:]}
	s.skip(uint64(s.byte()))
	for range 6 { // request id, comment, the principal's four texts
		s.text()
	}
	for range s.count() {
		s.text()
	}
	s.skip(16 * s.count())
	if s.text() > 0 {
		s.skip(32 + 1)
	}
	for range s.count() {
		kind := CompareKind(s.byte())
		s.text()
		switch kind {
		case RevisionIs:
			s.skip(8)
		case ValueIs:
			s.text()
		case KeyExists, KeyAbsent:
		}
	}
	for range 2 { // the operations, and those of the else branch
		for range s.count() {
			kind := OpKind(s.byte())
			if kind == DeleteTree || kind == Restore {
				return true
			}
			s.text()
			if kind == Put {
				s.text()
				s.text()
			}
		}
	}
	return false
}

// skipper passes over what a decoder would read, and stops at what it would refuse.
type skipper struct{ b []byte }

func (s *skipper) skip(n uint64) { s.b = s.b[min(n, uint64(len(s.b))):] }

func (s *skipper) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

// count is a number of things that take at least a byte each.
func (s *skipper) count() uint64 {
	n, size := binary.Uvarint(s.b)
	if size <= 0 || n > uint64(len(s.b)) {
		s.b = nil
		return 0
	}
	s.b = s.b[size:]
	return n
}

// text passes over a text, or bytes, and returns its length.
func (s *skipper) text() uint64 {
	n := s.count()
	s.skip(n)
	return n
}
