package httpapi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/confman/confman/fsm"
)

// treeWriter writes records as nested objects, as they come in order of key.
//
// That order is nearly the order of the tree: the keys below a path follow each
// other, but between a key x and those below it may lie others, such as "x-y",
// because "-" sorts before "/". So a record is kept until the next one shows
// whether something is below it; only if that stays open is the view asked.
type treeWriter struct {
	*exporter
	view  *fsm.View
	root  string   // what all keys begin with
	path  []string // the open objects below the root one
	fresh bool     // the innermost open object has no member yet

	held    bool // there is a record kept back
	key     string
	value   []byte
	form    form
	emitted []string // prefixes written ahead of their turn
	err     error    // of the view
}

// tree writes what is below t as one document, and t's own value, if it has one, if own says so.
func (e *exporter) tree(v *fsm.View, t target, own bool) error {
	w := &treeWriter{exporter: e, view: v, root: t.prefix(), fresh: true}
	if !e.yaml {
		e.buf = append(e.buf, '{')
	}
	if own {
		rec, ok, err := v.Get(t.key)
		if err != nil {
			return err
		}
		if ok {
			w.leaf("", formOf(rec.ContentType, rec.Value), rec.Value)
		}
	}
	if err := w.below(t.prefix()); err != nil {
		return err
	}
	w.close(0)
	switch {
	case !e.yaml:
		e.buf = append(e.buf, '}', '\n')
	case e.leaves == 0:
		e.buf = append(e.buf, "{}\n"...)
	}
	e.flush(true)
	return e.err
}

// below writes all records whose keys begin with prefix.
func (w *treeWriter) below(prefix string) error {
	err := w.view.Scan(prefix, afterPrefix(prefix), func(rec fsm.Record) bool {
		if w.skip(rec.Key) {
			return true
		}
		w.release(rec.Key)
		w.held = true
		w.key = rec.Key
		w.value = append(w.value[:0], rec.Value...)
		w.form = formOf(rec.ContentType, rec.Value)
		return w.err == nil && w.flush(false)
	})
	if err != nil {
		return err
	}
	w.release("")
	if w.err != nil {
		return w.err
	}
	return w.exporter.err
}

// skip tells whether a key was written already, ahead of its turn.
func (w *treeWriter) skip(key string) bool {
	for i := 0; i < len(w.emitted); {
		switch p := w.emitted[i]; {
		case strings.HasPrefix(key, p):
			return true
		case key > p: // it is past what begins with p
			w.emitted = append(w.emitted[:i], w.emitted[i+1:]...)
		default:
			i++
		}
	}
	return false
}

// release writes the record kept back, now that the next key is known; "" means
// that there is none.
func (w *treeWriter) release(next string) {
	if !w.held || w.err != nil {
		return
	}
	w.held = false
	prefix := w.key + "/"
	switch {
	case strings.HasPrefix(next, prefix):
		w.open(prefix)
		w.leaf("", w.form, w.value)
	case !strings.HasPrefix(next, w.key) || next > prefix || !w.any(prefix):
		name := strings.LastIndexByte(w.key, '/') + 1
		w.open(w.key[:name])
		w.leaf(w.key[name:], w.form, w.value)
	default:
		w.open(prefix)
		w.leaf("", w.form, w.value)
		w.emitted = append(w.emitted, prefix)
		inner := *w
		inner.emitted = nil
		w.err = inner.below(prefix)
		w.path, w.fresh = inner.path, inner.fresh
	}
}

// any tells whether a key begins with prefix.
func (w *treeWriter) any(prefix string) bool {
	found := false
	if err := w.view.Scan(prefix, afterPrefix(prefix), func(fsm.Record) bool { found = true; return false }); err != nil {
		w.err = err
	}
	return found
}

// open makes the object for prefix, which ends in a slash or is the root, the
// innermost one.
func (w *treeWriter) open(prefix string) {
	rest := prefix[len(w.root):]
	same := 0
	for ; same < len(w.path); same++ {
		after, ok := strings.CutPrefix(rest, w.path[same]+"/")
		if !ok {
			break
		}
		rest = after
	}
	w.close(same)
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		w.member(name)
		if w.yaml {
			w.buf = append(w.buf, '\n')
		} else {
			w.buf = append(w.buf, '{')
		}
		w.path = append(w.path, name)
		w.fresh = true
	}
}

// close ends the open objects but for the first n.
func (w *treeWriter) close(n int) {
	for ; len(w.path) > n; w.path = w.path[:len(w.path)-1] {
		if !w.yaml {
			w.buf = append(w.buf, '}')
		}
		w.fresh = false
	}
}

// member begins a member of the innermost object.
func (w *treeWriter) member(name string) {
	if w.yaml {
		indent := w.indent(0)
		w.buf = appendYAMLKey(append(w.buf, indent...), name, "\n"+indent)
		return
	}
	if !w.fresh {
		w.buf = append(w.buf, ',', '\n')
	}
	w.fresh = false
	w.buf = appendString(w.buf, name)
	w.buf = append(w.buf, ':')
}

// indent is the space before a member in YAML, deeper by some levels.
func (w *treeWriter) indent(deeper int) string { return strings.Repeat("  ", len(w.path)+deeper) }

// leaf writes a value as a member. An object in its place would read as what is
// below the member's path, so it is wrapped as that path's own value.
func (w *treeWriter) leaf(name string, f form, value []byte) {
	w.leaves++
	w.member(name)
	wrap := name != "" && (f == formOctets || f == formJSON && isObject(value))
	if w.yaml {
		w.yamlLeaf(f, value, wrap)
		return
	}
	if wrap {
		w.buf = append(w.buf, `{"":`...)
	}
	switch f {
	case formJSON:
		w.buf = append(w.buf, value...)
	case formText:
		w.buf = appendString(w.buf, value)
	case formOctets:
		w.buf = append(w.buf, `{"value":`...)
		w.buf = append(appendBase64(w.buf, value), '}')
	}
	if wrap {
		w.buf = append(w.buf, '}')
	}
}

// yamlLeaf is leaf after the member's name.
func (w *treeWriter) yamlLeaf(f form, value []byte, wrap bool) {
	if wrap {
		w.buf = append(append(append(w.buf, '\n'), w.indent(1)...), `"":`...)
	}
	w.buf = append(w.buf, ' ')
	switch f {
	case formJSON:
		var err error
		if w.buf, err = appendYAMLValue(w.buf, value); err != nil && w.err == nil {
			w.err = fmt.Errorf("httpapi: a stored value of a JSON type is no JSON: %w", err)
		}
	case formText:
		w.buf = appendYAMLString(w.buf, string(value))
	case formOctets:
		w.buf = append(w.buf, `{value: `...)
		w.buf = appendString(w.buf, base64.StdEncoding.EncodeToString(value))
		w.buf = append(w.buf, `, encoding: base64}`...)
	}
	w.buf = append(w.buf, '\n')
}

func isObject(json []byte) bool {
	json = bytes.TrimLeft(json, " \t\r\n")
	return len(json) > 0 && json[0] == '{'
}
