package jepsen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/confman/confman/linearizability"
)

// Save writes what is left of a run into a directory, which it makes: history.jsonl (docs/history.md), report.html, verdict.txt,
// command.txt, which is the command line to run it again, and the nodes' logs and configurations.
func (res *Result) Save(ctx context.Context, dir string, ground Ground, o Options, command []string) error {
	o = o.withDefaults()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for people to read
		return err
	}
	verdict := "all is as it should be\n"
	if res.Err != nil {
		verdict = res.Err.Error() + "\n"
	}
	for _, what := range res.Mended {
		verdict += "left broken by a nemesis: " + what + "\n"
	}
	for i := range res.Verdict {
		verdict += res.Verdict[i].String() + "\n"
	}
	return errors.Join(
		writeTo(filepath.Join(dir, "history.jsonl"), res.History.Write),
		writeTo(filepath.Join(dir, "report.html"), func(w io.Writer) error {
			return linearizability.Report(w, &res.History, res.Verdict, o.Budget)
		}),
		os.WriteFile(filepath.Join(dir, "verdict.txt"), []byte(verdict), 0o600),
		os.WriteFile(filepath.Join(dir, "command.txt"), []byte(strings.Join(command, " ")+"\n"+strings.Join(ground.Means(), "\n")+"\n"), 0o600),
		ground.Collect(ctx, dir),
	)
}

func writeTo(path string, write func(io.Writer) error) error {
	f, err := os.Create(path) //nolint:gosec // where whoever runs it wants it
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("jepsen: %s: %w", path, err)
	}
	return nil
}
