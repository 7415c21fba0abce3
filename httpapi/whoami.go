package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// kindNames are the kinds of callers as answers spell them.
var kindNames = [...]string{fsm.Anonymous: "anonymous", fsm.User: "user", fsm.ServicePrincipal: "app", fsm.Certificate: "certificate"}

// whoAmI answers GET /whoami: who the caller is to this cluster, as what it can be bound, and what it
// may do where. It needs no permission: who is refused finds out here what is missing.
func (c *call) whoAmI() error {
	q, err := parseQuery(c.r.URL.RawQuery, whoParams)
	if err != nil {
		return err
	}
	f, err := q.freshness(c.api.MaxStaleness)
	if err != nil {
		return err
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	c.need(noVerb, "")
	who := &c.who.principal
	var (
		grants   fsm.Grants
		required bool
	)
	st, err := c.read(f, func(v *fsm.View) error {
		policy := v.Policy()
		grants, required = c.grants(policy), policy.Required()
		return nil
	})
	if err != nil {
		return err
	}
	c.buf = append(c.buf, `{"principal":`...)
	c.buf = appendString(c.buf, who.String())
	c.buf = append(c.buf, `,"kind":`...)
	c.buf = appendString(c.buf, kindNames[who.Kind])
	subjects := who.Subjects()
	for _, kind := range [...]string{"role", "group"} {
		c.buf = append(c.buf, `,"`+kind+`s":`...)
		c.buf = appendStrings(c.buf, ofKind(subjects, kind))
	}
	c.buf = append(c.buf, `,"grants":[`...)
	for i, g := range grants.List() {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		c.buf = append(c.buf, `{"path":`...)
		c.buf = appendString(c.buf, rootNamed(g.Path))
		c.buf = append(c.buf, `,"verbs":`...)
		c.buf = append(appendStrings(c.buf, g.Verbs.Names()), '}')
	}
	c.buf = append(c.buf, `],"denied":`...)
	c.buf = strconv.AppendBool(c.buf, grants.Denied())
	c.buf = append(c.buf, `,"authorization_required":`...)
	c.buf = append(strconv.AppendBool(c.buf, required), '}', '\n')
	c.w.Header()["Cache-Control"] = noStoreHeader
	status := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
	return nil
}

// ofKind are the subjects that begin with a kind.
func ofKind(subjects []string, kind string) (some []string) {
	for _, s := range subjects {
		if strings.HasPrefix(s, kind+":") {
			some = append(some, s)
		}
	}
	return some
}
