package httpapi

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// pageWriter writes the reference page of a document, in Markdown.
type pageWriter struct {
	bytes.Buffer
	doc *object
}

// referencePage is docs/api.md.
func referencePage(doc *object) []byte {
	p := &pageWriter{doc: doc}
	info := doc.object("info")
	p.line("# The REST API, version %s", info.text("version"))
	p.line("<!-- Made of httpapi/openapi.yaml by \"make generate\". -->")
	p.line("%s Every node serves this as an OpenAPI %s document at `/openapi.json`.", info.text("summary"), doc.text("openapi"))
	p.line("%s", strings.TrimSpace(info.text("description")))
	p.everyAnswer()
	p.routes()
	for _, tag := range doc.list("tags") {
		tag := tag.(*object)
		p.line("## %s", title(tag.text("name")))
		p.line("%s", tag.text("description"))
		p.operations(func(path, method string, op *object) {
			if op.list("tags")[0] == tag.text("name") {
				p.operation(path, method, op)
			}
		})
	}
	p.schemas()
	p.problems()
	return append(bytes.TrimRight(p.Bytes(), "\n"), '\n')
}

func (p *pageWriter) line(format string, args ...any) { fmt.Fprintf(p, format+"\n\n", args...) }

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// table writes a table, but for columns in which nothing is.
func (p *pageWriter) table(head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	used := make([]bool, len(head))
	for _, row := range rows {
		for i, cell := range row {
			used[i] = used[i] || cell != ""
		}
	}
	write := func(cells []string) {
		for i, cell := range cells {
			if used[i] {
				cell = strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`)
				fmt.Fprintf(p, "| %s ", cell)
			}
		}
		p.WriteString("|\n")
	}
	write(head)
	write(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		write(row)
	}
	p.WriteByte('\n')
}

// resolve follows a reference.
func (p *pageWriter) resolve(o *object) *object {
	for o.text("$ref") != "" {
		at := p.doc
		for name := range strings.SplitSeq(strings.TrimPrefix(o.text("$ref"), "#/"), "/") {
			at = at.object(name)
		}
		o = at
	}
	return o
}

// refName is the last name of a reference.
func refName(o *object) string {
	return o.text("$ref")[strings.LastIndexByte(o.text("$ref"), '/')+1:]
}

// anchor is what Markdown makes of a heading.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-', r == '_', r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		}
	}
	return b.String()
}

// operations calls fn for what has a section of its own: HEAD and the bare paths have none.
func (p *pageWriter) operations(fn func(path, method string, op *object)) {
	paths := p.doc.object("paths")
	for _, path := range paths.names {
		for _, method := range httpMethods {
			op := paths.object(path).object(method)
			if op != nil && method != "head" && !strings.HasSuffix(op.text("operationId"), "OfAll") {
				fn(path, strings.ToUpper(method), op)
			}
		}
	}
}

func (p *pageWriter) everyAnswer() {
	p.line("## What every answer carries")
	var rows [][]string
	first := p.doc.object("paths").object(p.doc.object("paths").names[0]).object("delete").object("responses").object("200").object("headers")
	headers := p.doc.object("components").object("headers")
	for _, name := range headers.names {
		if h := headers.object(name); first.get(name) != nil && h.get("required") == true {
			rows = append(rows, []string{"`" + name + "`", h.text("description")})
		}
	}
	p.table([]string{"header", "meaning"}, rows)
}

func (p *pageWriter) routes() {
	p.line("## Routes")
	var rows [][]string
	p.operations(func(path, method string, op *object) {
		rows = append(rows, []string{fmt.Sprintf("`%s %s`", method, path), fmt.Sprintf("[%s](#%s)", op.text("summary"), anchor(op.text("summary")))})
	})
	p.table([]string{"route", "what it does"}, rows)
}

func (p *pageWriter) operation(path, method string, op *object) {
	p.line("### %s", op.text("summary"))
	text := fmt.Sprintf("`%s %s`", method, path)
	paths := p.doc.object("paths")
	bare := barePath(path)
	if of := paths.object(bare).object(strings.ToLower(method)); of.text("operationId") == op.text("operationId")+"OfAll" {
		text += fmt.Sprintf(", or `%s %s` of the whole tree", method, bare)
	}
	if paths.object(path).object("head") != nil && method == "GET" {
		text += "; `HEAD` gives the headers alone"
	}
	p.line("%s.", text)
	if d := op.text("description"); d != "" {
		p.line("%s", strings.TrimSpace(d))
	}
	var rows [][]string
	for _, list := range [][]any{op.list("parameters"), p.doc.object("paths").object(path).list("parameters")} {
		for _, item := range list {
			param := p.resolve(item.(*object))
			if param.text("in") == "path" || param.text("name") == "X-Request-Id" {
				continue
			}
			name := "`" + param.text("name") + "`"
			if param.get("required") == true {
				name += ", required"
			}
			rows = append(rows, []string{name, param.text("in"), p.typeOf(param.object("schema")), param.text("description")})
		}
	}
	p.table([]string{"parameter", "in", "type", "meaning"}, rows)
	if body := op.object("requestBody"); body != nil {
		p.body(body)
	}
	p.answers(op)
}

func (p *pageWriter) body(body *object) {
	var rows [][]string
	content := body.object("content")
	for _, media := range content.names {
		m := content.object(media)
		rows = append(rows, []string{"`" + media + "`", p.mediaType(m), code(m.get("example"))})
	}
	p.table([]string{"body", "type", "example"}, rows)
}

// mediaType is what a body of one type is made of.
func (p *pageWriter) mediaType(media *object) string {
	if lines := media.object("x-lines"); lines != nil {
		return "stream of " + p.typeOf(lines)
	}
	return p.typeOf(media.object("schema"))
}

func (p *pageWriter) answers(op *object) {
	var rows [][]string
	var problems []string
	responses := op.object("responses")
	for _, status := range responses.names {
		r := responses.object(status)
		if r.object("content").get(typeProblem) != nil {
			problems = append(problems, problemsOf(r)...)
			continue
		}
		var bodies, headers []string
		for _, media := range namesOf(r.object("content")) {
			m := r.object("content").object(media)
			bodies = append(bodies, "`"+media+"`: "+p.mediaType(m))
		}
		for _, name := range namesOf(r.object("headers")) {
			if h := r.object("headers").object(name); refName(h) != name || h.get("required") == true || p.own(name) {
				headers = append(headers, "`"+name+"`")
			}
		}
		rows = append(rows, []string{status, r.text("description"), strings.Join(bodies, "; "), strings.Join(headers, ", ")})
	}
	p.table([]string{"answer", "meaning", "body", "headers"}, rows)
	p.line("[Problems](#problems): `%s`.", strings.Join(problems, "`, `"))
}

// own tells whether a header is not one of every answer.
func (p *pageWriter) own(name string) bool {
	return !slices.Contains([]string{"Confman-Revision", "Confman-Staleness", "Confman-Node", "Confman-Leader", "X-Request-Id"}, name)
}

func namesOf(o *object) []string {
	if o == nil {
		return nil
	}
	return o.names
}

// problemsOf are the names of the problems that a response may be.
func problemsOf(r *object) (names []string) {
	var walk func(s *object)
	walk = func(s *object) {
		if s.text("$ref") != "" {
			names = append(names, strings.TrimPrefix(refName(s), "problem-"))
		}
		for _, list := range []string{"oneOf", "allOf"} {
			for _, item := range s.list(list) {
				walk(item.(*object))
			}
		}
	}
	walk(r.object("content").object(typeProblem).object("schema"))
	return names
}

// code is a value as JSON, in one line.
func code(v any) string {
	if v == nil {
		return ""
	}
	b, err := members("v", v).MarshalJSON()
	if err != nil {
		return ""
	}
	return "`" + string(b[len(`{"v":`):len(b)-1]) + "`"
}

// typeOf says what a schema takes, in a few words.
func (p *pageWriter) typeOf(s *object) string {
	switch {
	case s == nil:
		return "bytes"
	case s.text("$ref") != "":
		return fmt.Sprintf("[%s](#%s)", refName(s), anchor(refName(s)))
	case s.get("const") != nil:
		return code(s.get("const"))
	case s.list("enum") != nil:
		return each(s.list("enum"), code, " or ") + p.byDefault(s)
	case s.list("anyOf") != nil && s.get("properties") == nil:
		return each(s.list("anyOf"), func(v any) string { return p.typeOf(v.(*object)) }, " or ")
	case s.text("type") == "array":
		return "array of " + p.typeOf(s.object("items"))
	case s.get("type") == nil:
		return "anything"
	}
	text := s.text("type")
	if list := s.list("type"); list != nil {
		text = each(list, func(v any) string { return fmt.Sprint(v) }, " or ")
	}
	if text == "object" && s.get("properties") != nil {
		text += " with " + each(anys(namesOf(s.object("properties"))), func(v any) string { return "`" + v.(string) + "`" }, ", ")
	}
	low, high := s.get("minimum"), s.get("maximum")
	switch {
	case low != nil && high != nil:
		text += fmt.Sprintf(" from %v to %v", low, high)
	case low != nil:
		text += fmt.Sprintf(" from %v", low)
	}
	return text + p.byDefault(s)
}

func anys(list []string) (out []any) {
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

func each(list []any, fn func(any) string, between string) string {
	var out []string
	for _, v := range list {
		out = append(out, fn(v))
	}
	return strings.Join(out, between)
}

func (p *pageWriter) byDefault(s *object) string {
	if d := s.get("default"); d != nil {
		return ", " + code(d) + " by default"
	}
	return ""
}

// schemas writes what bodies are made of.
func (p *pageWriter) schemas() {
	p.line("## Bodies")
	schemas := p.doc.object("components").object("schemas")
	for _, name := range schemas.names {
		if strings.HasPrefix(name, "problem") {
			continue
		}
		s := schemas.object(name)
		p.line("### %s", name)
		if d := s.text("description"); d != "" {
			p.line("%s", d)
		}
		if items := s.object("items"); s.text("type") == "array" && items.get("properties") != nil {
			p.line("An array of objects:")
			s = items
		}
		p.members(s)
	}
}

func (p *pageWriter) members(s *object) {
	p.table([]string{"member", "type", "", "meaning"}, p.memberRows(s, ""))
}

// memberRows are the members of an object, and those of the objects in its arrays.
func (p *pageWriter) memberRows(s *object, prefix string) (rows [][]string) {
	props := s.object("properties")
	for _, name := range namesOf(props) {
		prop := props.object(name)
		must := ""
		if slices.Contains(s.list("required"), any(name)) {
			must = "always"
		}
		items := prop.object("items")
		nested := items != nil && items.get("properties") != nil
		kind := p.typeOf(prop)
		if nested {
			kind = "array of objects"
		}
		rows = append(rows, []string{"`" + prefix + name + "`", kind, must, prop.text("description")})
		if nested {
			rows = append(rows, p.memberRows(items, prefix+name+"[].")...)
		}
	}
	return rows
}

// problems writes what errors there are.
func (p *pageWriter) problems() {
	p.line("## Problems")
	schemas := p.doc.object("components").object("schemas")
	p.line("%s A client goes by `type`, never by `detail`.", schemas.object("problem").text("description"))
	p.members(schemas.object("problem"))
	common := schemas.object("problem").object("properties")
	var rows [][]string
	for _, name := range schemas.names {
		kind, ok := strings.CutPrefix(name, "problem-")
		if !ok {
			continue
		}
		s := schemas.object(name)
		props := s.object("properties")
		retryable := "no"
		if props.object("retryable").get("const") == true {
			retryable = "yes"
		}
		text := props.object("title").text("const") + ". " + s.text("description")
		var own []string
		for _, m := range props.names {
			if common.get(m) == nil {
				own = append(own, "`"+m+"`")
			}
		}
		rows = append(rows, []string{"`" + kind + "`", fmt.Sprint(props.object("status").get("const")), retryable, text, strings.Join(own, ", ")})
	}
	p.table([]string{"problem", "status", "retryable", "meaning", "also says"}, rows)
}
