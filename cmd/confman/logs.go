package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/confman/confman/config"
)

// How logs are written; without a word, text on a terminal and JSON elsewhere.
const (
	logText = "text"
	logJSON = "json"
)

// newLogger makes the logger of a node; cfg is valid.
func newLogger(w io.Writer, terminal bool, cfg config.Log) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == logJSON || cfg.Format == "" && !terminal {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	// Who reads along knows the date.
	opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// accessLogger writes where log does, whatever the level is: who wants the access log has asked for it.
func accessLogger(log *slog.Logger) *slog.Logger { return slog.New(always{log.Handler()}) }

type always struct{ slog.Handler }

// Enabled is true.
func (always) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs is as always.
func (a always) WithAttrs(attrs []slog.Attr) slog.Handler { return always{a.Handler.WithAttrs(attrs)} }

// WithGroup is as always.
func (a always) WithGroup(name string) slog.Handler { return always{a.Handler.WithGroup(name)} }
