package jepsen

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["import"] = func() Workload { return &importing{last: map[int]uint64{}} }
}

const (
	// A tree has so many chunks of so many keys: each chunk is one transaction.
	importChunks = 5
	importKeys   = 50
	// After so many steps a client goes on to another tree.
	importSpell = 40
	// importTime bounds one import.
	importTime = 20 * time.Second
)

// importing imports trees of its own, each again and again, by an Importer that asks all nodes, and reads what comes of it.
// Each attempt at a chunk is an operation, since each may take effect.
type importing struct {
	mu   sync.Mutex
	last map[int]uint64 // the spell that each client is in
	runs atomic.Int64
}

// tree is what one import writes: one value, which is its own, at all keys of a chunk.
type tree struct {
	root  string
	value [importChunks]string
}

func treeRoot(caller int, spell uint64) string { return fmt.Sprintf("import/%d/%d", caller, spell) }

func chunkKey(root string, chunk, n int) string { return fmt.Sprintf("%s/%d/%d", root, chunk, n) }

// chunkKeys are the keys of one chunk.
func chunkKeys(root string, chunk int) (keys []string) {
	for n := range importKeys {
		keys = append(keys, chunkKey(root, chunk, n))
	}
	return keys
}

// Prepare is part of Workload.
func (*importing) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *importing) Step(ctx context.Context, c *Caller) {
	steps, _ := c.State.(uint64)
	c.State = steps + 1
	spell := steps / importSpell
	w.mu.Lock()
	w.last[c.ID] = spell
	w.mu.Unlock()
	root, chunk := treeRoot(c.ID, spell), c.Rng.IntN(importChunks)
	switch c.Rng.IntN(8) { // an import is several operations, which may all be cut off at once
	case 0, 1, 2:
		op := c.op(linearizability.Txn, "")
		op.Steps = readSteps(chunkKeys(root, chunk))
		c.Do(ctx, op)
	case 3, 4, 5:
		c.Do(ctx, c.op(linearizability.Local, chunkKey(root, chunk, c.Rng.IntN(importKeys))))
	default:
		ctx, cancel := context.WithTimeout(ctx, importTime)
		defer cancel()
		if c.imports(ctx, c.ID, root) == nil {
			w.runs.Add(1)
		}
	}
}

// imports imports a tree with new values.
func (r *Run) imports(ctx context.Context, who int, root string) error {
	t := &tree{root: root}
	for chunk := range t.value {
		t.value[chunk] = fmt.Sprintf("i%d", r.Recorder.ID())
	}
	var urls []string
	for _, name := range r.Members() {
		urls = append(urls, r.machines[name].URL)
	}
	c, err := client.New(client.Options{Endpoints: urls, HTTP: r.http, AttemptTimeout: attemptTime, Token: r.who, PlainTextToken: true})
	if err != nil {
		return err
	}
	attempts := &attempts{r: r, who: who, tree: t}
	ctx = context.WithValue(ctx, eachAttemptKey{}, eachAttempt(attempts.record))
	i, err := c.NewImport(ctx, root+"/", client.ImportOptions{})
	if err != nil {
		return err
	}
	for chunk, value := range t.value {
		var records client.Chunk
		for _, key := range chunkKeys(root, chunk) {
			records.Append(&client.Record{Path: key, Value: []byte(value), ContentType: textType})
		}
		if i.Send(&records) != nil {
			break // Wait returns it
		}
	}
	_, err = i.Wait()
	return err
}

// attempts are those at the chunks of one import.
type attempts struct {
	r    *Run
	who  int
	tree *tree

	mu    sync.Mutex
	first [importChunks]uint64 // the first attempt at each
}

// record records one attempt, with its own number as its comment.
func (a *attempts) record(req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	chunk, err := a.chunkOf(req)
	if err != nil {
		return nil, err
	}
	op := &linearizability.Op{ID: a.r.Recorder.ID(), Client: a.who, Node: a.r.nodeAt(req.URL.Host), Kind: linearizability.Txn}
	for _, key := range chunkKeys(a.tree.root, chunk) {
		op.Steps = append(op.Steps, linearizability.Step{Kind: linearizability.Put, Key: key, Value: a.tree.value[chunk]})
	}
	a.mu.Lock()
	if op.RetryOf = a.first[chunk]; op.RetryOf == 0 {
		a.first[chunk] = op.ID
	}
	a.mu.Unlock()
	if !a.r.Recorder.Call(op) {
		return nil, errors.New("jepsen: there is no room to record it")
	}
	defer a.r.Recorder.Return(op)
	req = req.Clone(req.Context())
	req.Header.Set("Confman-Comment", remark(op))
	resp, err := send(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		op.Outcome = linearizability.NotApplied // nobody was there
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, client.MaxProblemBytes))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	learnImport(op, resp, text)
	return resp, nil
}

// chunkOf is which chunk a request is, by its first record.
func (a *attempts) chunkOf(req *http.Request) (int, error) {
	body, err := req.GetBody()
	if err != nil {
		return 0, err
	}
	defer body.Close()
	line, err := bufio.NewReader(body).ReadBytes('\n')
	var rec struct{ Path string }
	if err = errors.Join(err, json.Unmarshal(line, &rec)); err != nil {
		return 0, err
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(rec.Path, a.tree.root+"/"), "/")
	return strconv.Atoi(name)
}

// nodeAt is the node whose API is at an address.
func (r *Run) nodeAt(host string) string {
	for _, m := range r.machines {
		if strings.TrimPrefix(m.URL, "http://") == host {
			return m.Name
		}
	}
	return ""
}

// learnImport takes the answer to a chunk.
func learnImport(op *linearizability.Op, resp *http.Response, text []byte) {
	var res struct {
		client.ImportResult
		Outcome client.Outcome
	}
	switch err := json.Unmarshal(text, &res); {
	case err != nil:
	case resp.StatusCode == http.StatusOK && res.Changed > 0:
		op.Outcome, op.Revision = linearizability.Applied, res.Revision
	case resp.StatusCode == http.StatusOK:
		op.Outcome, op.Revision = linearizability.Unchanged, res.Revision
	case res.Outcome == client.NotApplied:
		op.Outcome = linearizability.NotApplied
	}
}

// Settle is part of Workload: each client's last tree is imported once more, and all are read at every node.
func (w *importing) Settle(ctx context.Context, r *Run) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for who, spell := range w.last {
		if err := r.imports(ctx, settler, treeRoot(who, spell)); err != nil {
			return fmt.Errorf("importing: %w", err)
		}
	}
	return r.atAll(func(node string) error {
		for who, last := range w.last {
			for n := range (last + 1) * importChunks {
				_, err := r.insist(ctx, func() *linearizability.Op {
					op := &linearizability.Op{Client: settler, Node: node, Kind: linearizability.Txn}
					op.Steps = readSteps(chunkKeys(treeRoot(who, n/importChunks), int(n%importChunks)))
					r.Do(ctx, op)
					return op
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Judge is part of Workload.
func (*importing) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (w *importing) Thin(h *linearizability.History) error {
	if n := w.runs.Load(); n < leastOfKind {
		return fmt.Errorf("%w: workload import imported %d trees", errThin, n)
	}
	return thin(h, "import",
		answered(linearizability.Txn, linearizability.Applied), answered(linearizability.Txn, linearizability.ReadDone), answered(linearizability.Local, linearizability.ReadDone),
	)
}
