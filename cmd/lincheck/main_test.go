package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const history = `
{"t":1,"type":"call","op":1,"client":1,"node":"n1","kind":"put","key":"a","value":"x"}
{"t":2,"type":"return","op":1,"outcome":"applied","revision":1}
{"t":3,"type":"call","op":2,"client":1,"node":"n1","kind":"read","key":"a"}
{"t":4,"type":"return","op":2,"outcome":"read","revision":1,"found":true,"value":"x","key_revision":1}
`

// hard is a history that Porcupine has no answer for in a moment: sixty unknown
// writes, and a read of none of them that was answered in a way they do not exclude at once.
func hard() string {
	var b strings.Builder
	for i := 1; i <= 60; i++ {
		fmt.Fprintf(&b, `{"t":1,"type":"call","op":%d,"kind":"put","key":"a","value":"v%d"}`+"\n", i, i)
	}
	for i := 1; i <= 60; i += 2 { // all are seen, in an order
		fmt.Fprintf(&b, `{"t":%d,"type":"call","op":%d,"kind":"read","key":"a"}`+"\n", 2*i, 100+i)
		fmt.Fprintf(&b, `{"t":%d,"type":"return","op":%d,"outcome":"read","revision":%d,"found":true,"value":"v%d","key_revision":%d}`+"\n", 2*i+1, 100+i, i, i, i)
	}
	return b.String()
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "h.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(history), 0o600))
	page := filepath.Join(dir, "report.html")
	stale := strings.Replace(history, `"found":true,"value":"x","key_revision":1`, `"key_revision":0`, 1)
	cases := []struct {
		name  string
		args  []string
		stdin string
		code  int
		says  []string // of the output and the error
	}{
		{"a file", []string{path}, "", 0, []string{"linearizability: ok: 2 operations", "porcupine: ok: 1 key"}},
		{"standard input", []string{"-"}, history, 0, []string{"ok"}},
		{"a report", []string{path, "--html", page}, "", 0, []string{"ok"}},
		{"a stale read", []string{"-"}, stale, exitViolation, []string{"linearizability: violation", "porcupine: violation", "op 2 "}},
		{"no answer", []string{"-", "--budget", "1ns"}, hard(), exitNoAnswer, []string{"porcupine: no answer", "keys a"}},
		{"no history", []string{"-"}, "{", exitUsage, []string{"line 1"}},
		{"no file", []string{path + ".missing"}, "", exitUsage, []string{"no such file"}},
		{"no place for the report", []string{path, "--html", filepath.Join(dir, "missing", "r.html")}, "", exitUsage, []string{"r.html"}},
		{"no argument", nil, "", exitUsage, []string{"arg"}},
		{"help", []string{"-h"}, "", 0, []string{"Exit codes", "--html", "docs/history.md"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cmd := command()
			var out bytes.Buffer
			cmd.SetArgs(append([]string{}, c.args...))
			cmd.SetIn(strings.NewReader(c.stdin))
			cmd.SetOut(&out)
			err := cmd.Execute()
			if err != nil {
				out.WriteString(err.Error())
			}
			assert.Equal(t, c.code, exitCode(err))
			for _, says := range c.says {
				assert.Contains(t, out.String(), says)
			}
		})
	}
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(html), "<!doctype html>")
}
