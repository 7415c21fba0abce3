package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	kjson "github.com/knadh/koanf/parsers/json"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

const (
	envPrefix = "CONFMAN_"
	// listItem stands for the position in a list, in the names of known keys.
	listItem = "[]"
)

// Load reads the file at path ("": none), then environ (as os.Environ gives it),
// then flags, whose keys are full names such as Cluster.NodeId and whose values
// are text; later ones win. The configuration it returns is valid. The error
// names every fault that was found, each with its key and where it was set.
func Load(path string, environ []string, flags map[string]string) (Config, error) {
	k := koanf.New(".")
	if path != "" {
		if err := loadFile(k, path); err != nil {
			return Config{}, err
		}
	}
	if err := loadEnv(k, environ); err != nil {
		return Config{}, err
	}
	if err := loadFlags(k, flags); err != nil {
		return Config{}, err
	}
	c := defaults()
	if err := decode(reflect.ValueOf(&c).Elem(), "", k.Raw()); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// defaults are what a setting is that nothing sets.
func defaults() Config {
	c := Config{Log: Log{Level: "info"}}
	c.History = History{KeepFor: DefaultKeepFor, KeepVersions: DefaultKeepVersions}
	c.Backup = Backup{Every: DefaultBackupEvery, Keep: DefaultBackupKeep}
	c.Clock.MaxDriftPPM = DefaultMaxDriftPPM
	c.Trace.Ratio = DefaultTraceRatio
	c.Data = Data{StoreQuotaBytes: DefaultStoreQuotaBytes, MinFreeBytes: DefaultMinFreeBytes}
	c.Auth.MaxPolicyStaleness = DefaultMaxPolicyStaleness
	return c
}

func loadFile(k *koanf.Koanf, path string) error {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if len(b) > MaxFileBytes {
		return fmt.Errorf("config: %s: larger than %d bytes", path, MaxFileBytes)
	}
	var parser koanf.Parser = kjson.Parser()
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		parser = yaml.Parser()
	} else if err := checkJSON(b); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	if err := k.Load(rawbytes.Provider(b), parser); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	if err := unknownKeys(k.Raw()); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	return nil
}

// checkJSON refuses what the parser would pass in silence, a member that is there
// twice, and says where bad syntax is.
func checkJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	at := func() string {
		before := b[:min(int(d.InputOffset()), len(b))]
		return fmt.Sprintf("line %d column %d", 1+bytes.Count(before, []byte("\n")), len(before)-bytes.LastIndexByte(before, '\n'))
	}
	next := func() (json.Token, error) {
		t, err := d.Token()
		switch {
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("%s: the text ends in the middle", at())
		case err != nil:
			err = fmt.Errorf("%s: %w", at(), err)
		}
		return t, err
	}
	var value func(path string) error
	value = func(path string) error {
		t, err := next()
		if err != nil {
			return err
		}
		open, ok := t.(json.Delim)
		if !ok {
			return nil
		}
		seen := map[string]bool{}
		for i := 0; d.More(); i++ {
			name := path + "[" + strconv.Itoa(i) + "]"
			if open == '{' {
				t, err := next()
				if err != nil {
					return err
				}
				key, _ := t.(string)
				name = join(path, key)
				if seen[key] {
					return fmt.Errorf("%s: %s is there twice", at(), name)
				}
				seen[key] = true
			}
			if err := value(name); err != nil {
				return err
			}
		}
		_, err = next()
		return err
	}
	if err := value(""); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: something follows the configuration", at())
	}
	return nil
}

func loadEnv(k *koanf.Koanf, environ []string) error {
	var errs []error
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key := strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "__", ".")
			section, _, nested := strings.Cut(key, ".")
			if !nested && !isSection(section) {
				return "", nil // CONFMAN_ENDPOINTS and the like
			}
			v, err := parse(key, value)
			if err != nil {
				errs = append(errs, fmt.Errorf("config: environment variable %s: %w", name, err))
				return "", nil
			}
			return key, v
		},
	}), nil)
	return errors.Join(append(errs, err)...)
}

func loadFlags(k *koanf.Koanf, flags map[string]string) error {
	values := make(map[string]any, len(flags))
	for key, value := range flags {
		v, err := parse(key, value)
		if err != nil {
			return fmt.Errorf("config: flag for %s: %w", key, err)
		}
		values[key] = v
	}
	return k.Load(confmap.Provider(values, "."), nil)
}

// parse makes a value of text: of a list from JSON, of the rest as it stands.
func parse(key, text string) (any, error) {
	switch {
	case slices.Contains(known(), key):
		return text, nil
	case slices.ContainsFunc(known(), func(k string) bool { return strings.HasPrefix(k, key+listItem) }):
		if err := checkJSON([]byte(text)); err != nil {
			return nil, fmt.Errorf("%s wants a list in JSON: %w", key, err)
		}
		var v []any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, fmt.Errorf("%s wants a list in JSON: %w", key, err)
		}
		return v, unknownIn(key, v)
	}
	if isSection(key) {
		return nil, fmt.Errorf("%s is a section: set the keys in it, such as %s", key, firstIn(key))
	}
	return nil, unknown(key)
}

// decode fills to, a struct of Config, from the maps and lists of a file, so that
// each fault names its key. Numbers may be text: the environment has no others.
func decode(to reflect.Value, at string, from any) error {
	if to.Type() == reflect.TypeFor[time.Duration]() {
		text, _ := from.(string)
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%s: %s, want a duration such as \"15s\"", at, describe(from))
		}
		to.SetInt(int64(d))
		return nil
	}
	switch to.Kind() {
	case reflect.Struct:
		m, ok := from.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %s, want an object", at, describe(from))
		}
		var errs []error
		for i := range to.NumField() {
			key := keyOf(to.Type().Field(i))
			if v, ok := m[key]; ok {
				errs = append(errs, decode(to.Field(i), join(at, key), v))
			}
		}
		return errors.Join(errs...)
	case reflect.Slice:
		list, ok := from.([]any)
		if !ok {
			return fmt.Errorf("%s: %s, want a list", at, describe(from))
		}
		to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
		var errs []error
		for i, v := range list {
			// Here and not afterwards: a port that is set to 0 is a fault.
			if n, ok := to.Index(i).Addr().Interface().(*Node); ok {
				n.APIPort, n.RaftPort = DefaultAPIPort, DefaultRaftPort
			}
			errs = append(errs, decode(to.Index(i), fmt.Sprintf("%s[%d]", at, i), v))
		}
		return errors.Join(errs...)
	case reflect.Map: // whose keys the operator chooses
		m, ok := from.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %s, want an object", at, describe(from))
		}
		to.Set(reflect.MakeMap(to.Type()))
		var errs []error
		for _, key := range slices.Sorted(maps.Keys(m)) {
			v := reflect.New(to.Type().Elem()).Elem()
			errs = append(errs, decode(v, join(at, key), m[key]))
			to.SetMapIndex(reflect.ValueOf(key), v)
		}
		return errors.Join(errs...)
	case reflect.Int:
		switch v := from.(type) {
		case int:
			to.SetInt(int64(v))
			return nil
		case float64:
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				to.SetInt(int64(v))
				return nil
			}
		case string:
			if n, err := strconv.Atoi(v); err == nil {
				to.SetInt(int64(n))
				return nil
			}
		}
		return fmt.Errorf("%s: %s, want a whole number", at, describe(from))
	case reflect.Float64:
		switch v := from.(type) {
		case int:
			to.SetFloat(float64(v))
			return nil
		case float64:
			to.SetFloat(v)
			return nil
		case string:
			if n, err := strconv.ParseFloat(v, 64); err == nil {
				to.SetFloat(n)
				return nil
			}
		}
		return fmt.Errorf("%s: %s, want a number", at, describe(from))
	case reflect.Bool:
		switch v := from.(type) {
		case bool:
			to.SetBool(v)
			return nil
		case string:
			if v == "true" || v == "false" {
				to.SetBool(v == "true")
				return nil
			}
		}
		return fmt.Errorf("%s: %s, want true or false", at, describe(from))
	case reflect.String:
		v, ok := from.(string)
		if !ok {
			return fmt.Errorf("%s: %s, want text", at, describe(from))
		}
		to.SetString(v)
		return nil
	default:
		panic("config: a field of a kind that decode does not know: " + to.Kind().String())
	}
}

func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return strconv.Quote(v)
	default:
		return fmt.Sprint(v)
	}
}
