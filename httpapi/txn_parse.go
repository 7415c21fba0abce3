package httpapi

import (
	"strings"

	"github.com/confman/confman/fsm"
)

// transaction is what POST /txn asks for.
type transaction struct {
	compares []fsm.Compare
	then     branch
	other    branch // else
}

// branch is a list of operations, one of which may say get: that one has no Kind.
type branch []fsm.Op

// ops are those of a branch that are of the command.
func (b branch) ops() []fsm.Op {
	var ops []fsm.Op
	for i := range b {
		if b[i].Kind != 0 {
			ops = append(ops, b[i])
		}
	}
	return ops
}

// txnReader reads a transaction strictly: what it does not know, or what does not fit together,
// is a fault, and never done in part.
type txnReader struct {
	scanner
	maxValue int
}

// parseTxn reads the body of a transaction. What it returns is not part of text.
func parseTxn(text []byte, maxValue int) (t transaction, fault *syntaxError) {
	r := txnReader{scanner{b: text}, maxValue}
	if fault = r.begin(); fault != nil {
		return t, fault
	}
	elseAt := 0
	fault = r.object("a transaction, which is an object", func(name string, at int) *syntaxError {
		switch name {
		case "compare":
			return r.list("compares", func() *syntaxError {
				cmp, fault := r.compare()
				t.compares = append(t.compares, cmp)
				return fault
			})
		case "then":
			return r.branch(&t.then)
		case "else":
			elseAt = at
			return r.branch(&t.other)
		}
		return r.fault(at, "member %q is not one of a transaction: compare, then, else", name)
	})
	if fault == nil {
		fault = r.end()
	}
	switch {
	case fault != nil:
		return t, fault
	case len(t.compares) == 0 && len(t.other) > 0:
		return t, r.fault(elseAt, "else is for when a compare fails, and there is none")
	case len(t.compares) == 0 && len(t.then) == 0:
		return t, r.fault(0, "transaction has neither compares nor operations")
	}
	return t, nil
}

// list reads a list of at most MaxTxnOps.
func (r *txnReader) list(what string, one func() *syntaxError) *syntaxError {
	if fault := r.expect('[', "a list"); fault != nil {
		return fault
	}
	n := 0
	return r.members(']', func() *syntaxError {
		if n++; n > MaxTxnOps {
			fault := r.fault(r.i, "there are more than %d %s", MaxTxnOps, what)
			fault.kind, fault.limit = kindTooLarge, MaxTxnOps
			return fault
		}
		return one()
	})
}

// compare reads a condition.
func (r *txnReader) compare() (cmp fsm.Compare, fault *syntaxError) {
	at := r.i
	var (
		rec   record
		asked []string
	)
	fault = r.object("a compare, which is an object", func(name string, at int) (fault *syntaxError) {
		switch name {
		case "path":
			rec.pathAt = r.i
			rec.path, fault = r.text()
			return fault
		case "encoding":
			rec.encodingAt = r.i
			rec.encoding, fault = r.text()
			return fault
		case "exists":
			exists := false
			if exists, fault = r.flag(); exists {
				cmp.Kind = fsm.KeyExists
			} else {
				cmp.Kind = fsm.KeyAbsent
			}
		case "revision":
			cmp.Kind = fsm.RevisionIs
			start := r.i
			if cmp.Revision, fault = r.revision(); fault == nil && cmp.Revision == 0 {
				return r.fault(start, "revision is 0, which no key has; exists: false is of an absent one")
			}
		case "value":
			cmp.Kind = fsm.ValueIs
			rec.valueAt = r.i
			rec.value, fault = r.raw()
		default:
			return r.fault(at, "member %q is not one of a compare: path, exists, revision, value, encoding", name)
		}
		asked = append(asked, name)
		return fault
	})
	if fault != nil {
		return cmp, fault
	}
	switch {
	case rec.pathAt == 0:
		return cmp, r.fault(at, "compare has no path")
	case len(asked) != 1:
		return cmp, r.fault(at, "compare asks %s of %q, want one of exists, revision and value", inWords(asked), rec.path)
	case rec.encodingAt != 0 && rec.valueAt == 0:
		return cmp, r.fault(rec.encodingAt, "encoding is of a value, and there is none")
	}
	if reason := checkKey(rec.path); reason != "" {
		return cmp, r.fault(rec.pathAt, "%s", reason)
	}
	cmp.Key = rec.path
	if cmp.Kind == fsm.ValueIs {
		// What is stored may be of any type: it is compared by its bytes.
		if rec.contentType = typeJSON; rec.encoding != "" {
			rec.contentType = typeOctets
		}
		cmp.Value, fault = r.value(&rec)
	}
	return cmp, fault
}

// inWords is names as a sentence has them.
func inWords(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " and ")
}

// value is the bytes of the value that rec gives, checked.
func (r *txnReader) value(rec *record) ([]byte, *syntaxError) {
	value, fault := r.recordValue(rec)
	if fault != nil {
		return nil, fault
	}
	return value, r.checkSize(rec, value, r.maxValue)
}

// branch reads a list of operations, in which no key is twice, be it by a subtree that holds it:
// neither their order nor their number says what one revision of a key is.
func (r *txnReader) branch(b *branch) *syntaxError {
	var trees []string
	keys := make(map[string]struct{})
	return r.list("operations", func() *syntaxError {
		op, at, fault := r.op()
		if fault != nil {
			return fault
		}
		if _, twice := keys[op.Key]; twice {
			return r.fault(at, "%q has two operations", named(&op))
		}
		for _, prefix := range trees {
			if strings.HasPrefix(op.Key, prefix) {
				return r.fault(at, "%q has two operations: it is below %q", op.Key, named(&fsm.Op{Key: prefix}))
			}
		}
		if op.Kind == fsm.DeleteTree {
			for key := range keys {
				if strings.HasPrefix(key, op.Key) {
					return r.fault(at, "a key below %q has an operation of its own", named(&op))
				}
			}
			trees = append(trees, op.Key)
		}
		keys[op.Key] = struct{}{}
		*b = append(*b, op)
		return nil
	})
}

// named is what an operation is of, as its path says it.
func named(op *fsm.Op) string {
	if op.Key == "" {
		return "/"
	}
	return op.Key
}

// op reads an operation; its path begins at at.
func (r *txnReader) op() (op fsm.Op, at int, fault *syntaxError) {
	start := r.i
	var (
		rec  record
		what []string
		of   string // the first member that is of a put
		ofAt int
	)
	fault = r.object("an operation, which is an object", func(name string, at int) (fault *syntaxError) {
		switch name {
		case "put", "delete", "get":
			what = append(what, name)
			rec.pathAt = r.i
			rec.path, fault = r.text()
			return fault
		case "value":
			rec.valueAt = r.i
			rec.value, fault = r.raw()
		case "content_type":
			rec.typed, rec.typeAt = true, r.i
			rec.contentType, fault = r.text()
		case "encoding":
			rec.encodingAt = r.i
			rec.encoding, fault = r.text()
		default:
			return r.fault(at, "member %q is not one of an operation: put, delete, get, value, content_type, encoding", name)
		}
		if of == "" {
			of, ofAt = name, at
		}
		return fault
	})
	if fault != nil {
		return op, 0, fault
	}
	if len(what) != 1 {
		return op, 0, r.fault(start, "operation says %s, want one of put, delete and get", inWords(what))
	}
	at = rec.pathAt
	if what[0] == "put" {
		op, fault = r.put(&rec, start)
		return op, at, fault
	}
	if of != "" {
		return op, 0, r.fault(ofAt, "member %q is of a put, and this is a %s", of, what[0])
	}
	op.Key = rec.path
	if what[0] == "delete" {
		op.Kind = fsm.Delete
		if strings.HasSuffix(rec.path, "/") {
			op.Kind = fsm.DeleteTree
			if rec.path == "/" {
				op.Key = ""
				return op, at, nil
			}
			rec.path = strings.TrimSuffix(rec.path, "/")
		}
	}
	if reason := checkKey(rec.path); reason != "" {
		return op, 0, r.fault(at, "%s", reason)
	}
	return op, at, nil
}

// put is the operation that rec, which begins at start, is.
func (r *txnReader) put(rec *record, start int) (fsm.Op, *syntaxError) {
	switch {
	case rec.valueAt == 0:
		return fsm.Op{}, r.fault(start, "put of %q has no value", short(rec.path))
	case rec.typed && rec.contentType == "":
		return fsm.Op{}, r.fault(rec.typeAt, "content_type is empty")
	case !rec.typed && rec.encoding != "":
		rec.contentType = typeOctets
	case !rec.typed:
		rec.contentType = typeJSON
	}
	if reason := checkKey(rec.path); reason != "" {
		return fsm.Op{}, r.fault(rec.pathAt, "%s", reason)
	}
	value, fault := r.value(rec)
	return put(rec.path, value, rec.contentType), fault
}
