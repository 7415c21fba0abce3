package jepsen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	connectTime = 10 * time.Second // for TCP and the handshake of SSH
	commandTime = 40 * time.Second // for what a machine is told to do; undoing everything takes the longest
	// An sshd gives ten sessions to a connection, unless it is told otherwise.
	maxSessions = 6
	// What a command may print; the rest is dropped.
	maxOutput = 1 << 20
)

// errUnreachable: it is not known what became of the command.
var errUnreachable = errors.New("the machine is not reached over SSH")

// sshHost is a machine as SSH reaches it. The connection is made when it is needed, and again after it broke.
type sshHost struct {
	name   string
	addr   string
	sudo   bool
	config *ssh.ClientConfig
	slots  chan struct{}

	mu     sync.Mutex
	client *ssh.Client
}

func newSSHHost(name string, l InventoryLogin) (*sshHost, error) {
	h := &sshHost{name: name, addr: net.JoinHostPort(l.Host, strconv.Itoa(l.Port)), sudo: l.Sudo, slots: make(chan struct{}, maxSessions)}
	known, err := knownhosts.New(l.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("%s: the keys of machines are checked, and the file with them cannot be read: %w", name, err)
	}
	auth, err := authOf(l.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	h.config = &ssh.ClientConfig{
		User: l.User, Auth: []ssh.AuthMethod{auth}, Timeout: connectTime,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			return explainKey(known(host, remote, key), l, key)
		},
		HostKeyAlgorithms: algorithmsOf(known, h.addr),
	}
	return h, nil
}

// again is the same machine, over a connection of its own.
func (h *sshHost) again() *sshHost {
	return &sshHost{name: h.name, addr: h.addr, sudo: h.sudo, config: h.config, slots: make(chan struct{}, 1)}
}

// authOf is the key of a file, or what the agent has.
func authOf(key string) (ssh.AuthMethod, error) {
	if key == "" {
		socket := os.Getenv("SSH_AUTH_SOCK")
		if socket == "" {
			return nil, errors.New(`no key: name a file as "key" in the inventory, or have an agent run (SSH_AUTH_SOCK)`)
		}
		return ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			// The signers use the connection for as long as the handshake lasts; it ends with the program.
			conn, err := net.Dial("unix", socket) //nolint:gosec // the agent of who runs this
			if err != nil {
				return nil, fmt.Errorf("the agent: %w", err)
			}
			return agent.NewClient(conn).Signers()
		}), nil
	}
	text, err := os.ReadFile(key) //nolint:gosec // the inventory names it
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf(`%s has a passphrase: give it to an agent (ssh-add), and name no "key" in the inventory`, key)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return ssh.PublicKeys(signer), nil
}

// explainKey says what to do about a machine's key that is not the known one.
func explainKey(err error, l InventoryLogin, key ssh.PublicKey) error {
	var unknown *knownhosts.KeyError
	if !errors.As(err, &unknown) {
		return err
	}
	has := fmt.Sprintf("its key is %s %s", key.Type(), ssh.FingerprintSHA256(key))
	if len(unknown.Want) == 0 {
		return fmt.Errorf(`%s does not know the machine: %s. If that is right, add what "ssh-keyscan -p %d %s" prints`, l.KnownHosts, has, l.Port, l.Host)
	}
	return fmt.Errorf("this is not the machine that %s:%d knows, or it has a new key: %s", unknown.Want[0].Filename, unknown.Want[0].Line, has)
}

// algorithmsOf are those of the keys that are known of a machine: asked for others, it would show a key that is not known.
func algorithmsOf(known ssh.HostKeyCallback, addr string) (algorithms []string) {
	var all *knownhosts.KeyError
	if !errors.As(known(addr, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &all) {
		return nil
	}
	for _, k := range all.Want {
		if k.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		algorithms = append(algorithms, k.Key.Type())
	}
	return algorithms
}

// noKey is the key of no machine.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// connect returns the connection.
func (h *sshHost) connect(ctx context.Context) (*ssh.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client != nil {
		return h.client, nil
	}
	d := net.Dialer{Timeout: connectTime}
	conn, err := d.DialContext(ctx, "tcp", h.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	if err := conn.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c, channels, requests, err := ssh.NewClientConn(conn, h.addr, h.config)
	if err != nil {
		_ = conn.Close() // the reason is known
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	h.client = ssh.NewClient(c, channels, requests)
	return h.client, nil
}

// drop ends a connection, so that the next command makes another one.
func (h *sshHost) drop(c *ssh.Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == c {
		h.client = nil
	}
	_ = c.Close() // it is of no use any more
}

func (h *sshHost) close() {
	h.mu.Lock()
	c := h.client
	h.mu.Unlock()
	if c != nil {
		h.drop(c)
	}
}

// run has a shell there run a command, as root, and returns what it prints. It does not try twice.
func (h *sshHost) run(ctx context.Context, command string, stdin []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var out limited
	if err := h.stream(ctx, command, bytes.NewReader(stdin), &out); err != nil {
		return "", fmt.Errorf("%s: %w", h.name, err)
	}
	return out.String(), nil
}

// stream is run without a bound of time of its own.
func (h *sshHost) stream(ctx context.Context, command string, stdin io.Reader, stdout io.Writer) error {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := h.connect(ctx)
	if err != nil {
		return err
	}
	command = "sh -c " + quoted(command)
	if h.sudo {
		command = "sudo -n " + command
	}
	done := make(chan error, 1)
	go func() { done <- sshSession(ctx, c, command, stdin, stdout) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		// Either it takes too long, or the connection is dead; then nothing but its end ends the wait.
		h.drop(c)
		if err = <-done; err == nil {
			return nil
		}
		return fmt.Errorf("%w in time: %w", errUnreachable, ctx.Err())
	}
	if errors.Is(err, errUnreachable) {
		h.drop(c)
	}
	return err
}

func sshSession(ctx context.Context, c *ssh.Client, command string, stdin io.Reader, stdout io.Writer) error {
	s, err := c.NewSession()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	var complaint limited
	s.Stdin, s.Stdout, s.Stderr = stdin, stdout, &complaint
	err = s.Run(command)
	var failed *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return fmt.Errorf("%s (exit status %d)", strings.TrimSpace(complaint.String()), failed.ExitStatus())
	default:
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
}

// limited keeps the beginning of what is written.
type limited struct{ bytes.Buffer }

// Write is part of io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), maxOutput-l.Len())])
	return len(p), nil
}

// quoted is one word for a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
