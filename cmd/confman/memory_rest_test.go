package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMemoryIsGivenBackAtRest(t *testing.T) {
	const mib = 1 << 20
	use := memoryUse{held: 300 * mib, live: 100 * mib}
	r := resting{before: use}
	after := func(allocated uint64) bool {
		use.allocated += allocated * mib
		return r.due(use)
	}
	assert.False(t, after(500), "busy")
	assert.False(t, after(1), "not at rest for long")
	assert.True(t, after(1))
	for range 10 {
		assert.False(t, after(1), "it was of no use")
	}
	use.held = 120 * mib
	assert.False(t, after(0), "nothing is held without need")
	assert.False(t, after(0))
	use.held = 300 * mib
	assert.False(t, after(500))
	assert.False(t, after(0))
	assert.False(t, after(17), "busy again")
	assert.False(t, after(0))
	assert.True(t, after(0))
}

func TestUseOfMemoryIsTheRuntimes(t *testing.T) {
	before := useOfMemory()
	assert.Greater(t, before.held, before.live)
	kept := make([]byte, 8<<20)
	assert.GreaterOrEqual(t, useOfMemory().allocated, before.allocated+uint64(len(kept)))
}
