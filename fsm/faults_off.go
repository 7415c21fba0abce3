//go:build !failpoints

package fsm

// Without make test-failpoints there are no failpoints: this is inlined to nothing.

func fault(string) error { return nil }
