package client

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// ParseTxn reads a transaction from the document that the API takes:
//
//	{"compare": [{"path": "a", "exists": true}, {"path": "b", "revision": 42}, {"path": "c", "value": 30}],
//	 "then": [{"put": "a", "value": 31}, {"delete": "b"}, {"delete": "sub/"}, {"get": "c"}],
//	 "else": [{"get": "a"}]}
//
// A value is JSON; with a content_type that is not JSON's, a string; with "encoding":
// "base64", octets. What is wrong is a *SyntaxError.
func ParseTxn(text string) (Txn, error) {
	p := txnParser{scanner{s: text}}
	var t Txn
	if p.begin() && p.document(&t) && p.end() {
		return t, nil
	}
	return Txn{}, p.err()
}

type txnParser struct{ scanner }

// member is one of an object: the text of its value, and where name and value begin.
type member struct {
	name, text  string
	at, valueAt int
}

func (p *txnParser) document(t *Txn) bool {
	if p.peek() != '{' {
		return p.unexpected("an object with compare, then and else")
	}
	p.i++
	var seen []string
	for more := p.first('}'); more; more = p.next('}') {
		at := p.i
		name, ok := p.name()
		if !ok {
			return false
		}
		if slices.Contains(seen, name) {
			return p.fault(at, "member %q is there twice", name)
		}
		seen = append(seen, name)
		switch name {
		case "compare":
			ok = p.list(name, func(at int, ms []member) bool { return p.compare(t, at, ms) })
		case "then":
			ok = p.list(name, func(at int, ms []member) bool { return p.op(&t.Then, at, ms) })
		case "else":
			ok = p.list(name, func(at int, ms []member) bool { return p.op(&t.Else, at, ms) })
		default:
			return p.fault(at, "member %q is not known here; known are compare, then, else", name)
		}
		if !ok {
			return false
		}
	}
	return p.reason == ""
}

// list reads an array of objects, each of which take gets with its place.
func (p *txnParser) list(name string, take func(at int, ms []member) bool) bool {
	if p.peek() != '[' {
		return p.unexpected("a list: " + name)
	}
	p.i++
	for more := p.first(']'); more; more = p.next(']') {
		at := p.i
		ms, ok := p.object()
		if !ok || !take(at, ms) {
			return false
		}
	}
	return p.reason == ""
}

// object reads an object's members.
func (p *txnParser) object() ([]member, bool) {
	if p.peek() != '{' {
		return nil, p.unexpected("an object")
	}
	p.i++
	var ms []member
	for more := p.first('}'); more; more = p.next('}') {
		m := member{at: p.i}
		var ok bool
		if m.name, ok = p.name(); !ok {
			return nil, false
		}
		if m.valueAt = p.i; slices.ContainsFunc(ms, func(o member) bool { return o.name == m.name }) {
			return nil, p.fault(m.at, "member %q is there twice", m.name)
		}
		if m.text, ok = p.raw(); !ok {
			return nil, false
		}
		ms = append(ms, m)
	}
	return ms, p.reason == ""
}

// name reads a member's name and moves to its value.
func (p *txnParser) name() (string, bool) {
	if p.peek() != '"' {
		return "", p.unexpected("a member name in quotes")
	}
	name, ok := p.unquote()
	return name, ok && p.colon()
}

// known faults the first member that is not among names.
func (p *txnParser) known(ms []member, names ...string) bool {
	for _, m := range ms {
		if !slices.Contains(names, m.name) {
			return p.fault(m.at, "member %q is not known here; known are %s", m.name, strings.Join(names, ", "))
		}
	}
	return true
}

// find returns the member of that name; false if there is none.
func find(ms []member, name string) (member, bool) {
	i := slices.IndexFunc(ms, func(m member) bool { return m.name == name })
	if i < 0 {
		return member{}, false
	}
	return ms[i], true
}

// text reads a member that is a string.
func (p *txnParser) text(m member) (string, bool) {
	if !strings.HasPrefix(m.text, `"`) {
		return "", p.fault(m.valueAt, "%s must be a string", m.name)
	}
	s := scanner{s: m.text}
	text, ok := s.unquote()
	if !ok {
		p.fault(m.valueAt+s.at, "%s", s.reason)
	}
	return text, ok
}

func (p *txnParser) compare(t *Txn, at int, ms []member) bool {
	if !p.known(ms, "path", "exists", "revision", "value", "encoding") {
		return false
	}
	path, ok := find(ms, "path")
	if !ok {
		return p.fault(at, "compare has no path")
	}
	key, ok := p.text(path)
	if !ok {
		return false
	}
	existence, byExistence := find(ms, "exists")
	revision, byRevision := find(ms, "revision")
	value, byValue := find(ms, "value")
	encoding, encoded := find(ms, "encoding")
	n := 0
	for _, by := range [...]bool{byExistence, byRevision, byValue} {
		if by {
			n++
		}
	}
	switch {
	case n != 1:
		return p.fault(at, "compare of %q wants one of exists, revision and value", key)
	case encoded && !byValue:
		return p.fault(encoding.at, "encoding is of a value")
	case byExistence && existence.text == "true":
		t.Compare = append(t.Compare, IfExists(key))
	case byExistence && existence.text == "false":
		t.Compare = append(t.Compare, IfAbsent(key))
	case byExistence:
		return p.fault(existence.valueAt, "exists must be true or false")
	case byRevision:
		at, err := strconv.ParseUint(revision.text, 10, 64)
		if err != nil {
			return p.fault(revision.valueAt, "revision must be a whole number")
		}
		t.Compare = append(t.Compare, IfRevision(key, at))
	default:
		octets, ok := p.value(value, "", ms)
		if !ok {
			return false
		}
		t.Compare = append(t.Compare, IfValue(key, octets))
	}
	return true
}

func (p *txnParser) op(to *[]TxnOp, at int, ms []member) bool {
	put, puts := find(ms, opPut)
	deleted, deletes := find(ms, opDelete)
	got, gets := find(ms, opGet)
	switch {
	case puts && !deletes && !gets:
		return p.put(to, put, at, ms)
	case deletes && !puts && !gets:
		path, ok := p.text(deleted)
		op := DeleteOp(path)
		if strings.HasSuffix(path, "/") {
			op = DeleteTreeOp(path)
		}
		*to = append(*to, op)
		return ok && p.known(ms, opDelete)
	case gets && !puts && !deletes:
		path, ok := p.text(got)
		*to = append(*to, GetOp(path))
		return ok && p.known(ms, opGet)
	}
	return p.fault(at, "operation wants one of put, delete and get")
}

func (p *txnParser) put(to *[]TxnOp, put member, at int, ms []member) bool {
	if !p.known(ms, opPut, "value", "content_type", "encoding") {
		return false
	}
	key, ok := p.text(put)
	if !ok {
		return false
	}
	value, ok := find(ms, "value")
	if !ok {
		return p.fault(at, "put of %q has no value", key)
	}
	contentType := ""
	if m, ok := find(ms, "content_type"); ok {
		if contentType, ok = p.text(m); !ok {
			return false
		}
	}
	octets, ok := p.value(value, contentType, ms)
	if !ok {
		return false
	}
	op := PutOp(key, octets, contentType)
	if _, encoded := find(ms, "encoding"); encoded {
		op.rec.ContentType = contentType
	}
	*to = append(*to, op)
	return true
}

// value reads a value of a content type, in the encoding that ms may name.
func (p *txnParser) value(m member, contentType string, ms []member) ([]byte, bool) {
	encoding, encoded := find(ms, "encoding")
	if encoded && encoding.text != `"base64"` {
		return nil, p.fault(encoding.valueAt, `encoding must be "base64"`)
	}
	if !encoded && (contentType == "" || IsJSONType(contentType)) {
		return []byte(m.text), true
	}
	text, ok := p.text(m)
	if !ok || !encoded {
		return []byte(text), ok
	}
	octets, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, p.fault(m.valueAt, "value is not base64: %v", err)
	}
	return octets, true
}
