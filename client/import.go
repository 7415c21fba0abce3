package client

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Chunk is records on their way into one request of an import, each a line. The
// zero value is empty.
type Chunk struct {
	lines   []byte
	records int
}

// Len is how many records it holds.
func (c *Chunk) Len() int { return c.records }

// Full tells whether it has reached MaxChunkRecords or MaxChunkBytes.
func (c *Chunk) Full() bool { return c.records >= MaxChunkRecords || len(c.lines) >= MaxChunkBytes }

// AppendLeaf adds a JSON value under path, as WalkTree hands them out: both must be valid.
func (c *Chunk) AppendLeaf(path []byte, value string) {
	if c.lines == nil {
		c.lines = make([]byte, 0, MaxChunkBytes+MaxChunkBytes/8)
	}
	if len(value) > 0 && value[0] == '[' && strings.ContainsAny(value, "\r\n") {
		rec := Record{Path: string(path), Value: []byte(value), ContentType: TypeJSON}
		c.Append(&rec)
		return
	}
	b := append(c.lines, `{"path":"`...)
	if bytes.ContainsAny(path, `"\`) { // a key holds no control character
		b = appendString(b[:len(b)-1], string(path))
	} else {
		b = append(b, path...)
		b = append(b, '"')
	}
	b = append(b, `,"value":`...)
	b = append(b, value...)
	c.lines = append(b, '}', '\n')
	c.records++
}

// Append adds a record: its path, its value and its type; the rest is history that
// an import makes anew.
func (c *Chunk) Append(rec *Record) {
	c.lines = append(rec.appendHead(c.lines, true), '}', '\n')
	c.records++
}

// ImportOptions are remarks about an import.
type ImportOptions struct {
	// InFlight bounds the requests under way (default DefaultInFlight, at most MaxInFlight).
	InFlight int
	// Comment says why; it goes into the change log.
	Comment string
	// Progress is called with each chunk that was applied, from several goroutines.
	Progress func(ImportResult)
}

// ImportResult is what an import did. A chunk that was sent again because its
// first answer was lost counts as unchanged what the first attempt had changed.
type ImportResult struct {
	// Revision is the newest that is known.
	Revision     uint64 `json:"revision"`
	Records      int    `json:"records"`
	Changed      int    `json:"changed"`
	Unchanged    int    `json:"unchanged"`
	Transactions int    `json:"transactions"`
}

// Importer sends chunks of records, several at a time, to all endpoints in turn,
// and each again until it is applied: records are puts of fixed values. Two chunks
// with the same path may be applied in either order. Send may be called from
// several goroutines; Wait once, after all of them.
type Importer struct {
	c      *Client
	opts   ImportOptions
	header http.Header
	path   string
	ctx    context.Context //nolint:containedctx // the import's whole life, which Wait ends
	cancel context.CancelFunc
	slots  chan struct{}
	flying sync.WaitGroup

	mu  sync.Mutex
	sum ImportResult
	err error // the first
	cut error // the context's, if it kept a chunk from being sent
}

// NewImport begins an import into the subtree below prefix, and prefix itself;
// the servers refuse records elsewhere. ctx bounds it as a whole, and nothing else
// does: it should have a deadline.
func (c *Client) NewImport(ctx context.Context, prefix string, o ImportOptions) (*Importer, error) {
	key, err := CheckPrefix(prefix)
	if err != nil {
		return nil, err
	}
	def(&o.InFlight, DefaultInFlight)
	i := &Importer{
		c: c, opts: o, path: base + "/import/",
		header: http.Header{"Content-Type": {"application/x-ndjson"}},
		slots:  make(chan struct{}, min(o.InFlight, MaxInFlight)),
	}
	if key != "" {
		i.path = (&url.URL{Path: i.path + key + "/"}).EscapedPath()
	}
	if o.Comment != "" {
		i.header["Confman-Comment"] = []string{o.Comment}
	}
	i.ctx, i.cancel = context.WithCancel(ctx)
	return i, nil
}

// Send takes a chunk over and leaves it empty. It waits while too many are under
// way. Its error is one that an earlier chunk met; nothing more is sent then.
func (i *Importer) Send(chunk *Chunk) error {
	taken := *chunk
	*chunk = Chunk{}
	if taken.records == 0 {
		return i.failure()
	}
	select {
	case i.slots <- struct{}{}:
	case <-i.ctx.Done():
		return i.ended()
	}
	if err := i.failure(); err != nil {
		<-i.slots
		return err
	}
	i.flying.Go(func() {
		defer func() { <-i.slots }()
		i.send(&taken)
	})
	return nil
}

func (i *Importer) send(chunk *Chunk) {
	var res ImportResult
	r := &request{
		method: http.MethodPost, path: i.path, header: i.header, body: chunk.lines,
		repeatable: true, start: i.c.turn.Add(1), timeout: ImportAttemptTimeout,
		unbounded: true,
	}
	err := i.c.do(i.ctx, r, func(resp *http.Response) error { return readJSON(resp, &res) })
	if err != nil {
		i.fail(err)
		return
	}
	i.mu.Lock()
	i.sum.Revision = max(i.sum.Revision, res.Revision)
	i.sum.Records += res.Records
	i.sum.Changed += res.Changed
	i.sum.Unchanged += res.Unchanged
	i.sum.Transactions += res.Transactions
	i.mu.Unlock()
	if i.opts.Progress != nil {
		i.opts.Progress(res)
	}
}

// fail ends the import; the first error is the one that is told.
func (i *Importer) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
	}
	i.cancel()
}

// ended notes that a chunk could not be sent any more. What those under way met is
// told rather than that.
func (i *Importer) ended() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cut = i.ctx.Err()
	return cmp.Or(i.err, i.cut)
}

func (i *Importer) failure() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Settle waits until no chunk is under way: what is sent next is applied after all
// that was sent before. No other goroutine may send meanwhile.
func (i *Importer) Settle() { i.flying.Wait() }

// Failed tells whether the import has ended before its end.
func (i *Importer) Failed() bool { return i.ctx.Err() != nil }

// Abort gives the import up because of err, which Wait then returns.
func (i *Importer) Abort(err error) { i.fail(err) }

// Wait returns once no chunk is under way: what was applied, and the error that
// ended the import, if one did. The same import may be run again.
func (i *Importer) Wait() (ImportResult, error) {
	i.flying.Wait()
	i.cancel()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sum, cmp.Or(i.err, i.cut)
}

// Import puts records below prefix. Of two records of one path the later wins: it
// is not sent before the earlier one is applied. An error of records ends it.
func (c *Client) Import(ctx context.Context, prefix string, records iter.Seq2[Record, error], o ImportOptions) (ImportResult, error) {
	i, err := c.NewImport(ctx, prefix, o)
	if err != nil {
		return ImportResult{}, err
	}
	i.SendAll(records)
	return i.Wait()
}

// SendAll sends records in chunks of its own. Of two of one path the later wins:
// it is not sent before the earlier one is applied. An error of records ends the
// import. No other goroutine may send meanwhile.
func (i *Importer) SendAll(records iter.Seq2[Record, error]) {
	var chunk Chunk
	unsettled := make(map[string]struct{}) // paths in chunk and in those under way
	for rec, err := range records {
		if err != nil {
			i.Abort(err)
			return
		}
		if _, twice := unsettled[rec.Path]; twice || len(unsettled) >= (cap(i.slots)+1)*MaxChunkRecords {
			if i.Send(&chunk) != nil {
				return
			}
			i.flying.Wait()
			clear(unsettled)
		}
		unsettled[rec.Path] = struct{}{}
		chunk.Append(&rec)
		if chunk.Full() && i.Send(&chunk) != nil {
			return
		}
	}
	_ = i.Send(&chunk) // Wait returns its error
}
