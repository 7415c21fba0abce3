package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// commandsOf are the lines of code in a section of docs/operations.md, without those within fences, and the
// first of what is within fences.
func commandsOf(t *testing.T, heading string) (lines []string, fenced string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	require.True(t, found, "docs/operations.md has no section %q", heading)
	section, _, _ = strings.Cut(section, "\n## ")
	for i, text := range strings.Split(section, "```") {
		if i == 1 {
			_, fenced, _ = strings.Cut(text, "\n") // behind its language
		}
		if i%2 == 1 {
			continue
		}
		for line := range strings.Lines(text) {
			if code := strings.TrimSpace(line); strings.HasPrefix(line, "    ") && code != "" {
				lines = append(lines, code)
			}
		}
	}
	require.NotEmpty(t, lines)
	return lines, fenced
}

// machines are a fleet whose nodes have what the page has on machines of their own.
type machines struct {
	*fleet
	work string // where the commands run that are no node's
	env  []string
	json string // the configuration of node1
	ran  int
}

// here is a text of the page for one node: with its addresses, ports and directories, without users.
func (m *machines) here(text string, p *proc) string {
	at := filepath.Join(m.dir, p.name+"-machine")
	root, err := filepath.Abs("../..")
	require.NoError(m.tb, err)
	replace := []string{
		"sudo -u confman ", "", "sudo ", "", "-o confman ", "", "-g confman ", "",
		"deploy/systemd/", filepath.Join(root, "deploy", "systemd") + "/",
		"/var/lib/confman", p.data, "/etc/", filepath.Join(at, "etc") + "/", "/usr/local/bin/", filepath.Join(at, "bin") + "/",
	}
	for i, n := range m.nodes {
		address := fmt.Sprintf("10.0.1.1%d", i)
		replace = append(
			replace, address+":5000", fmt.Sprintf("127.0.0.1:%d", n.api),
			fmt.Sprintf(`"Address": "%s", "ApiPort": 5000, "RaftPort": 5001`, address), fmt.Sprintf(`"Address": "127.0.0.1", "ApiPort": %d, "RaftPort": %d`, n.api, n.raft),
			address, "127.0.0.1",
		)
	}
	return strings.NewReplacer(replace...).Replace(text)
}

// sh runs a line as it stands, again until it does not fail: what it asks for may take a moment.
func (m *machines) sh(line string) (output string) {
	m.tb.Helper()
	m.ran++
	defer func() {
		if m.tb.Failed() {
			m.tb.Logf("%s: %s", line, output)
		}
	}()
	m.until(readyWait, line, func() bool {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir, cmd.Env = m.work, append(append(os.Environ(), "PATH="+filepath.Dir(m.path)+":"+os.Getenv("PATH")), m.env...)
		out, err := cmd.CombinedOutput()
		output = string(out)
		if err != nil && !strings.HasPrefix(line, "confman ") && !strings.HasPrefix(line, "curl ") {
			require.NoError(m.tb, err, "%s: %s", line, out)
		}
		return err == nil
	})
	return output
}

// do does what a line of the page says, on the machines that it is for.
func (m *machines) do(line string) {
	m.tb.Helper()
	switch {
	case strings.Contains(line, "useradd"), strings.Contains(line, "daemon-reload"): // there is no root here
	case line == "sudo systemctl enable --now confman", line == "sudo systemctl start confman":
		m.trust()
		m.start(m.nodes...)
		m.await(m.nodes...)
	case line == "sudo systemctl restart confman": // of who is left
		m.stop(m.nodes[0])
		m.start(m.nodes[0])
		m.until(readyWait, "the node serves", func() bool {
			a, err := m.send(http.MethodGet, m.nodes[0].url()+"/health/live", "")
			return err == nil && a.status == http.StatusOK
		})
	case line == "sudo systemctl stop confman":
		m.stop(m.nodes[0])
	case strings.Contains(line, "backup salvage"):
		assert.Contains(m.tb, m.sh(m.here(line, m.nodes[0])), "made by node1")
	case strings.Contains(line, "confman restore "):
		first := m.sh(m.here(line, m.nodes[0]))
		_, command, found := strings.Cut(first, "\n  confman restore ")
		require.True(m.tb, found, first)
		command, _, _ = strings.Cut(command, "\n")
		for _, p := range m.nodes[1:] {
			m.sh("confman restore " + strings.ReplaceAll(command, m.nodes[0].config, p.config))
		}
	case strings.HasPrefix(line, "sudo "):
		for _, p := range m.nodes {
			text := strings.Replace(m.here(m.json, p), `"NodeId": "node1"`, `"NodeId": "`+p.name+`"`, 1)
			require.NoError(m.tb, os.WriteFile(filepath.Join(m.work, "confman.json"), []byte(text), 0o600))
			m.sh(m.here(strings.ReplaceAll(line, "node1", p.name), p))
		}
	case strings.HasPrefix(line, "export "):
		m.env = append(m.env, strings.Fields(m.here(line, m.nodes[0]))[1:]...)
	default:
		output := m.sh(m.here(line, m.nodes[0]))
		if line == "confman cluster" {
			assert.Equal(m.tb, 1, strings.Count(output, "  leader  "), output)
			assert.Equal(m.tb, 2, strings.Count(output, "  follower  "), output)
			assert.Contains(m.tb, output, "3 nodes answered")
		}
	}
}

// trust has the test itself believe the CA of the API.
func (m *machines) trust() {
	ca, err := os.ReadFile(filepath.Join(m.work, "api-ca", "ca.crt"))
	require.NoError(m.tb, err)
	pool := x509.NewCertPool()
	require.True(m.tb, pool.AppendCertsFromPEM(ca))
	m.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
}

// TestE2EInstall does what docs/operations.md says: installs three nodes, loses two of them, and makes a new
// cluster of what the third one has.
func TestE2EInstall(t *testing.T) {
	t.Setenv("CONFMAN_Api__DrainDelay", "0s") // nobody is behind a load balancer here
	m := &machines{fleet: newFleet(t, 3)}
	m.work = filepath.Join(m.dir, "admin")
	require.NoError(t, os.Mkdir(m.work, 0o700))
	require.NoError(t, os.Symlink(m.path, filepath.Join(m.work, "confman")))
	for _, p := range m.nodes {
		for _, dir := range []string{"bin", "etc/systemd/system"} {
			require.NoError(t, os.MkdirAll(filepath.Join(m.dir, p.name+"-machine", dir), 0o700))
		}
		p.config, p.scheme = filepath.Join(m.dir, p.name+"-machine", "etc", "confman", "confman.json"), "https"
	}

	install, text := commandsOf(t, "Install on three VMs")
	m.json = text
	for _, line := range install {
		m.do(line)
	}
	require.Greater(t, m.ran, 40)
	for _, p := range m.nodes {
		for _, careless := range []string{"plain text", "can read the key", "nobody has to say who they are"} {
			assert.NotContains(t, p.output(), careless, p.name)
		}
	}
	assert.Equal(t, "30", m.sh("confman get teams/payments/timeout-ms"))

	m.sh("confman put teams/payments/timeout-ms 45")
	m.until(readyWait, "node1 has it", func() bool {
		return m.sh("confman get --consistency local --endpoints "+m.nodes[0].url()+" teams/payments/timeout-ms") == "45"
	})
	m.kill(m.nodes[1:]...)
	recovery, _ := commandsOf(t, "Disaster recovery")
	for _, line := range recovery {
		m.do(line)
	}
	assert.Equal(t, "45", m.sh("confman get teams/payments/timeout-ms"))
	assert.Contains(t, m.sh("confman audit"), "restored")
}
