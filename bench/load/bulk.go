package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// importers are how many imports go on at once, spread over the nodes, and importRecords what each has at most.
	importers     = 6
	importRecords = 10_000
	importBytes   = 16 << 20
	// txnPuts is the most that a transaction of etcd may have by default; txnBytes stays below its 1.5 MiB of a request.
	txnPuts  = 128
	txnBytes = 1 << 20
	// txnClients are how many go on at once.
	txnClients = 64
	// bulkTime is how long one import or transaction may take.
	bulkTime = 5 * time.Minute
)

// share hands out the keys 0 to n-1 in pieces, to several workers at once, and returns the first error.
func share(ctx context.Context, n, piece, workers int, do func(ctx context.Context, worker, from, to int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		group sync.WaitGroup
		next  atomic.Int64
	)
	for w := range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(int64(piece))) - piece
				if from >= n {
					return
				}
				if err := do(ctx, w, from, min(n, from+piece)); err != nil {
					cancel(fmt.Errorf("keys from %d: %w", from, err))
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// importRequest is an import of records, as an export writes them.
func importRequest(v *Values, from, to int) []byte {
	var body []byte
	for key := from; key < to; key++ {
		body = append(body, `{"path":"`...)
		body = AppendKey(body, key)
		body = append(body, `","content_type":"text/plain","value":"`...)
		body = v.Append(body, key, 0)
		body = append(body, "\"}\n"...)
	}
	return body
}

// FillConfman imports n keys that are not there yet.
func FillConfman(ctx context.Context, n int, v *Values, addrs ...string) error {
	client := &http.Client{Timeout: bulkTime, Transport: &http.Transport{MaxIdleConnsPerHost: importers}}
	defer client.CloseIdleConnections()
	piece := max(1, min(importRecords, importBytes/v.Size()))
	return share(ctx, n, piece, importers, func(ctx context.Context, worker, from, to int) error {
		url := "http://" + addrs[worker%len(addrs)] + "/api/v1/import"
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(importRequest(v, from, to)))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		var sum struct{ Changed int }
		if err := json.Unmarshal(text, &sum); err != nil || resp.StatusCode != http.StatusOK || sum.Changed != to-from {
			return fmt.Errorf("status %d: %.300q", resp.StatusCode, text)
		}
		return nil
	})
}

// FillEtcd puts n keys, in transactions as large as etcd's defaults let them be.
func FillEtcd(ctx context.Context, n int, v *Values, addrs ...string) (err error) {
	var clients []*clientv3.Client
	defer func() {
		for _, c := range clients {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, addr := range addrs {
		c, err := DialEtcd(addr)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	piece := max(1, min(txnPuts, txnBytes/v.Size()))
	return share(ctx, n, piece, txnClients, func(ctx context.Context, worker, from, to int) error {
		ctx, cancel := context.WithTimeout(ctx, bulkTime)
		defer cancel()
		ops := make([]clientv3.Op, 0, piece)
		for key := from; key < to; key++ {
			ops = append(ops, clientv3.OpPut(string(AppendKey(nil, key)), string(v.Append(nil, key, 0))))
		}
		r, err := clients[worker%len(clients)].Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		if !r.Succeeded || len(r.Responses) != len(ops) {
			return fmt.Errorf("%d of %d puts were answered", len(r.Responses), len(ops))
		}
		return nil
	})
}
