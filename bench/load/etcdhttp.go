package load

import (
	"encoding/base64"
	"fmt"

	"github.com/confman/confman/bench/lane"
)

// etcdClient is a client of etcd's HTTP/JSON gateway.
type etcdClient struct {
	chooser
	op       op
	key      []byte // with its number written over
	get, put request
}

// NewEtcdHTTP makes clients of an etcd cluster by its gateway, spread over its nodes.
func NewEtcdHTTP(w Work, addrs ...string) (Driver, error) {
	b := newBook(w)
	askers := make([]lane.Asker, 0, w.Clients)
	for i := range w.Clients {
		askers = append(askers, newEtcdClient(b, i))
	}
	return lane.New(askers, addrs...)
}

func newEtcdClient(b *book, i int) *etcdClient {
	c := &etcdClient{chooser: newChooser(b, i), key: AppendKey(nil, 0)}
	key := base64.StdEncoding.AppendEncode(nil, c.key)
	value := b.work.Values.AppendEncoded(nil, 0, 0)
	const header = "Content-Type: application/json\r\n"
	c.put = newRequest("POST", "/v3/kv/put", header, fmt.Appendf(nil, `{"key":"%s","value":"%s"}`, key, value))
	c.put.value = c.put.at(value)
	c.put.key = c.put.at(append(key, '"'))
	body := fmt.Appendf(nil, `{"key":"%s"}`, key)
	if b.work.Local {
		body = fmt.Appendf(nil, `{"key":"%s","serializable":true}`, key)
	}
	c.get = newRequest("POST", "/v3/kv/range", header, body)
	c.get.key = c.get.at(key)
	return c
}

// Ask is the next request.
func (c *etcdClient) Ask() []byte {
	c.op = c.next()
	r := c.get
	if c.op.put {
		r = c.put
		c.work.Values.patchEncoded(r.text[r.value:], c.op.key, c.op.serial)
	}
	putDigits(c.key[len(c.key)-digits:], uint64(c.op.key))
	base64.StdEncoding.Encode(r.text[r.key:], c.key)
	return r.text
}

// Hear judges the answer.
func (c *etcdClient) Hear(a *lane.Answer) error {
	if a.Status != 200 {
		return refused(a)
	}
	if c.op.put {
		return c.wrote(c.op, numberAfter(a.Body, `"revision"`))
	}
	// The last "value" is the value: a header comes before, and has none.
	if err := c.work.Values.checkEncoded(textAfter(a.Body, `"value"`), c.op.key); err != nil {
		return fmt.Errorf("the read of key %d: %w", c.op.key, err)
	}
	return c.read(c.op, numberAfter(a.Body, `"mod_revision"`))
}
