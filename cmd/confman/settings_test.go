package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/config"
)

// TestFlagsAreDocumented: docs/settings.md, which package config makes, has the flags of serve, and no others.
func TestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/settings.md")
	require.NoError(t, err)
	flags := map[string]string{}
	for line := range strings.Lines(string(page)) {
		cell, _, _ := strings.Cut(line, " | ")
		if key, flag, ok := strings.Cut(cell, "<br>`--"); ok {
			key, _, _ = strings.Cut(strings.TrimPrefix(key, "| `"), "`")
			flags[strings.TrimSuffix(flag, "`")] = key
		}
	}
	want := map[string]string{}
	for _, s := range settings {
		want[s.flag] = s.key
	}
	assert.Equal(t, want, flags, "the tags of package config say which flag sets what")
}

// TestDefaultsOfAuthAreDocumented: package config has them for docs/settings.md only, package auth uses them.
func TestDefaultsOfAuthAreDocumented(t *testing.T) {
	documented := func(in reflect.Type, field string) string {
		f, ok := in.FieldByName(field)
		require.True(t, ok, field)
		return f.Tag.Get("default")
	}
	cfg, issuer := reflect.TypeFor[config.Auth](), reflect.TypeFor[config.Issuer]()
	for _, d := range []struct {
		in    reflect.Type
		field string
		want  time.Duration
	}{{cfg, "Refresh", auth.DefaultRefresh}, {cfg, "MinRefresh", auth.DefaultMinRefresh}, {cfg, "MaxKeyAge", auth.DefaultMaxKeyAge}, {issuer, "Leeway", auth.DefaultLeeway}} {
		got, err := time.ParseDuration(documented(d.in, d.field))
		require.NoError(t, err, d.field)
		assert.Equal(t, d.want, got, d.field)
	}
	assert.Equal(t, auth.DefaultEntraURL, documented(issuer, "EntraURL"))
	assert.Equal(t, auth.DefaultEntraV1URL, documented(issuer, "EntraV1URL"))
}
