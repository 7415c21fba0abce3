//go:build !failpoints

package fsm

import "go.etcd.io/bbolt"

// commit is tx.Commit: only in the build of make test-failpoints can power be lost in it.
func (*Flush) commit(tx *bbolt.Tx) error { return tx.Commit() }
