package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// documentLimits are the limits that openapi.yaml names; it holds no such number itself.
var documentLimits = map[string]any{
	"fsm.MaxKeyBytes":         fsm.MaxKeyBytes,
	"fsm.MaxKeyDepth":         fsm.MaxKeyDepth,
	"fsm.MaxValueBytes":       fsm.MaxValueBytes,
	"fsm.MaxTreeKeys":         fsm.MaxTreeKeys,
	"fsm.MaxTreeBytes":        fsm.MaxTreeBytes,
	"fsm.MaxContentTypeBytes": fsm.MaxContentTypeBytes,
	"fsm.MaxRequestIDBytes":   fsm.MaxRequestIDBytes,
	"fsm.MaxCommentBytes":     fsm.MaxCommentBytes,

	"fsm.MaxIdempotencyKeyBytes": fsm.MaxIdempotencyKeyBytes,
	"fsm.IdempotencyRetention":   fsm.IdempotencyRetention,
	"fsm.MaxAnswersBytes":        fsm.MaxAnswersBytes,

	"fsm.MaxBindings":         fsm.MaxBindings,
	"fsm.MaxSubjects":         fsm.MaxSubjects,
	"fsm.MaxCustomRoles":      fsm.MaxCustomRoles,
	"fsm.MaxDenied":           fsm.MaxDenied,
	"fsm.MaxSubjectBytes":     fsm.MaxSubjectBytes,
	"fsm.MaxOwnerBytes":       fsm.MaxOwnerBytes,
	"fsm.MaxDescriptionBytes": fsm.MaxDescriptionBytes,
	"fsm.MaxKeepVersions":     fsm.MaxKeepVersions,
	"fsm.MaxDenialRows":       fsm.MaxDenialRows,

	"MaxNamespaceBodyBytes": MaxNamespaceBodyBytes,
	"MaxAuditScan":          MaxAuditScan,

	"fsm.MaxMembers":            fsm.MaxMembers,
	"fsm.MaxMemberNameBytes":    fsm.MaxMemberNameBytes,
	"fsm.MaxMemberAddressBytes": fsm.MaxMemberAddressBytes,
	"fsm.Version":               fsm.Version,
	"MaxMemberBodyBytes":        MaxMemberBodyBytes,
	"HandOverWait":              HandOverWait,

	"MaxRequests":         MaxRequests,
	"MaxHeaderBytes":      MaxHeaderBytes,
	"MaxBodyMemoryBytes":  MaxBodyMemoryBytes,
	"MaxCallerBodyBytes":  MaxCallerBodyBytes,
	"MaxCallerRequests":   MaxCallerRequests,
	"MaxPublicRequests":   MaxPublicRequests,
	"MaxTreeBytes":        MaxTreeBytes,
	"MaxYAMLNodes":        MaxYAMLNodes,
	"MaxLineBytes":        MaxLineBytes,
	"MaxTxnOps":           MaxTxnOps,
	"MaxTxnBytes":         MaxTxnBytes,
	"MaxRollbackBytes":    MaxRollbackBytes,
	"MaxImportOps":        MaxImportOps,
	"MaxImportBytes":      MaxImportBytes,
	"MaxPage":             MaxPage,
	"DefaultPage":         DefaultPage,
	"MaxPatchAttempts":    MaxPatchAttempts,
	"MaxPatchOps":         MaxPatchOps,
	"MaxHistoryScan":      MaxHistoryScan,
	"MaxFileNameBytes":    MaxFileNameBytes,
	"MaxEscapeBytes":      MaxEscapeBytes,
	"DefaultMaxStaleness": DefaultMaxStaleness,

	"DefaultMaxPolicyStaleness": DefaultMaxPolicyStaleness,

	"MaxMaxStaleness":  MaxMaxStaleness,
	"ReadWait":         ReadWait,
	"WriteWait":        WriteWait,
	"TransferTimeout":  TransferTimeout,
	"MinBodyRate":      MinBodyRate,
	"MinEncodedBytes":  MinEncodedBytes,
	"PreflightAge":     PreflightAge,
	"MaxExports":       MaxExports,
	"MaxExportTime":    MaxExportTime,
	"MinHeartbeat":     MinHeartbeat,
	"MaxHeartbeat":     MaxHeartbeat,
	"DefaultHeartbeat": DefaultHeartbeat,
	"MaxWatchWait":     MaxWatchWait,
	"node.MaxWatchers": node.MaxWatchers,
}

// placeholder is a limit's name in the source, with the quotes around it if it stands alone.
var placeholder = regexp.MustCompile(`"\$\{([\w.]+)\}"|\$\{([\w.]+)(:size)?\}`)

// fillIn puts the limits into the source.
func fillIn(t *testing.T, source []byte) []byte {
	t.Helper()
	used := map[string]bool{}
	filled := placeholder.ReplaceAllFunc(source, func(text []byte) []byte {
		m := placeholder.FindSubmatch(text)
		name := string(m[1]) + string(m[2])
		limit, ok := documentLimits[name]
		if name == "Name" { // the explanation at the top
			return text
		}
		require.True(t, ok, "openapi.yaml names a limit that documentLimits has not: %s", name)
		used[name] = true
		switch limit := limit.(type) {
		case time.Duration:
			return []byte(duration(limit))
		case int:
			if len(m[3]) > 0 {
				return []byte(size(limit))
			}
			return strconv.AppendInt(nil, int64(limit), 10)
		}
		t.Fatalf("%s is a %T", name, limit)
		return nil
	})
	for name := range documentLimits {
		assert.True(t, used[name], "openapi.yaml does not tell the limit %s", name)
	}
	return filled
}

// duration is a time as people say it.
func duration(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := d / unit.of; d%unit.of == 0 && n > 0 {
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}

// size is a number of bytes as people say it.
func size(n int) string {
	for _, unit := range []struct {
		name string
		of   int
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n%unit.of == 0 {
			return fmt.Sprintf("%d %s", n/unit.of, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// object is a JSON object that keeps the order of its members.
type object struct {
	names  []string
	values map[string]any
}

// members makes an object of names and values in turn.
func members(pairs ...any) *object {
	o := &object{}
	for i := 0; i < len(pairs); i += 2 {
		o.set(pairs[i].(string), pairs[i+1])
	}
	return o
}

func (o *object) get(name string) any {
	if o == nil {
		return nil
	}
	return o.values[name]
}

// object is a member that is an object, nil if it is none.
func (o *object) object(name string) *object {
	v, _ := o.get(name).(*object)
	return v
}

func (o *object) list(name string) []any {
	v, _ := o.get(name).([]any)
	return v
}

func (o *object) text(name string) string {
	v, _ := o.get(name).(string)
	return v
}

func (o *object) set(name string, value any) {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, ok := o.values[name]; !ok {
		o.names = append(o.names, name)
	}
	o.values[name] = value
}

// take removes a member and returns it.
func (o *object) take(name string) any {
	v := o.get(name)
	if i := slices.Index(o.names, name); i >= 0 {
		o.names = slices.Delete(o.names, i, i+1)
		delete(o.values, name)
	}
	return v
}

// with is a copy with one more member, or another one of that name.
func (o *object) with(name string, value any) *object {
	c := &object{}
	if o != nil {
		for _, n := range o.names {
			c.set(n, o.values[n])
		}
	}
	c.set(name, value)
	return c
}

// MarshalJSON writes the members in order.
func (o *object) MarshalJSON() ([]byte, error) {
	b := []byte("{")
	for i, name := range o.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		var v bytes.Buffer
		e := json.NewEncoder(&v)
		e.SetEscapeHTML(false)
		if err := e.Encode(o.values[name]); err != nil {
			return nil, err
		}
		b = append(b, bytes.TrimSpace(v.Bytes())...)
	}
	return append(b, '}'), nil
}

// fromYAML is a YAML node as JSON knows it, its merges done.
func fromYAML(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Kind {
	case yaml.DocumentNode:
		return fromYAML(t, n.Content[0])
	case yaml.AliasNode:
		return fromYAML(t, n.Alias)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = fromYAML(t, item)
		}
		return list
	case yaml.MappingNode:
		o, own := &object{}, map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			name, value := n.Content[i], fromYAML(t, n.Content[i+1])
			if name.Tag != "!!merge" {
				require.False(t, own[name.Value], "line %d: %s is there twice", name.Line, name.Value)
				own[name.Value] = true
				o.set(name.Value, value)
				continue
			}
			merged := value.(*object)
			for _, m := range merged.names {
				if !own[m] {
					o.set(m, merged.values[m])
				}
			}
		}
		return o
	default:
		var v any
		require.NoError(t, n.Decode(&v))
		return v
	}
}

// parseObject reads YAML, or JSON, which is YAML.
func parseObject(t *testing.T, text []byte) *object {
	t.Helper()
	var n yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &n))
	o, ok := fromYAML(t, &n).(*object)
	require.True(t, ok)
	return o
}

var httpMethods = []string{"head", "get", "put", "post", "patch", "delete"}

// expander makes OpenAPI of the source.
type expander struct {
	t        *testing.T
	doc      *object
	headers  *object // of every answer
	problems *object // all, by name
	sets     *object
}

// expand makes the document of the source, as the source's head explains.
func expand(t *testing.T, source []byte) *object {
	t.Helper()
	doc := parseObject(t, fillIn(t, source))
	x := expander{t: t, doc: doc, headers: doc.take("x-headers").(*object), sets: doc.take("x-problems").(*object)}
	x.problems = x.sets.take("names").(*object)
	x.schemas()
	paths := &object{}
	all := doc.object("paths")
	for _, path := range all.names {
		item := all.object(path)
		bare := item.take("x-bare") == true
		for _, method := range httpMethods {
			op := item.object(method)
			if op == nil || method == "head" { // which is made here
				continue
			}
			x.operation(op, method)
			if op.take("x-head") == true {
				item.set("head", headOf(op))
			}
		}
		paths.set(path, item)
		if bare {
			paths.set(barePath(path), bareOf(item))
		}
	}
	doc.set("paths", paths)
	return doc
}

// schemas adds one schema for each problem.
func (x *expander) schemas() {
	schemas := x.doc.object("components").object("schemas")
	common := schemas.object("problem")
	for _, name := range x.problems.names {
		p := x.problems.object(name)
		props := common.object("properties").
			with("type", members("type", "string", "const", "urn:confman:problem:"+name)).
			with("title", members("type", "string", "const", p.text("title"))).
			with("status", members("type", "integer", "const", p.get("status"))).
			with("retryable", members("type", "boolean", "const", p.get("retryable")))
		if more := p.object("members"); more != nil {
			for _, m := range more.names {
				props.set(m, more.values[m])
			}
		}
		schema := members("type", "object", "title", name)
		if text := p.text("description"); text != "" {
			schema.set("description", text)
		}
		schema.set("required", append(slices.Clone(common.list("required")), p.list("required")...))
		schema.set("properties", props)
		schemas.set("problem-"+name, schema)
	}
}

func ref(to string) *object { return members("$ref", "#/components/"+to) }

// operation completes the answers of an operation.
func (x *expander) operation(op *object, method string) {
	responses := op.object("responses")
	for _, status := range responses.names {
		r := responses.object(status).with("headers", x.allHeaders(responses.object(status).object("headers")))
		responses.set(status, r)
	}
	byStatus := map[int][]string{}
	sets := append([]any{"ALL"}, op.take("x-problems").([]any)...)
	if open, ok := op.get("security").([]any); !ok || len(open) > 0 {
		sets = append(sets, "CALLER")
	}
	for _, name := range x.names(sets) {
		p := x.problems.object(name)
		require.NotNil(x.t, p, "%s: there is no problem %s", op.text("operationId"), name)
		status := p.get("status").(int)
		if !slices.Contains(byStatus[status], name) {
			byStatus[status] = append(byStatus[status], name)
		}
	}
	for status := 400; status < 600; status++ {
		if names := byStatus[status]; len(names) > 0 {
			r := x.refusal(status, names, method)
			of := responses.object(responses.names[0]).object("headers")
			for _, name := range []string{"Idempotency-Replayed", "Memento-Datetime", "Link", "Content-Location"} {
				if h := of.get(name); h != nil { // a refusal, too, is given again, or of a time
					r.object("headers").set(name, h)
				}
			}
			responses.set(strconv.Itoa(status), r)
		}
	}
}

// names are the problems that a list names, alone or by a set.
func (x *expander) names(list []any) (names []string) {
	for _, item := range list {
		if set := x.sets.list(item.(string)); set != nil {
			names = append(names, x.names(set)...)
		} else {
			names = append(names, item.(string))
		}
	}
	return names
}

func (x *expander) allHeaders(own *object) *object {
	h := &object{}
	if own != nil {
		for _, name := range own.names {
			h.set(name, own.values[name])
		}
	}
	for _, name := range x.headers.names {
		h.set(name, x.headers.values[name])
	}
	return h
}

// refusal is an answer with one of some problems.
func (x *expander) refusal(status int, names []string, method string) *object {
	slices.Sort(names)
	own := members("Cache-Control", ref("headers/NoStore"))
	if status == 429 || status == 503 {
		own.set("Retry-After", ref("headers/Retry-After"))
	}
	if status == 401 || status == 403 {
		own.set("WWW-Authenticate", ref("headers/WWW-Authenticate"))
	}
	if status == 415 && method == "patch" {
		own.set("Accept-Patch", ref("headers/Accept-Patch"))
	}
	schema := ref("schemas/problem-" + names[0])
	if len(names) > 1 {
		var each []any
		for _, name := range names {
			each = append(each, ref("schemas/problem-"+name))
		}
		schema = members("oneOf", each)
	}
	if method != "get" { // a write tells what became of it
		schema = members("required", []any{"outcome"}).with("allOf", []any{schema})
	}
	return members(
		"description", "`"+strings.Join(names, "`, `")+"`",
		"headers", x.allHeaders(own),
		"content", members("application/problem+json", members("schema", schema)),
	)
}

// headOf is HEAD of what has a GET.
func headOf(get *object) *object {
	responses := &object{}
	for _, status := range get.object("responses").names {
		r := get.object("responses").object(status)
		responses.set(status, members("description", r.text("description"), "headers", r.get("headers")))
	}
	head := get.with("operationId", get.text("operationId")+"Head").with("responses", responses)
	head.take("description")
	head.take("x-head")
	head.set("summary", "The headers of GET")
	return head
}

// barePath is a path without "{path}" at its end.
func barePath(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(path, "/"), "/{path}")
}

// bareOf is what is served at the path without "{path}".
func bareOf(item *object) *object {
	bare := &object{}
	for _, name := range item.names {
		op := item.object(name)
		if op == nil { // the parameters: the first is the path
			bare.set(name, item.list(name)[1:])
			continue
		}
		op = op.with("operationId", op.text("operationId")+"OfAll").with("description", "The same, of the whole tree.")
		bare.set(name, op)
	}
	return bare
}

// TestDocumentIsCurrent: what is served, and the reference page, are made of openapi.yaml
// and of the limits as they are.
func TestDocumentIsCurrent(t *testing.T) {
	source, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	doc := expand(t, source)
	compact, err := doc.MarshalJSON()
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, json.Indent(&text, compact, "", " "))
	text.WriteByte('\n')
	current(t, "openapi.json", text.Bytes())
	current(t, filepath.Join("..", "docs", "api.md"), referencePage(parseObject(t, text.Bytes())))
}

// current demands that a file is what was made.
func current(t *testing.T, path string, made []byte) {
	t.Helper()
	if rewriting() {
		require.NoError(t, os.WriteFile(path, made, 0o600))
	}
	is, err := os.ReadFile(path)
	require.NoError(t, err)
	if !bytes.Equal(is, made) {
		t.Errorf("%s is not what openapi.yaml and the limits make: make generate", path)
	}
}
