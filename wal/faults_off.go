//go:build !failpoints

package wal

// Without make test-failpoints there are no failpoints: these are inlined to nothing.

func (*Log) fault(string) error          { return nil }
func (*Log) faultOf(Batch, string) error { return nil }
func syncFault(string) error             { return nil }
func allocateFault(string) error         { return nil }
