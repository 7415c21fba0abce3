package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
)

// TokenSource gives the token that a request carries. It is asked for each attempt, and from
// several goroutines: it should remember what it has. refused is a token that a node did not take,
// "" if there is none: a source that has the same one still gets another, if it can.
//
// An error ends the request. It must not tell the token.
type TokenSource func(ctx context.Context, refused string) (string, error)

// StaticToken is a source of one token.
func StaticToken(token string) TokenSource {
	return func(context.Context, string) (string, error) { return strings.TrimSpace(token), nil }
}

// TokenFile is a source of the token that a file holds, which somebody else renews: it is read
// again when it has changed.
func TokenFile(path string) TokenSource { return (&tokenFile{path: path}).get }

type tokenFile struct {
	path string

	mu    sync.Mutex
	token string
	file  os.FileInfo // that token is from
}

func (f *tokenFile) get(_ context.Context, refused string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := os.Stat(f.path)
	if err != nil {
		return "", err
	}
	old := f.file
	if old != nil && refused != f.token && os.SameFile(old, now) && old.ModTime().Equal(now.ModTime()) && old.Size() == now.Size() {
		return f.token, nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(file, MaxTokenBytes+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if err := checkToken(token); err != nil {
		return "", fmt.Errorf("%s: %w", f.path, err)
	}
	f.token, f.file = token, now
	return token, nil
}

// checkToken says what is wrong with a token, without a word of it.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("it is empty")
	case len(token) > MaxTokenBytes:
		return fmt.Errorf("it has more than %d bytes", MaxTokenBytes)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("it has spaces or other characters that no token has")
	}
	return nil
}

// credential is the token for the next attempt.
func (c *Client) credential(ctx context.Context, refused string) (string, error) {
	token, err := c.opts.Token(ctx, refused)
	if err == nil {
		err = checkToken(token)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	return token, nil
}

// attempt sends r to one endpoint, and once more if it was the token that was refused and there is
// another; nil: consume took the answer.
func (c *Client) attempt(ctx context.Context, ep *endpoint, r *request, consume func(*http.Response) error) *failure {
	if c.opts.Token == nil {
		return c.send(ctx, ep, r, "", consume)
	}
	token, err := c.credential(ctx, "")
	if err != nil {
		return &failure{err: err, outcome: r.outcome(false)}
	}
	f := c.send(ctx, ep, r, token, consume)
	if f == nil || !hasStatus(f.err, http.StatusUnauthorized) || f.outcome == Unknown {
		return f
	}
	next, err := c.credential(ctx, token)
	switch {
	case err != nil:
		return &failure{err: err, outcome: f.outcome, health: f.health}
	case next == token:
		return f
	case r.moved: // a stream whose token has ended begins afresh where it was
		f.again = true
		return f
	}
	return c.send(ctx, ep, r, next, consume)
}

// checkPlainText refuses to send tokens where others may read them.
func checkPlainText(endpoints []*endpoint) error {
	for _, ep := range endpoints {
		u, err := url.Parse(ep.url)
		if err != nil {
			return err
		}
		ip := net.ParseIP(u.Hostname())
		if u.Scheme != "https" && !strings.EqualFold(u.Hostname(), "localhost") && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("client: endpoint %s: the token would cross the network in plain text, for all to use: use https, or allow it (PlainTextToken, or --plain-text-token)", ep.url)
		}
	}
	return nil
}

// withoutRedirects is h, but follows no redirect: no node sends any, and a token would go along,
// to http from https too.
func withoutRedirects(h *http.Client) *http.Client {
	out := *h
	out.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &out
}
