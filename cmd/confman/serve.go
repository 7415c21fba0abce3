package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/confman/confman/config"
	"github.com/confman/confman/node"
)

// settings are the flags of serve that stand for keys of the configuration.
var settings = []struct{ flag, key, usage string }{
	{"node-id", "Cluster.NodeId", "which of the configured nodes this one is"},
	{"seat", "Cluster.Seat", "what a new node joins a cluster by, as confman cluster add or replace printed it, or @FILE with it; needs an empty directory"},
	{"data-dir", "Data.Dir", "where this node keeps its log and its store"},
	{"drain-delay", "Api.DrainDelay", "how long to serve on, not ready, when told to stop, such as 15s"},
	{"log-level", "Log.Level", "debug, info, warn or error"},
	{"log-format", "Log.Format", "text or json (default: text on a terminal, else json)"},
	{"access-log", "Log.Access", "true: a line for each request"},
}

func newServe(e env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run one node of a cluster",
		Long: `Run one node until SIGTERM or SIGINT, then stop in order: say for Api.DrainDelay that
it is not ready while it serves on, take no new requests, send watches elsewhere, answer
what is in flight, flush the store. A second signal does not wait for that.

The configuration is a JSON or YAML file; environment variables such as
CONFMAN_Cluster__NodeId override it, and flags override both. docs/settings.md has every
key, with its unit, default and range; docs/operations.md is how to run nodes. If the node
stops by itself, the reason and what to do about it are printed, and the exit code is 1.`,
		Example: `  confman serve --config /etc/confman/confman.json
  confman serve --config confman.json --node-id node2 --data-dir /var/lib/confman
  confman serve --config confman.json --seat @node4.seat
  confman serve --config confman.json --log-level debug --log-format text`,
		Args: usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "the configuration file")
	for _, s := range settings {
		f.String(s.flag, "", s.usage+" ("+s.key+")")
	}
	f.Lookup("access-log").NoOptDefVal = "true"
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	complete(cmd, "log-format", logText, logJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		flags := map[string]string{}
		for _, s := range settings {
			if set := f.Lookup(s.flag); set.Changed {
				flags[s.key] = set.Value.String()
			}
		}
		cfg, err := config.Load(file, e.environ, flags)
		if err == nil {
			err = checkAuth(cfg.Auth)
		}
		var seat *node.Seat
		if err == nil {
			seat, err = readSeat(cfg.Cluster.Seat)
		}
		if err != nil {
			return usageError{err}
		}
		log, err := newLogger(e.err, e.errTerminal, cfg.Log)
		if err != nil {
			return err
		}
		memory := limitMemory(e.environ, cfg.Limits.MemoryBytes, "/", log)
		defer runtime.KeepAlive(memory.ballast)
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // from then on a signal ends the process at once
		go giveMemoryBack(ctx)
		return (&server{config: cfg, log: log, seat: seat, memory: memory}).run(ctx)
	}
	return cmd
}

// maxSeatFileBytes bounds what is read of a file that should hold a seat.
const maxSeatFileBytes = 64 << 10

// readSeat reads a seat, or the file that is named after an @; nil if there is none.
func readSeat(text string) (*node.Seat, error) {
	if text == "" {
		return nil, nil
	}
	if file, ok := strings.CutPrefix(text, "@"); ok {
		f, err := os.Open(file) //nolint:gosec // the operator names it
		if err != nil {
			return nil, fmt.Errorf("Cluster.Seat: %w", err)
		}
		b, err := io.ReadAll(io.LimitReader(f, maxSeatFileBytes))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("Cluster.Seat: %w", err)
		}
		text = string(b)
	}
	seat, err := node.ParseSeat(text)
	if err != nil {
		return nil, fmt.Errorf("Cluster.Seat: %w", err)
	}
	return seat, nil
}
