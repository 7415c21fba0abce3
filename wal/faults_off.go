//go:build !failpoints

package wal

// Without make test-failpoints there are no failpoints: these are inlined to nothing.

func fault(string) error                 { return nil }
func (*Log) fault(string) error          { return nil }
func (*Log) faultOf(Batch, string) error { return nil }
func segmentBytes(o Options) int64       { return o.SegmentBytes }
func syncFault(string) error             { return nil }
func allocateFault(string) error         { return nil }
