package grpctransport

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestARefusalIsLoggedOnceAMinute(t *testing.T) {
	var r refusals
	now := time.Unix(0, 0)
	due := func(key string) bool { due, _ := r.due(key, now); return due }
	assert.True(t, due("a"))
	now = now.Add(refusalInterval - 1)
	assert.False(t, due("a"))
	assert.True(t, due("b"))
	now = now.Add(1)
	assert.True(t, due("a"))
	now = time.Unix(0, 0)
	assert.True(t, due("a"), "the clock was set back")
	r.forget()
	assert.True(t, due("a"))
}

func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	now := time.Unix(0, 0)
	logged := 0
	for i := range 3 * maxRefusals {
		if due, _ := r.due(fmt.Sprint(i), now); due {
			logged++
		}
	}
	assert.Equal(t, maxRefusals, logged, "who thinks of new reasons fills no disk")
	assert.Len(t, r.logged, maxRefusals)
	due, unsaid := r.due("new", now.Add(refusalInterval))
	assert.True(t, due)
	assert.Equal(t, 2*maxRefusals, unsaid)
	_, unsaid = r.due("newer", now.Add(refusalInterval))
	assert.Zero(t, unsaid)
	assert.Len(t, r.logged, 2, "the old ones are let go")
}

func TestOneAddressIsOneWhateverItsPort(t *testing.T) {
	n := start(t, freePorts(t, 1), 0)
	for port := range 3 * maxRefusals {
		n.refused(fmt.Sprintf("10.0.0.1:%d", port), "the same")
	}
	n.refused("[::1]:1", "the same")
	assert.Equal(t, 2, strings.Count(n.log.String(), "the same"))
	n.refused("10.0.0.1:1", strings.Repeat("x", 2*maxReasonBytes))
	assert.Contains(t, n.log.String(), "="+strings.Repeat("x", maxReasonBytes)+"\n")
}
