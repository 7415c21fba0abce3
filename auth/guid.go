package auth

import (
	"encoding/hex"
	"strings"
)

// parseGUID takes the usual spelling, of either case: 8-4-4-4-12 hexadecimal digits.
func parseGUID(text string) (guid [16]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return guid, false
	}
	digits := strings.ReplaceAll(text, "-", "")
	if len(digits) != 32 {
		return guid, false
	}
	_, err := hex.Decode(guid[:], []byte(digits))
	return guid, err == nil
}

func isGUID(text string) bool {
	_, ok := parseGUID(text)
	return ok
}
