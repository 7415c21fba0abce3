package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keyed makes a write under an idempotency key until a node answers it, at one node after the
// other, as a client does that cannot know what became of the attempts before. It counts them.
func (f *fleet) keyed(at int, key, method, path, body string, headers ...string) (a reply, attempts int) {
	headers = append(headers, "Idempotency-Key", key)
	f.until(readyWait, key+" is answered", func() bool {
		var err error
		a, err = f.send(method, f.nodes[(at+attempts)%len(f.nodes)].url()+path, body, headers...)
		attempts++
		return err == nil && a.status < http.StatusInternalServerError
	})
	return a, attempts
}

// TestE2EKeyedWrites kills the leader, and then all nodes, under clients that repeat their writes
// until they are answered: each write has one effect, and one answer.
func TestE2EKeyedWrites(t *testing.T) {
	f := up(t, 3)
	leader := f.leader()
	const flag = configPath + "flag"
	first := f.ask(leader, http.MethodPut, flag, "1", "Idempotency-Key", "flag-1")
	require.Equal(t, http.StatusCreated, first.status, first.body)
	require.Empty(t, first.header.Get("Idempotency-Replayed"))

	// Each writer adds numbers to a list of its own, which is not idempotent by itself.
	const writers, adds = 3, 40
	list := func(w int) string { return fmt.Sprintf("%slists/%d", configPath, w) }
	add := func(w, i, at int) (reply, int) {
		return f.keyed(at, fmt.Sprintf("add-%d-%d", w, i), http.MethodPatch, list(w),
			fmt.Sprintf(`[{"op":"add","path":"/-","value":%d}]`, i), "Content-Type", "application/json-patch+json")
	}
	for w := range writers {
		f.keyed(w, fmt.Sprintf("list-%d", w), http.MethodPut, list(w), "[]")
	}
	var (
		answers [writers][adds]reply
		repeats [writers]int
		all     sync.WaitGroup
	)
	half := make(chan struct{}, writers)
	for w := range writers {
		all.Go(func() {
			for i := range adds {
				var attempts int
				answers[w][i], attempts = add(w, i, w+i)
				repeats[w] += attempts - 1
				if i == adds/2 {
					half <- struct{}{}
				}
			}
		})
	}
	<-half
	f.kill(leader)
	all.Wait()

	again, _ := f.keyed(0, "flag-1", http.MethodPut, flag, "1")
	same := func(first, again reply) {
		t.Helper()
		assert.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
		assert.Equal(t, first.status, again.status)
		assert.Equal(t, first.body, again.body)
		for _, name := range []string{"ETag", "Confman-Revision"} {
			assert.Equal(t, first.header.Get(name), again.header.Get(name), name)
		}
	}
	same(first, again)
	f.keyed(0, "flag-2", http.MethodPut, flag, "2")

	f.kill(f.others(leader)...)
	f.start(f.nodes...)
	f.await(f.nodes...)
	for at := range f.nodes {
		again, _ := f.keyed(at, "flag-1", http.MethodPut, flag, "1")
		same(first, again)
		for w := range writers {
			i := at * (adds - 1) / 2
			again, _ := add(w, i, at)
			same(answers[w][i], again)
		}
		a, _ := f.keyed(at, "flag-1", http.MethodPut, flag, "3")
		assert.Equal(t, http.StatusUnprocessableEntity, a.status)
		assert.Equal(t, "idempotency-key-reused", a.problem(t).Type)
	}
	value := func(path string) string {
		return f.ask(f.nodes[0], http.MethodGet, path+"?consistency=linearizable", "", "Accept", "text/plain").body
	}
	assert.Equal(t, "2", value(flag))
	var want []int
	for i := range adds {
		want = append(want, i)
	}
	for w := range writers {
		var got []int
		require.NoError(t, json.Unmarshal([]byte(value(list(w))), &got))
		assert.Equal(t, want, got, "each is there once, in the order that it was asked for")
	}
	a := f.ask(f.nodes[2], http.MethodGet, "/api/v1/history?verify=true&consistency=linearizable", "")
	assert.Contains(t, a.body, `"verified":true`)
	f.converge()
	t.Logf("attempts that had to be repeated: %v", repeats)
}
