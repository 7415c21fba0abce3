package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

// tour is the lines of code in a section of the README.
func tour(t *testing.T, heading string) (lines []string) {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(readme), "\n## "+heading+"\n")
	require.True(t, found, "the README has no section %q", heading)
	after, _, _ = strings.Cut(after, "\n## ")
	for line := range strings.Lines(after) {
		if code, ok := strings.CutPrefix(line, "    "); ok && strings.TrimSpace(code) != "" {
			lines = append(lines, strings.TrimSpace(code))
		}
	}
	require.NotEmpty(t, lines)
	return lines
}

// TestE2EDevTour: the commands of the README's tour with tokens do what it says of them.
func TestE2EDevTour(t *testing.T) {
	path, err := program()
	require.NoError(t, err)
	dir := t.TempDir()
	d, out := devIn(t, filepath.Join(dir, "confman-dev"))
	d.self, d.called, d.auth, d.environ = path, "confman", true, os.Environ()
	require.NoError(t, d.prepare())
	d.provider, err = localissuer.Start(d.issuer(), localissuer.Options{})
	require.NoError(t, err)
	defer d.provider.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	said := func() string {
		d.lock.Lock()
		defer d.lock.Unlock()
		return out.String()
	}
	require.Eventually(t, func() bool { return strings.Contains(said(), "Ctrl-C stops all nodes") }, readyWait, pollEvery)

	// What it prints is what the files have.
	for _, u := range devUsers {
		token, err := os.ReadFile(d.tokenFile(u))
		require.NoError(t, err)
		assert.Contains(t, said(), "\n  export CONFMAN_TOKEN="+string(token))
		info, err := os.Stat(d.tokenFile(u))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	// Each line of the tour, with what its comment says that it answers.
	environ := []string{endpointsVariable + "=" + strings.Join(d.urls(), ",")}
	expect := 0
	ran := 0
	for _, line := range tour(t, "A tour with tokens") {
		switch {
		case strings.HasPrefix(line, "# "):
			expect = 0
			if found := regexp.MustCompile(`exit code (\d)`).FindStringSubmatch(line); found != nil {
				expect = int(found[1][0] - '0')
			}
		case strings.HasPrefix(line, "go run ./cmd/confman dev"): // it runs
		case strings.HasPrefix(line, "export CONFMAN_TOKEN=$(cat confman-dev/"):
			name := strings.TrimSuffix(strings.TrimPrefix(line, "export CONFMAN_TOKEN=$(cat confman-dev/"), ".token)")
			token, err := os.ReadFile(filepath.Join(d.dir, name+".token"))
			require.NoError(t, err)
			environ = append(environ[:1:1], tokenVariable+"="+strings.TrimSpace(string(token)))
		case strings.HasPrefix(line, "curl "):
			require.Contains(t, line, "http://127.0.0.1:5000")
			line = strings.ReplaceAll(line, "http://127.0.0.1:5000", d.urls()[0])
			cmd := exec.Command("sh", "-c", line)
			cmd.Env = append(os.Environ(), environ...)
			answer, err := cmd.Output()
			require.NoError(t, err, line)
			assert.Regexp(t, `^HTTP/1.1 20[01]`, string(answer))
			ran++
		default:
			args, ok := strings.CutPrefix(line, "go run ./cmd/confman ")
			require.True(t, ok, line)
			var stdout, stderr bytes.Buffer
			// What a node refused is in the audit a little later.
			require.Eventually(t, func() bool {
				stdout.Reset()
				stderr.Reset()
				e := env{in: strings.NewReader(""), out: &stdout, err: &stderr, environ: environ}
				code := run(t.Context(), e, split(args))
				return code == expect && (!strings.Contains(args, "denied") || strings.Contains(stdout.String(), "user:local/reader"))
			}, readyWait, time.Second, "%s: %s %s", line, &stdout, &stderr)
			ran++
		}
	}
	assert.Greater(t, ran, 7)
}
