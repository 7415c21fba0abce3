package main

import (
	"context"
	"os"

	"golang.org/x/term"
)

func main() {
	e := env{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ(),
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	os.Exit(run(context.Background(), e, os.Args[1:]))
}
