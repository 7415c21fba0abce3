package httpapi

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// A cursor is where a page ended: the last key, or child's name, that was
// listed. Keys that come or go elsewhere do not shift it, and every node of the
// cluster takes it. In base64url:
//
//	byte 0     layout, 1
//	byte 1-8   xxhash64 of what was listed and of the rest, little-endian
//	byte 9-    the last key or name
//
// The hash binds a cursor to its query; it is no secret and needs to be none.
const (
	cursorLayout    = 1
	cursorHeadBytes = 9
)

func makeCursor(t target, recursive bool, last string) string {
	b := make([]byte, cursorHeadBytes, cursorHeadBytes+len(last))
	b[0] = cursorLayout
	binary.LittleEndian.PutUint64(b[1:], cursorSum(t, recursive, last))
	return base64.RawURLEncoding.EncodeToString(append(b, last...))
}

func parseCursor(s string, t target, recursive bool) (last string, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) <= cursorHeadBytes || b[0] != cursorLayout {
		return "", problemf(kindInvalidCursor, "cursor is not one that this API gave out")
	}
	last = string(b[cursorHeadBytes:])
	if binary.LittleEndian.Uint64(b[1:]) != cursorSum(t, recursive, last) {
		return "", problemf(kindInvalidCursor, "cursor belongs to another query: path and recursive must be as they were")
	}
	return last, nil
}

func cursorSum(t target, recursive bool, last string) uint64 {
	b := append([]byte(t.key), 0) // a key holds no zero byte
	if recursive {
		b = append(b, 1)
	} else {
		b = append(b, 2)
	}
	return xxhash.Sum64(append(b, last...))
}
