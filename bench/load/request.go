package load

import (
	"bytes"
	"fmt"
)

// request is an HTTP request with places in it that are written over for each operation.
type request struct {
	text       []byte
	key, value int // where they begin
}

// newRequest makes a request; without a body it is a GET.
func newRequest(method, path, header string, body []byte) request {
	text := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s", method, path, header)
	if body != nil {
		text = fmt.Appendf(text, "Content-Length: %d\r\n", len(body))
	}
	text = append(text, "\r\n"...)
	return request{text: append(text, body...), key: -1, value: -1}
}

// at is where a part of the request is, from its end on.
func (r request) at(part []byte) int {
	i := bytes.LastIndex(r.text, part)
	if i < 0 {
		panic(fmt.Sprintf("bench: %q is not in the request", part))
	}
	return i
}

// after is the text that follows a mark in an answer, spaces and a quote aside; nil if it is not there. What writes the
// answers of etcd's gateway puts spaces where it likes.
func after(body []byte, mark string) []byte {
	i := bytes.Index(body, []byte(mark))
	if i < 0 {
		return nil
	}
	body = body[i+len(mark):]
	for len(body) > 0 && (body[0] == ' ' || body[0] == ':') {
		body = body[1:]
	}
	if len(body) > 0 && body[0] == '"' {
		body = body[1:]
	}
	return body
}

// numberAfter is the decimal number that follows a mark; 0 if there is none.
func numberAfter(body []byte, mark string) (n uint64) {
	for _, c := range after(body, mark) {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}

// textAfter is the text up to the next quote that follows a mark; what is compared here has no escapes.
func textAfter(body []byte, mark string) []byte {
	text := after(body, mark)
	if end := bytes.IndexByte(text, '"'); end >= 0 {
		return text[:end]
	}
	return nil
}
