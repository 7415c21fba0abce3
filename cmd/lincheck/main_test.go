package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const history = `
{"t":1,"type":"call","op":1,"client":1,"node":"n1","kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"client":1,"node":"n1","kind":"read","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
`

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(history), 0o600))
	cases := []struct {
		name, path, stdin string
		want              error
		says              string
	}{
		{"a file", path, "", nil, ""},
		{"standard input", "-", history, nil, ""},
		{"a stale read", "-", strings.Replace(history, `"found":true,"value":"x","key_revision":1`, `"key_revision":0`, 1), errViolation, "op 2"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := check(strings.NewReader(c.stdin), &out, c.path, 5*time.Second)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				assert.Contains(t, out.String(), "registers: 1 keys, all linearizable")
				return
			}
			assert.ErrorContains(t, err, c.says)
		})
	}
	require.ErrorContains(t, check(strings.NewReader("{"), &bytes.Buffer{}, "-", time.Second), "line 1")
	require.ErrorIs(t, check(nil, &bytes.Buffer{}, path+".missing", time.Second), os.ErrNotExist)
}
