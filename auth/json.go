package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// object is a JSON object; its names are compared exactly, which encoding/json
// would not do with a struct.
type object map[string]json.RawMessage

// parseObject takes one JSON object, in which no object, however deep, has two
// members of one name: two readers of those could see different tokens.
func parseObject(b []byte) (object, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("is not UTF-8")
	}
	if trimmed := bytes.TrimLeft(b, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errors.New("is not a JSON object")
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, errors.New("is not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := checkMembers(dec, 0); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is more than one JSON value")
	}
	return o, nil
}

// checkMembers goes over the next value.
func checkMembers(dec *json.Decoder, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return errors.New("is not JSON")
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("is nested deeper than %d", maxDepth)
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			token, err := dec.Token()
			if err != nil {
				return errors.New("is not JSON")
			}
			name, _ := token.(string)
			if seen[name] {
				return fmt.Errorf("has two members named %q", short(name))
			}
			seen[name] = true
		}
		if err := checkMembers(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errors.New("is not JSON")
	}
	return nil
}
