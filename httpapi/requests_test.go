package httpapi

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// nodes are what may happen to the node of testdata/requests.
var nodes = map[string]func(*fixture){
	"forming": forming, "no-quorum": quorumless, "stale": stale,
	"well": func(f *fixture) { // again
		fresh := newFixture(f.tb)
		f.proof, f.node.status = fresh.proof, fresh.node.status
		f.node.linearizeErr, f.node.viewErr, f.node.proposeErr = nil, nil, nil
	},
	"follows":           func(f *fixture) { f.node.handOverErr = node.ErrNotLeader },
	"alone":             func(f *fixture) { f.node.handOverErr = context.DeadlineExceeded },
	"no-voter":          func(f *fixture) { f.node.handOverErr = node.ErrNoSuchVoter },
	"stopping":          func(f *fixture) { close(f.drained) },
	"a-minute-later":    func(f *fixture) { f.now = f.now.Add(time.Minute) },
	"denials":           denials,
	"keeps-one-second":  func(f *fixture) { f.node.maintain(fsm.Maintenance{Elapsed: time.Minute, KeepFor: time.Second}) },
	"keeps-one-version": func(f *fixture) { f.node.maintain(fsm.Maintenance{KeepVersions: 1}) },
}

// TestRequests replays testdata/requests: each file is a conversation with one node. In them is
// every operation, with each answer that the document tells but for problems: of these, one at
// least; errors.golden has them all. A client that leaves waits for nothing that is not there yet.
func TestRequests(t *testing.T) {
	c, err := documentChecker()
	require.NoError(t, err)
	got := map[string]bool{}
	datadriven.Walk(t, "testdata/requests", func(t *testing.T, path string) {
		f := newFixture(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			f.tb = t
			switch d.Cmd {
			case "node":
				nodes[d.CmdArgs[0].Key](f)
				return ""
			case "request":
				method, target, body, headers := parseRequest(d.Input)
				ctx, leave := context.WithCancel(t.Context())
				if d.HasArg("leaves") {
					leave()
				}
				w := f.doFor(ctx, method, target, body, headers...)
				leave()
				id := c.operation(method, target)
				media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
				got[strings.TrimSpace(fmt.Sprint(id, " ", w.Code, " ", media))] = true
				got[id+" refused"] = got[id+" refused"] || w.Code >= 400
				return f.shown(w)
			}
			d.Fatalf(t, "there is no command %s", d.Cmd)
			return ""
		})
	})
	for _, want := range documentedAnswers(t) {
		assert.True(t, got[want], "testdata/requests has no answer %q", want)
	}
}

// parseRequest reads a request: its line, its headers, and after an empty line its body.
func parseRequest(text string) (method, target, body string, headers []string) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ = strings.Cut(lines[0], " ")
	return method, target, body, lines[1:]
}

// shown is an answer, and whether the document refuses the request. What is not of this
// package is not shown.
func (f *fixture) shown(w *httptest.ResponseRecorder) string {
	hash := f.node.store.State().Hash
	text := bytes.ReplaceAll(show(w), []byte(hex.EncodeToString(hash[:])), []byte("(the store's hash)"))
	if tag := w.Header().Get("Etag"); tag == documentETag[0] {
		head, _, _ := strings.Cut(string(text), "\n\n")
		head = strings.Replace(head, tag, `"(the document's hash)"`, 1)
		text = []byte(strings.Replace(head, fmt.Sprint("Content-Length: ", len(document)), "Content-Length: (the document's)", 1) + "\n\n(the document, but for HEAD and 304)\n")
	}
	if w.Header().Get("Content-Type") == typeMetrics {
		head, body, _ := strings.Cut(string(text), "\n\n")
		length := fmt.Sprint("Content-Length: ", w.Body.Len())
		require.Contains(f.tb, body, "confman_http_requests_total")
		text = []byte(strings.Replace(head, length, "Content-Length: (that of the metrics)", 1) + "\n\n(the metrics)\n")
	}
	if strings.Contains(w.Header().Get("Content-Disposition"), ".backup") {
		head, _, _ := strings.Cut(string(text), "\n\n")
		text = []byte(head + "\n\n(a backup)\n")
	}
	if f.refused != "" {
		text = fmt.Appendf(text, "The document refuses it: %s.\n", f.refused)
	}
	return string(bytes.TrimRight(text, "\n")) + "\n"
}

// documentedAnswers are the answers of all operations that are served, but for problems.
func documentedAnswers(t *testing.T) (all []string) {
	t.Helper()
	for _, item := range loadDocument(t).Paths.Map() {
		for method, op := range item.Operations() {
			if method != http.MethodHead && !strings.HasSuffix(op.OperationID, "OfAll") {
				all = append(all, op.OperationID+" refused")
			}
			for status, r := range op.Responses.Map() {
				switch {
				case status >= "400" || strings.HasSuffix(op.OperationID, "OfAll") && method == http.MethodHead:
				case len(r.Value.Content) == 0 && method == http.MethodHead && status == "200":
					all = append(all, op.OperationID+" 200 "+typeJSON)
				case len(r.Value.Content) == 0:
					all = append(all, op.OperationID+" "+status)
				case strings.HasSuffix(op.OperationID, "OfAll"): // one will do
					all = append(all, op.OperationID+" 200 "+typeJSON)
				default:
					for media := range r.Value.Content {
						all = append(all, op.OperationID+" "+status+" "+media)
					}
				}
			}
		}
	}
	return all
}
