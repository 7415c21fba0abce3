package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/confman/confman/client"
)

// marshal is json.Marshal without HTML's escapes: a value is shown as it is stored.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// printJSON prints v as indented JSON. Its numbers keep their text.
func printJSON(w io.Writer, v any) error {
	text, err := marshal(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// printYAML prints v, as it is in JSON, as YAML: the order of members and the text
// of numbers stay.
func printYAML(w io.Writer, v any) error {
	text, err := marshal(v)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	doc, err := yamlNode(dec)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// yamlNode reads one JSON value. The YAML library reads JSON too, but not the
// surrogate pairs in its strings.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	scalar := func(tag, value string) (*yaml.Node, error) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}, nil
	}
	switch token := token.(type) {
	case nil:
		return scalar("!!null", "null")
	case bool:
		return scalar("!!bool", strconv.FormatBool(token))
	case string:
		return scalar("!!str", token)
	case json.Number:
		if strings.ContainsAny(token.String(), ".eE") {
			return scalar("!!float", token.String())
		}
		return scalar("!!int", token.String())
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if token == json.Delim('{') {
		n.Kind = yaml.MappingNode
	}
	for dec.More() { // a name is a value like any other here
		c, err := yamlNode(dec)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, c)
	}
	_, err = dec.Token() // the closing brace
	return n, err
}

// print prints v as JSON or YAML, or calls table.
func (s *session) print(v any, table func(io.Writer) error) error {
	switch s.output {
	case "json":
		return printJSON(s.out, v)
	case "yaml":
		return printYAML(s.out, v)
	}
	return table(s.out)
}

// table prints rows in columns.
func table(w io.Writer, rows [][]string) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t")) // Flush tells
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(b.Bytes()) { // tabwriter pads empty cells at a line's end
		if _, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// plural is a count with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// maxShownRunes is how much of a value a table shows.
const maxShownRunes = 60

// shown is a value as a table shows it: on one line, cut, harmless to a terminal.
func shown(rec *client.Record) string {
	if !utf8.Valid(rec.Value) || rec.ContentType == "application/octet-stream" {
		return "(" + plural(len(rec.Value), "byte", "bytes") + ")"
	}
	runes := []rune(harmless(string(rec.Value[:min(len(rec.Value), 8*maxShownRunes)])))
	if len(runes) > maxShownRunes {
		return string(runes[:maxShownRunes-3]) + "..."
	}
	return string(runes)
}

// harmless is text without what would move a terminal's cursor.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, text)
}
