//go:build !failpoints

package node

import (
	"time"

	"github.com/confman/confman/transport"
)

// Without make test-failpoints there are no failpoints: these are inlined to nothing.

func (*Runner) fault(string)                  {}
func lost(string, *transport.Message) bool    { return false }
func repackSoon(s Settings) Settings          { return s }
func drifted(now time.Duration) time.Duration { return now }
