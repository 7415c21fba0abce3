package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/confman/confman/jepsen"
)

// docsFile shows the results that are in resultsFile.
const (
	resultsFile = "jepsen/results.json"
	docsFile    = "docs/chaos.md"
)

// What can come of a scenario, or of a cell of the matrix.
const (
	resultGood    = "good"
	resultWrong   = "wrong"
	resultNotHere = "cannot be made"
)

// results are the newest ones of all scenarios and cells.
type results struct {
	Scenarios map[string]outcome            `json:"scenarios"`
	Matrix    map[string]map[string]outcome `json:"matrix"` // by nemesis and workload
}

// outcome is what came of one run.
type outcome struct {
	Result  string  `json:"result"`
	Date    string  `json:"date"`
	Seconds float64 `json:"seconds"`
	Text    string  `json:"text,omitempty"` // why it is not good
	// Together: in that run other workloads were at work, too.
	Together bool `json:"together,omitempty"`
}

// loadResults reads a file of results; none is an empty one.
func loadResults(path string) (*results, error) {
	r := &results{Scenarios: map[string]outcome{}, Matrix: map[string]map[string]outcome{}}
	text, err := os.ReadFile(path) //nolint:gosec // the caller names it
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(text, r)
}

// noteResult changes a file of results, all of it at once.
func noteResult(path string, change func(*results)) (*results, error) {
	r, err := loadResults(path)
	if err != nil {
		return nil, err
	}
	change(r)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return r, replaceFile(path, append(text, '\n'))
}

// put is the newest outcome of a cell.
func (r *results) put(nemesis, workload string, c outcome) {
	if r.Matrix[nemesis] == nil {
		r.Matrix[nemesis] = map[string]outcome{}
	}
	r.Matrix[nemesis][workload] = c
}

// show writes the tables into a page, between their markers.
func (r *results) show(page string) error {
	text, err := os.ReadFile(page) //nolint:gosec // the caller names it
	if err != nil {
		return err
	}
	for name, table := range map[string]string{"scenarios": r.scenarioTable(), "matrix": r.matrixTable(), "nemeses": nemesisTable()} {
		begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
		before, rest, ok := strings.Cut(string(text), begin)
		_, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			return fmt.Errorf("%s: there is no %q with %q after it", page, begin, end)
		}
		text = []byte(before + begin + table + end + after)
	}
	return replaceFile(page, text)
}

// scenarioTable has a row for each scenario there is.
func (r *results) scenarioTable() string {
	text := "| no. | command | what it brings about | last result |\n| --- | --- | --- | --- |\n"
	for _, sc := range jepsen.Scenarios() {
		text += fmt.Sprintf("| %d | `jepsen scenario %s` | %s | %s |\n", sc.Number, sc.Name, sc.About, r.Scenarios[sc.Name])
	}
	return text
}

// matrixTable has a row for each nemesis, and a column for each workload.
func (r *results) matrixTable() string {
	text, line := "| |", "| --- |"
	for _, w := range jepsen.Workloads() {
		text, line = text+" "+w+" |", line+" --- |"
	}
	text += "\n" + line + "\n"
	for _, n := range jepsen.Nemeses() {
		text += "| `" + n.Name + "` |"
		for _, w := range jepsen.Workloads() {
			text += " " + r.Matrix[n.Name][w].short() + " |"
		}
		text += "\n"
	}
	return text
}

// String is an outcome in words.
func (o outcome) String() string {
	if o.Result == "" {
		return "not run yet"
	}
	if o.Result == resultNotHere {
		return fmt.Sprintf("cannot be made there, %s: %s", o.Date, o.Text)
	}
	return fmt.Sprintf("%s, %.0f s, %s", o.Result, o.Seconds, o.Date)
}

// besides marks, in a cell, that other workloads were at work, too.
const besides = "∥"

// short is an outcome in a cell.
func (o outcome) short() (text string) {
	switch o.Result {
	case "":
		return "·"
	case resultNotHere:
		return "–"
	case resultGood:
		text = fmt.Sprintf("%.0f s", o.Seconds)
	default:
		text = fmt.Sprintf("**%s** %.0f s", o.Result, o.Seconds)
	}
	if o.Together {
		text += " " + besides
	}
	return text
}

// replaceFile writes a file such that it is never half of one.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
