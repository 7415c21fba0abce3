package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/confman/confman/bench/hist"
	"github.com/confman/confman/bench/lane"
)

// grpcDriver is clients of etcd by its own Go client, a goroutine each.
type grpcDriver struct {
	book    *book
	clients []*clientv3.Client
	ctx     context.Context // ends all requests
	end     context.CancelFunc
	group   sync.WaitGroup
	phase   atomic.Pointer[phase]
	over    atomic.Bool
	failed  chan error // has the first error
	err     error
}

// phase is one Run's counts, a part for each client.
type phase struct {
	parts []part
}

type part struct {
	mu     sync.Mutex
	closed bool
	hist   hist.Hist
}

// DialEtcd makes one of etcd's clients, of one node.
func DialEtcd(addr string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{addr}, DialTimeout: lane.Patience, Logger: zap.NewNop(),
	})
}

// NewEtcdGRPC makes clients of an etcd cluster by gRPC, spread over connections, and these over its nodes.
func NewEtcdGRPC(w Work, connections int, addrs ...string) (_ Driver, err error) {
	d := &grpcDriver{book: newBook(w), failed: make(chan error, 1)}
	d.ctx, d.end = context.WithCancel(context.Background())
	for i := range min(connections, w.Clients) {
		c, err := DialEtcd(addrs[i%len(addrs)])
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		d.clients = append(d.clients, c)
	}
	return d, nil
}

// Run is Driver's.
func (d *grpcDriver) Run(t time.Duration) (*hist.Hist, error) {
	if d.err != nil {
		return nil, d.err
	}
	p := &phase{parts: make([]part, d.book.work.Clients)}
	first := d.phase.Swap(p) == nil
	if first {
		for i := range d.book.work.Clients {
			d.group.Go(func() { d.client(i) })
		}
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case d.err = <-d.failed:
		return nil, d.err
	case <-timer.C:
	}
	sum := &hist.Hist{}
	for i := range p.parts {
		part := &p.parts[i]
		part.mu.Lock()
		part.closed = true
		sum.Merge(&part.hist)
		part.mu.Unlock()
	}
	return sum, nil
}

// Drain is Driver's.
func (d *grpcDriver) Drain() error {
	d.over.Store(true)
	d.group.Wait()
	select {
	case err := <-d.failed:
		d.err = errors.Join(d.err, err)
	default:
	}
	return d.err
}

// Close is Driver's.
func (d *grpcDriver) Close() error {
	d.over.Store(true)
	d.end()
	d.group.Wait()
	var err error
	for _, c := range d.clients {
		err = errors.Join(err, c.Close())
	}
	return err
}

// client asks and asks again.
func (d *grpcDriver) client(i int) {
	choose := newChooser(d.book, i)
	for !d.over.Load() {
		o := choose.next()
		start := time.Now()
		if err := d.do(d.clients[i%len(d.clients)], o); err != nil {
			select {
			case d.failed <- fmt.Errorf("client %d: %w", i, err):
			default: // another one was first
			}
			return
		}
		took := time.Since(start)
		part := &d.phase.Load().parts[i]
		part.mu.Lock()
		if !part.closed {
			part.hist.Add(took)
		}
		part.mu.Unlock()
	}
}

func (d *grpcDriver) do(c *clientv3.Client, o op) error {
	ctx, cancel := context.WithTimeout(d.ctx, lane.Patience)
	defer cancel()
	w := d.book.work
	key := string(AppendKey(nil, o.key))
	if o.put {
		r, err := c.Put(ctx, key, string(w.Values.Append(nil, o.key, o.serial)))
		if err != nil {
			return err
		}
		return d.book.wrote(o, uint64(r.Header.Revision))
	}
	var options []clientv3.OpOption
	if w.Local {
		options = append(options, clientv3.WithSerializable())
	}
	r, err := c.Get(ctx, key, options...)
	if err != nil {
		return err
	}
	if len(r.Kvs) != 1 {
		return fmt.Errorf("the read of key %d found %d values", o.key, len(r.Kvs))
	}
	if err := w.Values.check(r.Kvs[0].Value, o.key); err != nil {
		return fmt.Errorf("the read of key %d: %w", o.key, err)
	}
	return d.book.read(o, uint64(r.Kvs[0].ModRevision))
}
