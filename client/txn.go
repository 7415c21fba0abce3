package client

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// Txn is a transaction: if all of Compare holds, all of Then is done, else all of Else, at
// one revision. Nobody sees a part of it. No branch may have two operations on one key.
type Txn struct {
	Compare    []Compare
	Then, Else []TxnOp
}

// Compare is a demand on one key: IfExists, IfAbsent, IfRevision or IfValue.
type Compare struct {
	path     string
	kind     compareKind
	revision uint64
	value    []byte
}

type compareKind int

const (
	exists compareKind = iota + 1
	absent
	revisionIs
	valueIs
)

// IfExists demands that key has a value.
func IfExists(key string) Compare { return Compare{path: key, kind: exists} }

// IfAbsent demands that key has no value.
func IfAbsent(key string) Compare { return Compare{path: key, kind: absent} }

// IfRevision demands that key's last change was at that revision; 0: that it has no value.
func IfRevision(key string, revision uint64) Compare {
	if revision == 0 {
		return IfAbsent(key)
	}
	return Compare{path: key, kind: revisionIs, revision: revision}
}

// IfValue demands that key's value is that, byte for byte.
func IfValue(key string, value []byte) Compare {
	return Compare{path: key, kind: valueIs, value: value}
}

// Path is the key that the demand is on.
func (c Compare) Path() string { return c.path }

// TxnOp is one operation of a transaction: PutOp, DeleteOp, DeleteTreeOp or GetOp.
type TxnOp struct {
	kind string // the member of the document that names it
	path string
	tree bool   // path is a subtree, with a slash at its end
	rec  Record // what a put stores
}

const (
	opPut    = "put"
	opDelete = "delete"
	opGet    = "get"
)

// PutOp stores value at key. With contentType "" it is JSON.
func PutOp(key string, value []byte, contentType string) TxnOp {
	if contentType == "" {
		contentType = TypeJSON
	}
	return TxnOp{kind: opPut, path: key, rec: Record{Path: key, Value: value, ContentType: contentType}}
}

// DeleteOp takes key's value away, if it has one.
func DeleteOp(key string) TxnOp { return TxnOp{kind: opDelete, path: key} }

// DeleteTreeOp takes away every key below prefix, which ends in "/", or is "" or "/" for all
// keys.
func DeleteTreeOp(prefix string) TxnOp {
	return TxnOp{kind: opDelete, path: strings.TrimSuffix(prefix, "/") + "/", tree: true}
}

// GetOp reads key as it is right after the transaction.
func GetOp(key string) TxnOp { return TxnOp{kind: opGet, path: key} }

// TxnOptions are remarks of a transaction, as in WriteOptions.
type TxnOptions struct {
	Comment          string
	IdempotencyKey   string
	NoIdempotencyKey bool
}

// TxnResult is what a transaction did.
type TxnResult struct {
	// Revision is that of the transaction, or the newest if it changed nothing.
	Revision uint64
	// Succeeded: all of Compare held, and Then was done; else Else was.
	Succeeded bool
	// Changed: something is not what it was.
	Changed bool
	// FailedCompare is which of Compare did not hold, the first of them; CurrentRevision is
	// that of its key's last change, 0 if it has no value. Both only if not Succeeded.
	FailedCompare   int
	CurrentRevision uint64
	// Results has one for each operation of the branch that was done.
	Results []TxnOpResult
}

// TxnOpResult is what one operation of a transaction did.
type TxnOpResult struct {
	// Op is put, delete or get; Path is as it was given.
	Op, Path string
	// Revision is that of the key's last change, and Created says that there was no value, of a put.
	Revision uint64
	Created  bool
	// Changed: what is stored is not what was; of a put or delete.
	Changed bool
	// Removed counts the keys of a subtree that went.
	Removed int
	// Record is what a get found; nil: no value, or Compacted: the answer comes again
	// (Meta.Replayed), and so late that what was there then is not held any more.
	Record    *Record
	Compacted bool
}

// Txn does a transaction. That a compare did not hold is not an error: see
// TxnResult.Succeeded. Errors: *KeyError, *RequestError, *Error.
func (c *Client) Txn(ctx context.Context, t Txn, o TxnOptions) (TxnResult, Meta, error) {
	var (
		res  TxnResult
		meta Meta
	)
	if err := t.check(); err != nil {
		return res, meta, err
	}
	document := t.append(nil)
	if err := checkTxnSize(len(document)); err != nil {
		return res, meta, err
	}
	w := WriteOptions{Comment: o.Comment}
	r := &request{method: http.MethodPost, path: base + "/txn", header: w.header(), body: document}
	r.header["Content-Type"] = []string{TypeJSON}
	if err := r.once(o.IdempotencyKey, o.NoIdempotencyKey, false); err != nil {
		return res, meta, err
	}
	limit := int64(MaxAnswerBytes)
	for _, op := range slices.Concat(t.Then, t.Else) {
		if op.kind == opGet { // each may bring the largest value
			limit += MaxLineBytes
		}
	}
	err := c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSONUpTo(resp, &res, limit)
	})
	return res, meta, err
}
