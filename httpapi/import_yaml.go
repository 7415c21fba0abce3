package httpapi

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlReader makes the JSON tree that a YAML document means, which is then imported like any. A
// scalar means what YAML 1.2's core schema says, and is refused if JSON has no such value or
// another version of YAML takes it for another number: nothing is guessed. Numbers keep their text.
type yamlReader struct {
	file  string
	json  []byte
	marks []yamlMark            // in order of offset
	bare  map[yamlMark]struct{} // see bareTags
}

// yamlMark is where in the document that stands which begins at an offset of the JSON.
type yamlMark struct{ offset, line, column int32 }

// yaml is tree for a tree in YAML.
func (l *loader) yaml(b *body, src source) error {
	text, err := b.all(MaxTreeBytes)
	if err != nil {
		return err
	}
	nodes, fault := countYAML(text)
	if fault != nil {
		return fault.problem(text, src.file)
	}
	// The text is held already; beside it there are its strings, its nodes and the JSON.
	if err = b.hold(2*int64(len(text)) + nodes*yamlNodeBytes); err != nil {
		return err
	}
	r := yamlReader{file: src.file}
	if err = r.read(text); err != nil {
		return err
	}
	return l.leaves(r.json, src, r.problem)
}

// countYAML bounds how many nodes a text has, and bare tags: each but the first node follows an
// indicator, and none brings more than two. What cannot stand in a document at all is a fault.
func countYAML(text []byte) (int64, *syntaxError) {
	s := scanner{b: text}
	if fault := s.begin(); fault != nil {
		return 0, fault
	}
	nodes := int64(2)
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == ',' || r == ':' || r == '?' || r == '[' || r == '{',
			(r == '-' || r == '!') && (i+1 == len(text) || text[i+1] <= ' ' || text[i+1] >= utf8.RuneSelf):
			nodes += 2
		case r == '\t' || r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029:
		case !printableYAML(r):
			return 0, s.fault(i, "text holds the character %U; write it as an escape, in double quotes", r)
		}
		i += n
	}
	if nodes > MaxYAMLNodes {
		fault := s.fault(0, "document is of up to %d scalars and collections, at most %d are allowed: import it in parts, or as JSON", nodes, MaxYAMLNodes)
		fault.kind, fault.limit = kindTooLarge, MaxYAMLNodes
		return 0, fault
	}
	return nodes, nil
}

// problem is that of a fault in the JSON, at its place in the document.
func (r *yamlReader) problem(fault *syntaxError) *problem {
	i, found := slices.BinarySearchFunc(r.marks, int32(fault.offset), func(m yamlMark, offset int32) int { return int(m.offset - offset) })
	if !found {
		i-- // the first mark has offset 0
	}
	return fault.problemAt(int(r.marks[i].line), int(r.marks[i].column), r.file)
}

func (r *yamlReader) fault(n *yaml.Node, format string, args ...any) error {
	return (&scanner{}).fault(0, format, args...).problemAt(n.Line, n.Column, r.file)
}

// read makes the JSON of a text.
func (r *yamlReader) read(text []byte) error {
	if directive := "%YAML 1."; bytes.HasPrefix(text, []byte(directive+"2")) {
		text[len(directive)] = '1' // the library wants it, and reads what differs as we do
	}
	r.bare = bareTags(text)
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return r.fault(&yaml.Node{Line: 1, Column: 1}, "text holds no document, want a mapping")
	case err != nil:
		return r.syntax(text, err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode && root.Kind != yaml.AliasNode {
		return r.fault(root, "document is no mapping")
	}
	if err := r.value(root); err != nil {
		return err
	}
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return r.syntax(text, err)
	}
	return r.fault(&second, "a second document begins, an import takes one")
}

// bareTags are the places where a tag "!" may stand, which makes any scalar a string: the library
// drops it, and it is refused.
func bareTags(text []byte) map[yamlMark]struct{} {
	bare := map[yamlMark]struct{}{}
	line, column, last := int32(1), int32(0), rune(0)
	for _, r := range string(text) {
		if last == '!' && (r <= ' ' || r == 0x85 || r == 0x2028 || r == 0x2029) {
			bare[yamlMark{line: line, column: column}] = struct{}{}
		}
		column++
		switch {
		case r == '\n' && last == '\r':
			column = 0
		case r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029:
			line, column = line+1, 0
		}
		last = r
	}
	if last == '!' {
		bare[yamlMark{line: line, column: column}] = struct{}{}
	}
	return bare
}

// countsFrom0 are the errors of the library's parser: unlike those of its scanner, they count lines
// from 0.
var countsFrom0 = regexp.MustCompile(`^did not find expected (node content|key|'-' indicator|',' or|<)|^found (duplicate|undefined|incompatible)`)

// syntax is the problem of an error of the library, which tells a line at most.
func (r *yamlReader) syntax(text []byte, err error) error {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	at := yaml.Node{Line: 1, Column: 1}
	if rest, ok := strings.CutPrefix(reason, "line "); ok {
		line, rest, _ := strings.Cut(rest, ": ")
		if n, err := strconv.Atoi(line); err == nil {
			at.Line, reason = n, rest
		}
		if countsFrom0.MatchString(reason) {
			last, _ := position(text, len(bytes.TrimRight(text, "\r\n")))
			at.Line = min(at.Line+1, last)
		}
	}
	if rest, ok := strings.CutPrefix(reason, "unknown anchor '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		at.Line, at.Column = position(text, max(0, bytes.Index(text, []byte("*"+name))))
		reason = "aliases are not taken"
	}
	return r.fault(&at, "%s", reason)
}

// value appends the JSON of a node.
func (r *yamlReader) value(n *yaml.Node) error {
	r.marks = append(r.marks, yamlMark{int32(len(r.json)), int32(n.Line), int32(n.Column)})
	switch {
	case n.Kind == yaml.AliasNode:
		return r.fault(n, "aliases are not taken")
	case n.Anchor != "":
		return r.fault(n, "anchors are not taken")
	case len(r.json) > MaxTreeBytes:
		fault := &syntaxError{reason: "tree is larger than allowed, as JSON", kind: kindTooLarge, limit: MaxTreeBytes}
		return fault.problemAt(n.Line, n.Column, r.file)
	}
	if _, ok := r.bare[yamlMark{line: int32(n.Line), column: int32(n.Column)}]; ok {
		return r.fault(n, "tag ! is not taken: put a string in quotes")
	}
	tagged := n.Style&yaml.TaggedStyle != 0
	switch {
	case n.Kind == yaml.ScalarNode:
		text, err := r.scalar(n)
		r.json = append(r.json, text...)
		return err
	case n.Kind == yaml.MappingNode && (!tagged || n.Tag == "!!map"):
		return r.mapping(n)
	case n.Kind == yaml.SequenceNode && (!tagged || n.Tag == "!!seq"):
		return r.sequence(n)
	}
	return r.fault(n, "tag %s does not fit, or JSON has none such", n.Tag)
}

func (r *yamlReader) sequence(n *yaml.Node) error {
	r.json = append(r.json, '[')
	for i, element := range n.Content {
		if i > 0 {
			r.json = append(r.json, ',')
		}
		if err := r.value(element); err != nil {
			return err
		}
	}
	r.json = append(r.json, ']')
	return nil
}

func (r *yamlReader) mapping(n *yaml.Node) error {
	r.json = append(r.json, '{')
	seen := make(map[string]struct{}, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		if i > 0 {
			r.json = append(r.json, ',')
		}
		name, start := n.Content[i], len(r.json)
		if name.Tag == "!!merge" {
			return r.fault(name, "merge keys are not taken; put the name in quotes if it is one")
		}
		if err := r.value(name); err != nil {
			return err
		}
		text := string(r.json[start:])
		switch text[0] {
		case '"':
		case '{', '[', 't', 'f', 'n':
			return r.fault(name, "name is no string: put it in quotes")
		default: // a number's text
			text = `"` + text + `"`
			r.json = append(r.json[:start], text...)
		}
		if _, ok := seen[text]; ok {
			return r.fault(name, "member %s is there twice", text)
		}
		seen[text] = struct{}{}
		r.json = append(r.json, ':')
		if err := r.value(n.Content[i+1]); err != nil {
			return err
		}
	}
	r.json = append(r.json, '}')
	return nil
}

// scalar is the JSON of a scalar.
func (r *yamlReader) scalar(n *yaml.Node) (string, error) {
	tag, quoted := "", n.Style&^yaml.TaggedStyle != 0
	if n.Style&yaml.TaggedStyle != 0 {
		tag = n.Tag
	}
	if tag == "!!str" || tag == "" && quoted {
		return string(appendString(nil, n.Value)), nil
	}
	text := plainToJSON(n.Value)
	fits := true
	switch tag {
	case "":
	case "!!null":
		fits = text == "null"
	case "!!bool":
		fits = text == "true" || text == "false"
	case "!!int":
		fits = isJSONNumber(text) && !strings.ContainsAny(text, ".eE")
	case "!!float":
		fits = isJSONNumber(text)
	default:
		return "", r.fault(n, "tag %s does not fit, or JSON has none such", tag)
	}
	switch {
	case text == "":
		return "", r.fault(n, "%s may be a number, but is none as JSON has it: write it in decimal, as 0.5 or 31, or in quotes if it is a string", short(n.Value))
	case !fits:
		return "", r.fault(n, "%s is no %s", short(n.Value), strings.TrimPrefix(tag, "!!"))
	}
	return text, nil
}

// otherNumber is what some version of YAML takes for a number and JSON does not, or not for the
// same one. What looks like a time or a date is a string.
var otherNumber = regexp.MustCompile(`^[-+]?(0[bB][01_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|\.(inf|Inf|INF|nan|NaN|NAN))$`)

// plainToJSON is the JSON of a scalar without quotes, "" if it may be a number that JSON has not.
func plainToJSON(s string) string {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return "null"
	case "true", "True", "TRUE":
		return "true"
	case "false", "False", "FALSE":
		return "false"
	}
	switch {
	case isJSONNumber(s):
		return s
	case otherNumber.MatchString(s):
		return ""
	}
	return string(appendString(nil, s))
}

func isJSONNumber(text string) bool {
	s := scanner{b: []byte(text)}
	return s.skipNumber() == nil && s.i == len(s.b)
}
