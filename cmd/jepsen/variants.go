package main

import (
	"context"

	"github.com/confman/confman/jepsen"
)

// variantsOf builds the programs that a scenario needs beside the one under test.
func variantsOf(context.Context, *jepsen.Scenario) (map[string]string, error) { return nil, nil }
