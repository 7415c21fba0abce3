package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// anyOrigin among Config.Origins lets the pages of all others read.
const anyOrigin = "*"

// What pages of other origins may send and see (Fetch standard, "CORS protocol"). There is no
// Access-Control-Allow-Credentials: a browser sends nothing of its own accord, such as cookies,
// and a page that has a token puts it into Authorization itself.
var (
	corsRequestHeaders = []string{strings.Join([]string{
		"Accept", "Accept-Datetime", "Authorization", "Confman-Comment", "Confman-File", "Content-Type",
		"Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "X-Request-Id",
	}, ", ")}
	corsAnswerHeaders = []string{strings.Join([]string{
		"Confman-Content-Type", "Confman-Leader", "Confman-Node", "Confman-Revision", "Confman-Staleness",
		"Content-Location", "ETag", "Idempotency-Replayed", "Link", "Memento-Datetime", "Retry-After", "WWW-Authenticate", "X-Request-Id",
	}, ", ")}
	corsMaxAge    = []string{strconv.Itoa(int(PreflightAge.Seconds()))}
	corsAnyOrigin = []string{anyOrigin}
	corsReadOnly  = []string{http.MethodGet, http.MethodHead}
)

// writers has browsers refuse, on this server's word, what they send without asking it first: a page
// of any origin may POST a form, or a body without a Content-Type, and only the answer is kept
// from it. A request without Origin and Sec-Fetch-Site is not a page's.
func (cfg Config) writers() (*http.CrossOriginProtection, error) {
	p := http.NewCrossOriginProtection()
	for _, origin := range cfg.Origins {
		if origin == anyOrigin {
			continue
		}
		if err := p.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("httpapi: Origins: %w", err)
		}
	}
	return p, nil
}

// mayWrite refuses a write of another origin's page that is not one of the Config.Origins.
func (c *call) mayWrite() error {
	if c.api.pages.Check(c.r) == nil {
		return nil
	}
	return problemf(kindForeignOrigin, "a page of %s sent this, and only those of this node's own address and of Api.Cors.Origins may write",
		quote(short(c.r.Header.Get("Origin"))))
}

// cors adds to an answer which pages may read it. Without Config.Origins it adds nothing.
func (c *call) cors() {
	if len(c.api.Origins) == 0 {
		return
	}
	h := c.w.Header()
	if vary := h["Vary"]; len(vary) > 0 {
		h["Vary"] = []string{strings.Join(vary, ", ") + ", Origin"}
	} else {
		h["Vary"] = []string{"Origin"}
	}
	origin, writes := c.origin()
	if origin == nil || !writes && isWrite(c.r.Method) {
		return
	}
	h["Access-Control-Allow-Origin"] = origin
	h["Access-Control-Expose-Headers"] = corsAnswerHeaders
}

// origin is what Access-Control-Allow-Origin may say to this request, nil if nothing, and
// whether its page may write.
func (c *call) origin() (allowed []string, writes bool) {
	sent := c.r.Header["Origin"]
	switch {
	case len(sent) != 1:
		return nil, false
	case sent[0] != anyOrigin && slices.Contains(c.api.Origins, sent[0]):
		return sent, true
	case slices.Contains(c.api.Origins, anyOrigin):
		return corsAnyOrigin, false
	}
	return nil, false
}

// preflight says, if that is the question, with which methods and headers a page may come.
// It is asked without credentials, so that it must be answered without.
func (c *call) preflight() {
	h := c.w.Header()
	origin, writes := c.origin()
	if origin == nil || len(c.r.Header["Access-Control-Request-Method"]) == 0 {
		return
	}
	var methods []string
	for method := range strings.SplitSeq(h.Get("Allow"), ", ") {
		if writes || slices.Contains(corsReadOnly, method) {
			methods = append(methods, method)
		}
	}
	h["Access-Control-Allow-Methods"] = []string{strings.Join(methods, ", ")}
	h["Access-Control-Allow-Headers"] = corsRequestHeaders
	h["Access-Control-Max-Age"] = corsMaxAge
}
