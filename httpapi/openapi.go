package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

// document describes every route in OpenAPI 3.1. It is made from openapi.yaml, which is
// written by hand, with the limits of this package filled in; "make generate" does that,
// and a test demands that it was done.
//
//go:embed openapi.json
var document []byte

// documentETag changes with the document: nodes of one version have one.
var documentETag = func() []string {
	sum := sha256.Sum256(document)
	return []string{`"` + hex.EncodeToString(sum[:16]) + `"`}
}()

// openAPI answers GET and HEAD of /openapi.json. Whoever keeps the document asks whether it
// is still that one: an upgrade changes it.
func (c *call) openAPI() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	h := c.w.Header()
	h["Etag"] = documentETag
	h["Cache-Control"] = noCacheHeader
	status := c.api.Node.Status()
	a := answer{status: http.StatusOK, contentType: jsonHeader}
	if namesTag(c.r.Header["If-None-Match"], documentETag[0]) {
		a.status, a.contentType = http.StatusNotModified, nil
	} else {
		c.buf = append(c.buf, document...)
	}
	c.send(a, standingOf(&status), &status)
	return nil
}

// namesTag tells whether a list of etags, or *, covers a tag (weak comparison).
func namesTag(lines []string, tag string) bool {
	for _, line := range lines {
		if slices.ContainsFunc(strings.Split(line, ","), func(item string) bool {
			item = strings.TrimSpace(item)
			return item == "*" || strings.TrimPrefix(item, "W/") == tag
		}) {
			return true
		}
	}
	return false
}
