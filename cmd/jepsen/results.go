package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// resultsFile is where the results are that docs/chaos.md shows.
const resultsFile = "jepsen/results.json"

// What can come of a scenario, or of a cell of the matrix.
const (
	resultGood    = "good"
	resultWrong   = "wrong"
	resultNotHere = "cannot be made"
)

// results are the newest ones of all scenarios and cells.
type results struct {
	Scenarios map[string]outcome            `json:"scenarios"`
	Matrix    map[string]map[string]outcome `json:"matrix"` // by workload and nemesis
}

// outcome is what came of one run.
type outcome struct {
	Result  string  `json:"result"`
	Date    string  `json:"date"`
	Seconds float64 `json:"seconds"`
	Text    string  `json:"text,omitempty"` // why it is not good
}

// loadResults reads a file of results; none is an empty one.
func loadResults(path string) (*results, error) {
	r := &results{Scenarios: map[string]outcome{}, Matrix: map[string]map[string]outcome{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(text, r)
}

// noteResult changes a file of results, all of it at once.
func noteResult(path string, change func(*results)) error {
	r, err := loadResults(path)
	if err != nil {
		return err
	}
	change(r)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
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
