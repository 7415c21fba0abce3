//go:build !failpoints

package grpctransport

// Without make test-failpoints there are no failpoints: these are inlined to nothing.

func faultTo(string, string) error                { return nil }
func (*Transport) faultFrom(string, uint64) error { return nil }
