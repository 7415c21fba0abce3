package main

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// shell takes a command line apart as a shell does: the words of each command of a pipe.
// Redirections are left out. It knows quotes, and no escapes or variables.
func shell(line string) (pipe [][]string, err error) {
	var (
		words  []string
		word   strings.Builder
		quote  rune
		inside bool // a word has begun
		drop   bool // the next word is where a redirection goes
	)
	end := func() {
		if inside && !drop {
			words = append(words, word.String())
		}
		drop = drop && !inside
		inside = false
		word.Reset()
	}
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == ' ':
			end()
		case c == '|':
			end()
			pipe, words = append(pipe, words), nil
		case c == '<' || c == '>':
			if word.String() == "2" { // the number of a stream
				word.Reset()
				inside = false
			}
			end()
			drop = true
		case strings.ContainsRune("$`\\&;()#*?~", c) && (c != '~' || !inside):
			return nil, fmt.Errorf("%q means something to a shell", c)
		default:
			word.WriteRune(c)
			inside = true
		}
	}
	end()
	if quote != 0 || drop {
		return nil, fmt.Errorf("line ends within something")
	}
	return append(pipe, words), nil
}

func TestShell(t *testing.T) {
	for line, want := range map[string][][]string{
		`a  b`:                       {{"a", "b"}},
		`a 'b "c' "d 'e" f"g h"'i' `: {{"a", `b "c`, "d 'e", "fg hi"}},
		`a ''`:                       {{"a", ""}},
		`a b | c d|e`:                {{"a", "b"}, {"c", "d"}, {"e"}},
		`a > b c`:                    {{"a", "c"}},
		`a 2>b <c '>d' | e >>f`:      {{"a", ">d"}, {"e"}},
	} {
		got, err := shell(line)
		require.NoError(t, err, line)
		assert.Equal(t, want, got, line)
	}
	for _, line := range []string{`a 'b`, `a "b`, `a $b`, `a & b`, `a *.json`, `a >`, `a ~`} {
		_, err := shell(line)
		assert.Error(t, err, line)
	}
}

// exampleFiles are what the examples of each command read, by name.
var exampleFiles = map[string]map[string]string{
	"put":   {"routes.json": `[1]`},
	"patch": {"routes.patch.json": `[{"op": "replace", "path": "/0", "value": 2}]`},
	"txn":   {"swap.json": `{"compare": [{"path": "teams/payments/lock", "revision": 42}], "then": [{"delete": "teams/payments/lock"}]}`},
	"ns":    {"payments.ns.json": `{"path": "teams/payments/", "owner": "ann", "bindings": [], "settings": {"keep_versions": 5}, "revision": 57}`},
	"import": {
		"cldr/main/en/numbers.json": `{"main": {"en": {"x": 1}}}`,
		"payments.json":             `{"timeout-ms": 30}`,
		"backup.ndjson":             `{"path": "a", "value": 1}`,
		"paths/a.json":              `{"a/b": 1}`,
	},
}

// exampleStore is what the examples find: at revision 41 a first state, at 42 the one that
// is there, and others elsewhere up to 57.
func exampleStore(a *fakeAPI) {
	r := httptest.NewRequest("PUT", "/", nil)
	values := map[string]string{
		"teams/payments/timeout-ms": "30", "teams/payments/routes": "[1]", "teams/payments/limits": `{"per_minute": 30, "burst": 9}`,
		"teams/payments/lock": `"me"`, "teams/payments/old/a": "1", "i18n/cldr/en/numbers.json/main/en/x": "1",
	}
	for revision := uint64(1); revision <= 57; revision++ {
		switch revision {
		case 41, 42:
			for key, value := range values {
				if revision == 41 {
					value = "null"
				}
				a.store(&client.Record{Path: key, Value: []byte(value), ContentType: client.TypeJSON}, revision)
			}
		default:
			a.store(&client.Record{Path: "elsewhere", Value: fmt.Append(nil, revision), ContentType: client.TypeJSON}, revision)
		}
		a.commit(r)
	}
	a.namespaces["/"] = client.Namespace{
		Path: "/", Revision: 56, ModifiedAt: fakeNow, ModifiedBy: "anonymous",
		Roles: map[string][]string{"deployer": {"read", "write"}}, Denied: []string{"user:entra/contoso/eve"},
	}
	a.namespaces["teams/payments/"] = client.Namespace{
		Path: "teams/payments/", Revision: 57, ModifiedAt: fakeNow, ModifiedBy: "anonymous",
		Bindings: []client.Binding{{Role: "editor", Subjects: []string{"user:entra/contoso/bob"}}},
	}
}

// runExample runs the example of a command against a store of its own.
func runExample(t *testing.T, line string) {
	t.Helper()
	pipe, err := shell(line)
	require.NoError(t, err)
	in := `{"piped": 1}`
	if from := pipe[0]; len(pipe) > 1 && from[0] == "echo" {
		in = strings.Join(from[1:], " ")
	}
	args := pipe[len(pipe)-1]
	require.Equal(t, "confman", args[0])
	args = args[1:]

	api, url := newFakeAPI(t)
	exampleStore(api)
	api.backup = exampleBackup(t)
	for i, arg := range args { // nothing is sent to the addresses of examples
		if i > 0 && args[i-1] == "--endpoints" {
			args[i] = strings.Join(slices.Repeat([]string{url}, strings.Count(arg, ",")+1), ",")
		}
	}
	t.Chdir(t.TempDir())
	for name, text := range exampleFiles[args[0]] {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	if args[0] == "backup" && args[1] == "verify" {
		require.NoError(t, os.WriteFile(args[2], api.backup, 0o600))
	}
	if args[0] == "backup" && args[1] == "salvage" {
		restoreExample(t, "confman-data")
	}
	for _, dir := range []string{raftCADir, clientCADir} {
		if args[0] == "cert" && len(args) > 2 && args[1] != "init" {
			require.Zero(t, command(t, url, "", "cert", "init", "--dir", dir).code)
		}
	}
	var out, errs bytes.Buffer
	e := env{in: strings.NewReader(in), out: &out, err: &errs, environ: []string{endpointsVariable + "=" + url}}
	root := newRoot(e)
	for _, cmd := range root.Commands() {
		if cmd.GroupID == groupServer { // its flags are read, but it would stay
			cmd.RunE = func(*cobra.Command, []string) error { return nil }
		}
	}
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	require.NoError(t, err, "%s%s", out.String(), errs.String())
	require.Equal(t, exitOK, exitCode(err))
}

// TestExamplesRun: every command has examples, and each of them does what it says.
func TestExamplesRun(t *testing.T) {
	n := 0
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		assert.NotEmpty(t, c.Short, c.CommandPath())
		if c.RunE != nil || c.Run != nil {
			assert.NotEmpty(t, c.Example, c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			t.Run(line, func(t *testing.T) {
				n++
				pipe, err := shell(line)
				require.NoError(t, err)
				words := pipe[len(pipe)-1]
				require.Equal(t, "confman", words[0], "an example is of confman, though something may be piped into it")
				if c.HasParent() {
					require.True(t, strings.HasPrefix(strings.Join(words, " ")+" ", c.CommandPath()+" "), "an example is of its command")
				}
				runExample(t, line)
			})
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(newRoot(env{}))
	assert.Greater(t, n, 40)
}

// TestExamplesCanFail: what is wrong with an example is found.
func TestExamplesCanFail(t *testing.T) {
	for _, args := range [][]string{
		{"get", "a", "--tpyo"}, {"get"}, {"tpyo"}, {"rollback", "a"}, {"ls", "--at", "noon"}, {"serve", "--tpyo"},
	} {
		root := newRoot(env{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}})
		root.SetArgs(args)
		root.SetOut(&bytes.Buffer{})
		root.SetErr(&bytes.Buffer{})
		assert.Equal(t, exitUsage, exitCode(root.ExecuteContext(t.Context())), args)
	}
}
