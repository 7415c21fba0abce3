// Package load is the clients of what is compared: what they ask, and whether what they hear is right.
package load

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
)

const (
	// KeyPrefix is what all keys begin with; eight digits follow.
	KeyPrefix = "bench/"
	digits    = 8
	// MaxKeys and MaxSerial are what eight digits can say.
	MaxKeys   = 100_000_000
	maxSerial = 100_000_000
	// MinValue is the size of a value that has nothing but its key and its serial number.
	MinValue = 2 * digits

	// varying is how much of a value differs from another's, rounded up to what base64 encodes by itself.
	varying = 18
)

// Values makes values of one size and knows them again: the number of their key, a serial number, then text that is always
// the same. It is letters and digits, so no encoding escapes anything.
type Values struct {
	plain   []byte
	encoded []byte // in base64
}

// NewValues makes values of a size, at least MinValue.
func NewValues(size int) (*Values, error) {
	if size < MinValue {
		return nil, fmt.Errorf("values of %d bytes: at least %d", size, MinValue)
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	v := &Values{plain: make([]byte, size)}
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range v.plain {
		v.plain[i] = letters[random.IntN(len(letters))]
	}
	v.encoded = base64.StdEncoding.AppendEncode(nil, v.plain)
	return v, nil
}

// Size is that of a value.
func (v *Values) Size() int { return len(v.plain) }

// Append appends a whole value.
func (v *Values) Append(to []byte, key int, serial uint64) []byte {
	at := len(to)
	to = append(to, v.plain...)
	putDigits(to[at:], uint64(key))
	putDigits(to[at+digits:], serial%maxSerial)
	return to
}

// AppendEncoded appends a whole value in base64.
func (v *Values) AppendEncoded(to []byte, key int, serial uint64) []byte {
	at := len(to)
	to = append(to, v.encoded...)
	v.patchEncoded(to[at:], key, serial)
	return to
}

// patch makes the value at the beginning of text another one.
func (v *Values) patch(text []byte, key int, serial uint64) {
	putDigits(text, uint64(key))
	putDigits(text[digits:], serial%maxSerial)
}

func (v *Values) patchEncoded(text []byte, key int, serial uint64) {
	var head [varying]byte
	n := copy(head[:], v.plain)
	v.patch(head[:], key, serial)
	base64.StdEncoding.Encode(text, head[:n])
}

var errOther = errors.New("it is not a value of that key")

// check says whether a value is one of the key's.
func (v *Values) check(value []byte, key int) error {
	if len(value) != len(v.plain) {
		return fmt.Errorf("%w: %d bytes, not %d", errOther, len(value), len(v.plain))
	}
	if n, ok := getDigits(value); !ok || n != uint64(key) {
		return fmt.Errorf("%w: %.16q", errOther, value)
	}
	if _, ok := getDigits(value[digits:]); !ok || !bytes.Equal(value[MinValue:], v.plain[MinValue:]) {
		return fmt.Errorf("%w: %.40q", errOther, value)
	}
	return nil
}

// checkEncoded is check of a value in base64.
func (v *Values) checkEncoded(value []byte, key int) error {
	if len(value) != len(v.encoded) {
		return fmt.Errorf("%w: %d bytes of base64, not %d", errOther, len(value), len(v.encoded))
	}
	var head [varying]byte
	in := min(len(value), base64.StdEncoding.EncodedLen(varying))
	n, err := base64.StdEncoding.Decode(head[:], value[:in])
	if err != nil {
		return fmt.Errorf("%w: %w", errOther, err)
	}
	if k, ok := getDigits(head[:]); !ok || k != uint64(key) {
		return fmt.Errorf("%w: %.16q", errOther, head[:])
	}
	if _, ok := getDigits(head[digits:]); !ok || !bytes.Equal(head[MinValue:n], v.plain[MinValue:n]) || !bytes.Equal(value[in:], v.encoded[in:]) {
		return fmt.Errorf("%w: %.40q", errOther, head[:])
	}
	return nil
}

// putDigits writes a number in eight digits.
func putDigits(to []byte, n uint64) {
	for i := digits - 1; i >= 0; i-- {
		to[i] = byte('0' + n%10)
		n /= 10
	}
}

func getDigits(text []byte) (n uint64, ok bool) {
	for _, c := range text[:digits] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

// AppendKey appends a key.
func AppendKey(to []byte, key int) []byte {
	to = append(to, KeyPrefix+"00000000"...)
	putDigits(to[len(to)-digits:], uint64(key))
	return to
}
