package client

import "fmt"

// check tells what the servers would refuse, as far as that can be seen from here.
func (t *Txn) check() error {
	size := 0
	if len(t.Compare) > MaxTxnOps {
		return requestf("the transaction has %d compares, at most %d are allowed", len(t.Compare), MaxTxnOps)
	}
	switch {
	case len(t.Compare) == 0 && len(t.Else) > 0:
		return requestf("the transaction has an else, which is for when a compare fails, and no compare")
	case len(t.Compare) == 0 && len(t.Then) == 0:
		return requestf("the transaction has neither compares nor operations")
	}
	for i := range t.Compare {
		c := &t.Compare[i]
		if c.kind == 0 {
			return requestf("compare %d is empty: make it with IfExists, IfAbsent, IfRevision or IfValue", i)
		}
		if err := CheckKey(c.path); err != nil {
			return err
		}
		if len(c.value) > MaxValueBytes {
			return tooLong(c.path, c.value)
		}
		size += len(c.path) + len(c.value)
	}
	for _, branch := range [2]struct {
		name string
		ops  []TxnOp
	}{{"then", t.Then}, {"else", t.Else}} {
		n, err := checkOps(branch.name, branch.ops)
		if err != nil {
			return err
		}
		size += n
	}
	return checkTxnSize(size) // before a document is made of it, which is longer
}

func checkTxnSize(size int) error {
	if size > MaxTxnBytes {
		return requestf("the transaction has more than %d bytes, keys and values as JSON", MaxTxnBytes)
	}
	return nil
}

// checkOps checks one branch and returns the size of its keys and values.
func checkOps(name string, ops []TxnOp) (size int, err error) {
	if len(ops) > MaxTxnOps {
		return 0, requestf("%s has %d operations, at most %d are allowed", name, len(ops), MaxTxnOps)
	}
	seen := make(map[string]bool)
	for i := range ops {
		op := &ops[i]
		key := op.path
		switch {
		case op.kind == "":
			return 0, requestf("operation %d of %s is empty: make it with PutOp, DeleteOp, DeleteTreeOp or GetOp", i, name)
		case op.tree:
			key, err = CheckPrefix(key)
		default:
			err = CheckKey(key)
		}
		switch {
		case err != nil:
			return 0, err
		case seen[op.path]:
			return 0, requestf("%s has two operations on %q", name, op.path)
		case len(op.rec.Value) > MaxValueBytes:
			return 0, tooLong(key, op.rec.Value)
		case op.kind == opPut && IsJSONType(op.rec.ContentType):
			if err := checkJSON(op.rec.Value); err != nil {
				return 0, requestf("value of %q is not JSON: %v", key, err)
			}
		}
		seen[op.path] = true
		size += len(key) + len(op.rec.Value)
	}
	return size, nil
}

func requestf(format string, args ...any) *RequestError {
	return &RequestError{fmt.Sprintf(format, args...)}
}

func tooLong(key string, value []byte) *RequestError {
	return requestf("value of %q has %d bytes, at most %d are allowed", key, len(value), MaxValueBytes)
}

// checkJSON returns what keeps a value from being JSON.
func checkJSON(value []byte) error {
	s := scanner{s: string(value)}
	if s.begin() && s.skipValue(0) && s.end() {
		return nil
	}
	return s.err()
}
