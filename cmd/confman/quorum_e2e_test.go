package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refusalWait bounds an answer without a quorum: the API's longest wait for one
// (httpapi.WriteWait) and what a busy machine adds.
const refusalWait = 15 * time.Second

// TestE2ENoQuorum kills two nodes of three while clients write. What is left
// acknowledges nothing, says so in time, and serves what it may; and once the
// others are back nothing that was acknowledged is missing.
func TestE2ENoQuorum(t *testing.T) {
	f := up(t, 3)
	left := f.nodes[1]

	// Each writer notes what became of each of its keys.
	const writers = 6
	const acknowledged, notApplied, unknown = "acknowledged", "not_applied", "unknown"
	fates := make([]map[string]string, writers)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for w := range writers {
		fates[w] = map[string]string{}
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("writers/%d/%d", w, i)
				a, err := f.send(http.MethodPut, f.nodes[w%3].url()+configPath+key, key)
				switch {
				case err != nil:
					fates[w][key] = unknown
					return // the node is dead
				case a.status == http.StatusCreated:
					fates[w][key] = acknowledged
				case assert.Equal(t, http.StatusServiceUnavailable, a.status, a.body):
					fates[w][key] = a.problem(t).Outcome
					return // no quorum
				}
			}
		})
	}
	f.until(readyWait, "the writers are under way", func() bool {
		s, ok := f.standing(left)
		return ok && s.Revision >= 200
	})
	f.kill(f.others(left)...)

	asked := time.Now()
	a := f.ask(left, http.MethodPut, configPath+"late", "1")
	assert.Less(t, time.Since(asked), refusalWait)
	assert.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
	p := a.problem(t)
	assert.Equal(t, "no-quorum", p.Type)
	assert.Contains(t, []string{notApplied, unknown}, p.Outcome)
	assert.True(t, p.Retryable)
	close(stop)
	all.Wait()

	t.Run("linearizable read", func(t *testing.T) {
		asked := time.Now()
		a := f.ask(left, http.MethodGet, configPath+"writers/0/0?consistency=linearizable", "")
		assert.Less(t, time.Since(asked), refusalWait)
		assert.Equal(t, http.StatusServiceUnavailable, a.status)
		assert.Equal(t, "no-quorum", a.problem(t).Type)
	})
	t.Run("local read", func(t *testing.T) {
		a := f.ask(left, http.MethodGet, configPath+"writers/0/0?consistency=local", "")
		assert.Equal(t, http.StatusOK, a.status, a.body)
		assert.NotEmpty(t, a.header.Get("Confman-Staleness"))
	})
	t.Run("bounded read, once the bound is passed", func(t *testing.T) {
		a := f.ask(left, http.MethodGet, configPath+"writers/0/0?max_staleness=1ms", "")
		assert.Equal(t, http.StatusServiceUnavailable, a.status)
		assert.Equal(t, "staleness-bound", a.problem(t).Type)
	})
	t.Run("ready", func(t *testing.T) {
		var a reply
		f.until(refusalWait, "the node says that it is not ready", func() bool {
			a = f.ask(left, http.MethodGet, "/health/ready", "")
			return a.status == http.StatusServiceUnavailable
		})
		assert.NotEmpty(t, a.problem(t).Reasons)
		assert.Equal(t, http.StatusOK, f.ask(left, http.MethodGet, "/health/live", "").status)
	})
	t.Run("command line", func(t *testing.T) {
		r := f.confman("put", "late", "2", "--timeout", "3s")
		assert.Contains(t, []int{exitUnavailable, exitUnknown}, r.code, r.err)
		r = f.confman("get", "writers/0/0", "--consistency", "local")
		assert.Equal(t, result{out: "writers/0/0"}, r)
	})

	f.start(f.others(left)...)
	f.await(f.nodes...)
	count := map[string]int{}
	for _, node := range f.nodes {
		for w := range writers {
			for key, fate := range fates[w] {
				count[fate]++
				a := f.ask(node, http.MethodGet, configPath+key+"?consistency=linearizable", "", "Accept", "text/plain")
				switch fate {
				case acknowledged:
					require.Equal(t, http.StatusOK, a.status, "%s is lost: %s", key, a.body)
					require.Equal(t, key, a.body)
				case notApplied:
					require.Equal(t, http.StatusNotFound, a.status, "%s was not to be applied: %s", key, a.body)
				default:
					require.Equal(t, unknown, fate, key)
				}
			}
		}
	}
	assert.GreaterOrEqual(t, count[acknowledged], 3*150)
	f.converge()
	t.Logf("what became of the writes, as seen at three nodes: %v", count)
}
