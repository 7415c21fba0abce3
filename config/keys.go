package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// known are the full names of all settings, such as Cluster.Nodes[].Id; of an object whose keys
// the operator chooses, the name is its own.
var known = sync.OnceValue(func() []string {
	var keys []string
	var walk func(t reflect.Type, at string)
	walk = func(t reflect.Type, at string) {
		switch t.Kind() {
		case reflect.Struct:
			for f := range t.Fields() {
				walk(f.Type, join(at, keyOf(f)))
			}
		case reflect.Slice:
			walk(t.Elem(), at+listItem)
		default:
			keys = append(keys, at)
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return keys
})

// anyKeys are the objects whose keys the operator chooses.
var anyKeys = []string{"Auth.Issuers[].Scopes"}

// keyOf is a field's name in a file.
func keyOf(f reflect.StructField) string {
	if tag, ok := f.Tag.Lookup("koanf"); ok {
		return tag
	}
	return f.Name
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// unknownKeys reports every key of a file that is no setting.
func unknownKeys(file map[string]any) error { return unknownIn("", file) }

func unknownIn(at string, v any) error {
	var errs []error
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			name := join(at, key)
			if strings.ContainsAny(key, ".[]") {
				errs = append(errs, fmt.Errorf("unknown key %q: a key in a file is one name, and sections are objects", name))
				continue
			}
			if !slices.ContainsFunc(known(), func(k string) bool {
				return k == generic(name) || strings.HasPrefix(k, generic(name)+".") || strings.HasPrefix(k, generic(name)+listItem)
			}) {
				errs = append(errs, unknown(name))
				continue
			}
			if !slices.Contains(anyKeys, generic(name)) {
				errs = append(errs, unknownIn(name, v[key]))
			}
		}
	case []any:
		for i, item := range v {
			errs = append(errs, unknownIn(fmt.Sprintf("%s[%d]", at, i), item))
		}
	}
	return errors.Join(errs...)
}

// generic is a key with the positions in lists taken out.
func generic(key string) string {
	var b strings.Builder
	inside := false
	for _, c := range key {
		if c == ']' {
			inside = false
		}
		if !inside {
			b.WriteRune(c)
		}
		if c == '[' {
			inside = true
		}
	}
	return b.String()
}

// unknown is the error of a key that is no setting, with the nearest that is.
func unknown(key string) error {
	best, distance := "", len(key)/2+1
	for _, k := range known() {
		for ; k != ""; k = parent(k) {
			if d := editDistance(generic(key), k); d < distance {
				best, distance = k, d
			}
		}
	}
	if best == "" {
		return fmt.Errorf("unknown key %s", key)
	}
	return fmt.Errorf("unknown key %s: did you mean %s?", key, best)
}

func parent(key string) string {
	i := strings.LastIndexByte(key, '.')
	return strings.TrimSuffix(key[:max(i, 0)], listItem)
}

// editDistance is Levenshtein's; a change of case alone counts nothing, so that
// a name in the wrong case is always found.
func editDistance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
