package httpapi

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/confman/confman/fsm"
)

// cursor is where a page ended. All pages of a walk show one revision, whatever is
// written meanwhile, and every node of the cluster takes it. In base64url:
//
//	byte 0     layout, 2
//	byte 1-8   xxhash64 of what was listed and of the rest, little-endian
//	byte 9-16  the revision, little-endian
//	byte 17-   what was listed last
//
// The hash binds a cursor to its query; it is no secret and needs to be none.
type cursor struct {
	revision fsm.Revision
	last     string // what was listed last: a key, a child's name, a place in a history
}

const (
	cursorLayout    = 2
	cursorSumAt     = 1
	cursorBodyAt    = cursorSumAt + 8
	cursorHeadBytes = cursorBodyAt + 8
)

// encode spells the cursor. scope says what is listed: a cursor is good for that only.
func (c cursor) encode(scope string) string {
	b := make([]byte, cursorHeadBytes, cursorHeadBytes+len(c.last))
	b[0] = cursorLayout
	binary.LittleEndian.PutUint64(b[cursorBodyAt:], uint64(c.revision))
	b = append(b, c.last...)
	binary.LittleEndian.PutUint64(b[cursorSumAt:], cursorSum(scope, b[cursorBodyAt:]))
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s, scope string) (cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) <= cursorHeadBytes || b[0] != cursorLayout {
		return cursor{}, problemf(kindInvalidCursor, "cursor is not one that this API gave out")
	}
	if binary.LittleEndian.Uint64(b[cursorSumAt:]) != cursorSum(scope, b[cursorBodyAt:]) {
		return cursor{}, problemf(kindInvalidCursor, "cursor belongs to another query: all but limit must be as it was")
	}
	return cursor{
		revision: fsm.Revision(binary.LittleEndian.Uint64(b[cursorBodyAt:])),
		last:     string(b[cursorHeadBytes:]),
	}, nil
}

func cursorSum(scope string, body []byte) uint64 {
	b := append([]byte(scope), 0) // a scope holds no zero byte
	return xxhash.Sum64(append(b, body...))
}
