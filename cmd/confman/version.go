package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport/grpctransport"
)

// about is what a program says of itself.
type about struct {
	Release string `json:"release"`
	// Commit is what it was built from; Modified: and from something else beside.
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	// The versions of commands that it knows, and of the wire between nodes that it speaks.
	OldestCommandVersion int `json:"oldest_command_version"`
	CommandVersion       int `json:"command_version"`
	OldestWireVersion    int `json:"oldest_wire_version"`
	WireVersion          int `json:"wire_version"`
}

func aboutThis() about {
	a := about{
		Release:              version(),
		OldestCommandVersion: fsm.MinVersion, CommandVersion: fsm.Version,
		OldestWireVersion: grpctransport.MinWireVersion, WireVersion: grpctransport.WireVersion,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		a.Go = info.GoVersion
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				a.Commit = s.Value
			case "vcs.modified":
				a.Modified = s.Value == "true"
			}
		}
	}
	return a
}

// version is the module's, as the go tool stamped it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func newVersion(e env) *cobra.Command {
	s := &session{env: e}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show which release this program is, and what it goes together with",
		Long: `Show which release this program is, what it was built from, which versions of commands it
knows, and which versions of the wire between nodes it speaks. It asks no node: confman
cluster shows what those run.

A node can take part as long as its program knows the version of commands that the cluster
uses. That rises only by confman cluster finalize-upgrade.`,
		Example: `  confman version
  confman version -o json`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			a := aboutThis()
			return s.print(a, func(w io.Writer) error { return aboutTable(w, &a) })
		},
	}
	s.outputFlag(cmd)
	return cmd
}

func aboutTable(w io.Writer, a *about) error {
	commit := orDash(a.Commit)
	if a.Modified {
		commit += ", modified"
	}
	return table(w, [][]string{
		{"release", a.Release},
		{"commit", commit},
		{"built with", orDash(a.Go)},
		{"commands", versions(a.OldestCommandVersion, a.CommandVersion)},
		{"wire", versions(a.OldestWireVersion, a.WireVersion)},
	})
}

// versions are those from one to another.
func versions(from, to int) string {
	if from == to {
		return fmt.Sprintf("version %d", from)
	}
	return fmt.Sprintf("versions %d to %d", from, to)
}
