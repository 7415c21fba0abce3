package jepsen

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

// stream is a watch that a script follows: it goes on at the same node, or at another one of those that it was given,
// whatever happens to them. It is in the history once it is closed.
type stream struct {
	mu   sync.Mutex
	w    linearizability.Watch
	err  error // it ended by itself
	stop func()
	over chan struct{}
}

// watch follows the changes of the script's keys, from revision from on, at nodes, of which the first that is well is asked.
func (s *Stage) watch(ctx context.Context, from uint64, nodes ...string) *stream {
	const prefix = "scenario/"
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{
		w:    linearizability.Watch{Client: scriptClient, Node: strings.Join(nodes, ","), Prefix: prefix, From: from, Start: s.Recorder.Now()},
		stop: cancel, over: make(chan struct{}),
	}
	c := s.patient(nodes...)
	s.aside(func() {
		defer close(st.over)
		o := client.WatchOptions{From: from, FromStart: from == 0, Heartbeat: time.Second}
		for ch, err := range c.Watch(ctx, prefix, o) {
			at := s.Recorder.Now()
			st.mu.Lock()
			if err != nil {
				st.err = err
			}
			for _, e := range ch.Events {
				st.w.Events = append(st.w.Events, linearizability.WatchEvent{At: at, Revision: ch.Revision, Key: e.Path, Deleted: e.Deleted, Value: string(e.Value)})
			}
			st.mu.Unlock()
		}
	})
	return st
}

// patient is a client that asks nodes again and again, as programs of users do.
func (s *Stage) patient(nodes ...string) *client.Client {
	var urls []string
	for _, name := range nodes {
		urls = append(urls, s.Machine(name).URL)
	}
	c, err := client.New(client.Options{
		Endpoints: urls, MaxAttempts: -1, AttemptTimeout: attemptTime,
		HTTP: &http.Client{Transport: &http.Transport{DialContext: s.Ground.Dial, MaxIdleConnsPerHost: 16}},
	})
	s.ok(err)
	return c
}

// ended tells whether it ended by itself.
func (st *stream) ended() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err != nil
}

// has tells whether it delivered the change of a revision.
func (st *stream) has(revision uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.w.Events {
		if st.w.Events[i].Revision == revision {
			return true
		}
	}
	return false
}

// reaches waits until a stream delivers the change of a revision.
func (s *Stage) reaches(ctx context.Context, st *stream, revision uint64) {
	s.until(ctx, fmt.Sprintf("the watch at %s delivers revision %d", st.w.Node, revision), func(context.Context) bool { return st.has(revision) })
}

// closed ends a stream and records it; how it had ended by itself, if it had.
func (s *Stage) closed(st *stream) error {
	st.mu.Lock()
	err := st.err
	st.mu.Unlock()
	st.stop()
	<-st.over
	s.Recorder.Watched(st.w)
	return err
}

// compacted tells whether what a key was at a revision can be read no more.
func (s *Stage) compacted(ctx context.Context, node, key string, revision uint64) bool {
	_, _, err := s.At(node).Get(ctx, key, client.ReadOptions{Revision: revision})
	_, is := client.IsCompacted(err)
	return is
}

// metric is the sum of a node's samples of a metric; false: it does not answer.
func (s *Stage) metric(ctx context.Context, node, name string) (sum float64, ok bool) {
	answers := s.samples(ctx, node, func(sample string, value float64) {
		rest, found := strings.CutPrefix(sample, name)
		if found && (rest == "" || rest[0] == '{') {
			sum += value
		}
	})
	return sum, answers
}

// sample is one of a node's samples, by its name and labels, as /metrics has them; false: it is not there.
func (s *Stage) sample(ctx context.Context, node, name string) (value float64, ok bool) {
	s.samples(ctx, node, func(sample string, v float64) {
		if sample == name {
			value, ok = v, true
		}
	})
	return value, ok
}

// samples calls each with all of a node's; false: it does not answer.
func (s *Stage) samples(ctx context.Context, node string, each func(sample string, value float64)) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Machine(node).URL+"/metrics", nil)
	s.ok(err)
	c := &http.Client{Transport: &http.Transport{DialContext: s.Ground.Dial, DisableKeepAlives: true}, Timeout: attemptTime}
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if end < 0 {
			continue
		}
		if n, err := strconv.ParseFloat(line[end+1:], 64); err == nil {
			each(line[:end], n)
		}
	}
	return resp.StatusCode == http.StatusOK
}
