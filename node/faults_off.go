//go:build !failpoints

package node

import (
	"time"

	"github.com/confman/confman/transport"
)

// Without make test-failpoints there are no failpoints: these are inlined to nothing.

func fault(string) error                      { return nil }
func (*Runner) fault(string)                  {}
func lost(string, *transport.Message) bool    { return false }
func drifted(now time.Duration) time.Duration { return now }
