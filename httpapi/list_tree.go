package httpapi

import (
	"net/http"

	"github.com/confman/confman/fsm"
)

// listTree answers with what is below t as one nested document, in the form of an export, as
// long as it is no larger than a page.
func (c *call) listTree(t target, f freshness) error {
	format := accepted(c.r, treeTypes...)
	if format < 0 {
		return notAcceptable(treeTypes...)
	}
	leaves := 0
	st, err := c.read(f, func(v *fsm.View) error { // it may be called again
		out := &exporter{bounded: true, yaml: treeTypes[format] == typeYAML, buf: c.buf[:0]}
		err := out.tree(v, t, false)
		c.buf, leaves = out.buf, out.leaves
		return err
	})
	if err != nil {
		return err
	}
	if leaves == 0 && t.key != "" {
		return &readError{st, problemf(kindNotFound, "no key begins with %q", t.prefix())}
	}
	c.w.Header()["Vary"] = varyHeader
	c.w.Header()["Cache-Control"] = noCacheHeader
	status := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: exportHeaders[treeTypes[format]]}, st, &status)
	return nil
}

func treeTooLarge() *problem {
	return problemf(kindTooLarge,
		"the tree has more than %d keys, or %d bytes: GET %s/export streams it, and without format=tree it comes in pages", MaxPage, MaxPageBytes, base).
		with("limit", MaxPage).with("max_bytes", MaxPageBytes)
}
