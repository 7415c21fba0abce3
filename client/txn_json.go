package client

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
)

// append appends the document of the API.
func (t *Txn) append(b []byte) []byte {
	b = append(b, '{')
	if len(t.Compare) > 0 {
		b = appendList(append(b, `"compare":`...), t.Compare, (*Compare).append)
		b = append(b, ',')
	}
	b = appendList(append(b, `"then":`...), t.Then, (*TxnOp).append)
	if len(t.Else) > 0 {
		b = appendList(append(b, `,"else":`...), t.Else, (*TxnOp).append)
	}
	return append(b, '}')
}

func appendList[T any](b []byte, list []T, one func(*T, []byte) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(&list[i], b)
	}
	return append(b, ']')
}

func (c *Compare) append(b []byte) []byte {
	b = appendString(append(b, `{"path":`...), c.path)
	switch c.kind {
	case exists, absent:
		b = strconv.AppendBool(append(b, `,"exists":`...), c.kind == exists)
	case revisionIs:
		b = strconv.AppendUint(append(b, `,"revision":`...), c.revision, 10)
	case valueIs: // bytes are compared, whatever their type
		b = appendOctets(b, c.value)
	}
	return append(b, '}')
}

func (o *TxnOp) append(b []byte) []byte {
	b = append(append(append(b, `{"`...), o.kind...), `":`...)
	b = appendString(b, o.path)
	switch {
	case o.kind != opPut:
	case o.rec.ContentType == "": // octets that say no more about themselves
		b = appendOctets(b, o.rec.Value)
	default:
		b = o.rec.appendValue(append(b, ','), true)
		b = appendString(append(b, `,"content_type":`...), o.rec.ContentType)
	}
	return append(b, '}')
}

func appendOctets(b, value []byte) []byte {
	b = base64.StdEncoding.AppendEncode(append(b, `,"value":"`...), value)
	return append(b, `","encoding":"base64"`...)
}

// UnmarshalJSON reads a result as the API spells it.
func (r *TxnResult) UnmarshalJSON(text []byte) error {
	var j struct {
		Revision        uint64        `json:"revision"`
		Succeeded       bool          `json:"succeeded"`
		Changed         bool          `json:"changed"`
		FailedCompare   int           `json:"failed_compare"`
		CurrentRevision uint64        `json:"current_revision"`
		Results         []TxnOpResult `json:"results"`
	}
	err := json.Unmarshal(text, &j)
	*r = TxnResult(j)
	return err
}

// MarshalJSON spells the result as the API does.
func (r TxnResult) MarshalJSON() ([]byte, error) {
	b := strconv.AppendUint([]byte(`{"revision":`), r.Revision, 10)
	b = strconv.AppendBool(append(b, `,"succeeded":`...), r.Succeeded)
	b = strconv.AppendBool(append(b, `,"changed":`...), r.Changed)
	if !r.Succeeded {
		b = strconv.AppendInt(append(b, `,"failed_compare":`...), int64(r.FailedCompare), 10)
		b = strconv.AppendUint(append(b, `,"current_revision":`...), r.CurrentRevision, 10)
	}
	b = appendList(append(b, `,"results":`...), r.Results, (*TxnOpResult).append)
	return append(b, '}'), nil
}

// UnmarshalJSON reads a result as the API spells it: the member named for the operation
// holds its path.
func (r *TxnOpResult) UnmarshalJSON(text []byte) error {
	var j struct {
		Put       *string `json:"put"`
		Delete    *string `json:"delete"`
		Get       *string `json:"get"`
		Revision  uint64  `json:"revision"`
		Created   bool    `json:"created"`
		Changed   bool    `json:"changed"`
		Removed   int     `json:"removed"`
		Record    *Record `json:"record"`
		Compacted bool    `json:"compacted"`
	}
	err := json.Unmarshal(text, &j)
	*r = TxnOpResult{Revision: j.Revision, Created: j.Created, Changed: j.Changed, Removed: j.Removed, Record: j.Record, Compacted: j.Compacted}
	for op, path := range map[string]*string{opPut: j.Put, opDelete: j.Delete, opGet: j.Get} {
		if path != nil {
			r.Op, r.Path = op, *path
		}
	}
	return err
}

// MarshalJSON spells the result as the API does.
func (r TxnOpResult) MarshalJSON() ([]byte, error) { return r.append(nil), nil }

func (r *TxnOpResult) append(b []byte) []byte {
	b = append(append(append(b, `{"`...), r.Op...), `":`...)
	b = appendString(b, r.Path)
	switch {
	case r.Op == opGet && r.Compacted:
		return append(b, `,"compacted":true}`...)
	case r.Op == opGet && r.Record == nil:
		return append(b, `,"record":null}`...)
	case r.Op == opGet:
		return append(r.Record.append(append(b, `,"record":`...), false), '}')
	case r.Op == opPut:
		b = strconv.AppendUint(append(b, `,"revision":`...), r.Revision, 10)
		b = strconv.AppendBool(append(b, `,"created":`...), r.Created)
	case isSubtree(r.Path):
		b = strconv.AppendInt(append(b, `,"removed":`...), int64(r.Removed), 10)
	}
	b = strconv.AppendBool(append(b, `,"changed":`...), r.Changed)
	return append(b, '}')
}
