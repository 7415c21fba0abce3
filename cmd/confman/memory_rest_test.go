package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMemoryIsGivenBackAtRest(t *testing.T) {
	const mib = 1 << 20
	use := memoryUse{held: 60 * mib}
	var r resting
	r.gave(use)
	after := func(allocated, held uint64) bool {
		use.allocated += allocated * mib
		use.held = held * mib
		return r.due(use)
	}
	assert.False(t, after(500, 300), "busy")
	assert.False(t, after(1, 300), "not at rest for long")
	assert.True(t, after(1, 300))
	use.held = 280 * mib
	r.gave(use)
	for i := range 2 * uint64(restAgain) {
		assert.False(t, after(16, 281+i), "the garbage of a node at rest is the runtime's to collect")
	}
	assert.False(t, after(0, 120), "it did")
	assert.False(t, after(40, 130), "a flush")
	assert.False(t, after(0, 130))
	assert.True(t, after(0, 130), "what was flushed may have been alive the last time, and that is long ago")
	use.held = 100 * mib
	r.gave(use)
	assert.False(t, after(40, 132), "a flush")
	assert.False(t, after(0, 132))
	assert.False(t, after(0, 132), "little more than the least is held")
	assert.True(t, after(0, 133))
	use.held = 120 * mib
	r.gave(use)
	assert.False(t, after(500, 300))
	assert.False(t, after(0, 300))
	assert.False(t, after(17, 300), "busy again")
	assert.False(t, after(0, 300))
	assert.True(t, after(0, 300))
}

func TestUseOfMemoryIsTheRuntimes(t *testing.T) {
	before := useOfMemory()
	assert.NotZero(t, before.held)
	kept := make([]byte, 8<<20)
	assert.GreaterOrEqual(t, useOfMemory().allocated, before.allocated+uint64(len(kept)))
}
