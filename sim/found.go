package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

// Found is a failure as a file keeps it.
type Found struct {
	Options Options `json:"options"`
	Judge   Judge   `json:"judge"`
	Failure string  `json:"failure"` // the judge's words
	At      string  `json:"at"`      // when in virtual time
	Trace   string  `json:"trace"`   // as FormatTrace writes it
	Commit  string  `json:"commit"`  // as Commit writes it
	Replay  string  `json:"replay"`
}

// NewFound is the failure f of the world of o, as this program found it.
func NewFound(o Options, r *Result, f *Failure) Found {
	return Found{
		Options: o, Judge: f.Judge, Failure: f.Err.Error(),
		At: r.Virtual.Round(time.Microsecond).String(), Trace: FormatTrace(r.Trace), Commit: Commit(), Replay: o.Replay(),
	}
}

// FormatTrace is how a trace is printed and kept.
func FormatTrace(trace uint64) string { return fmt.Sprintf("%016x", trace) }

const (
	// changed follows a commit in whose sources something was changed.
	changed = "+changed"
	// unknownCommit is that of a program which does not know its own, as with "go run".
	unknownCommit = "unknown"
)

// Commit names the commit that this program was built from.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownCommit
	}
	commit, suffix := unknownCommit, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			suffix = changed
		}
	}
	return commit + suffix
}

// SameCommit tells whether a and b, of Commit, are certainly the same sources.
func SameCommit(a, b string) bool { return a == b && isCommit(a) }

// Write makes a file of f.
func (f *Found) Write(path string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil { //nolint:gosec // for everybody to read
		return fmt.Errorf("sim: %w", err)
	}
	return nil
}

// ReadFound reads a file that Write made.
func ReadFound(path string) (Found, error) {
	var f Found
	if err := readJSON(path, &f); err != nil {
		return f, err
	}
	if f.Judge == "" {
		return f, fmt.Errorf("sim: %s: it names no judge: is it a file that --save wrote?", path)
	}
	return f, nil
}

// Regression is a world that failed once, or made something show that a test cannot.
type Regression struct {
	Why     string  `json:"why"`
	Options Options `json:"options"`
}

// ReadRegressions reads a list of worlds.
func ReadRegressions(path string) ([]Regression, error) {
	var list struct {
		About  string       `json:"about"` // of the list as a whole
		Worlds []Regression `json:"worlds"`
	}
	if err := readJSON(path, &list); err != nil {
		return nil, err
	}
	if len(list.Worlds) == 0 {
		return nil, fmt.Errorf("sim: %s: it lists no worlds", path)
	}
	for i, r := range list.Worlds {
		if r.Why == "" {
			return nil, fmt.Errorf("sim: %s: world %d, %s: it does not say why", path, i+1, r.Options.Replay())
		}
		if r.Options.Time == 0 { // its UnmarshalJSON was not asked
			return nil, fmt.Errorf("sim: %s: world %d has no options", path, i+1)
		}
	}
	return list.Worlds, nil
}

// readJSON reads a file that is one value of JSON of v's kind.
func readJSON(path string, v any) error {
	b, err := os.ReadFile(path) //nolint:gosec // the file that the user names
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fmt.Errorf("sim: %s: at byte %d: %w", path, syntax.Offset, err)
		}
		return fmt.Errorf("sim: %s: %w", path, err)
	}
	return nil
}
