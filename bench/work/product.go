package work

import (
	"context"
	"errors"
	"fmt"

	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/servers"
)

// product is how one of the two is started, filled and asked.
type product struct {
	name  string
	start func(context.Context, *fleet, servers.Options) (*servers.Cluster, error)
	fill  fillFunc
	put   func(*load.Values) load.MakePut
	drive func(load.Work, ...string) (load.Driver, error)
	watch []watchWay
	// best is the better way to drive it where only one is measured, and backup reads all of it.
	best   func(load.Work, ...string) (load.Driver, error)
	backup func(ctx context.Context, addr string) error
}

type fillFunc func(ctx context.Context, n int, v *load.Values, addrs ...string) error

// fill fills a cluster, and waits until every node has all of it: right after it a local read may find nothing yet, and be right.
func fill(ctx context.Context, by fillFunc, c *servers.Cluster, n int, v *load.Values) error {
	if err := by(ctx, n, v, c.Addrs()...); err != nil {
		return fmt.Errorf("filling %s: %w", c.Product, err)
	}
	return c.Ready(ctx)
}

type watchWay struct {
	name string
	open func(n int, v *load.Values, addrs ...string) (load.Watch, error)
}

func (r *Run) products() []product {
	all := []product{{
		name: Confman, start: r.newConfman, fill: load.FillConfman, put: load.PutConfman, drive: load.NewConfman,
		watch: []watchWay{{Confman, load.WatchConfman}}, best: load.NewConfman, backup: load.BackupConfman,
	}}
	if r.Etcd != "" {
		all = append(all, product{
			name: Etcd, start: r.newEtcd, fill: load.FillEtcd, put: load.PutEtcd, drive: load.NewEtcdHTTP,
			watch: []watchWay{{EtcdGRPC, load.WatchEtcdGRPC}, {EtcdHTTP, load.WatchEtcdHTTP}}, best: r.newEtcdGRPC, backup: load.BackupEtcd,
		})
	}
	return all
}

// alone has each product do something on a fresh cluster while the other one does not run, in rounds.
func (r *Run) alone(ctx context.Context, rounds int, do func(ctx context.Context, p product, c *servers.Cluster, round int) error) error {
	for round := range rounds {
		for _, p := range turn(r.products(), round) {
			if err := r.once(ctx, p, servers.Options{Size: r.Nodes}, func(ctx context.Context, c *servers.Cluster) error { return do(ctx, p, c, round) }); err != nil {
				return fmt.Errorf("%s, round %d: %w", p.name, round+1, err)
			}
		}
	}
	return nil
}

// once has a product do something on a fresh cluster.
func (r *Run) once(ctx context.Context, p product, o servers.Options, do func(context.Context, *servers.Cluster) error) (err error) {
	f, err := r.newFleet()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.down()) }()
	c, err := p.start(ctx, f, o)
	if err != nil {
		return err
	}
	return do(ctx, c)
}

// maxConnections is how many of etcd's gRPC clients have a connection of their own: thousands of them would be the load's own weight.
const maxConnections = 256

func (r *Run) newEtcdGRPC(w load.Work, addrs ...string) (load.Driver, error) {
	connections := r.Connections
	if connections == 0 {
		connections = min(w.Clients, maxConnections)
	}
	return load.NewEtcdGRPC(w, connections, addrs...)
}
