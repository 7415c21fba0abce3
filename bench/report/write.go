package report

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/confman/confman/bench/work"
)

// Write leaves the tables, all figures and the plots in a directory.
func Write(dir, markdown string, r *work.Results) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.md"), []byte(markdown), 0o600); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(text, '\n'), 0o600); err != nil {
		return err
	}
	if err := hour(dir, r); err != nil {
		return err
	}
	return curves(dir, r)
}
