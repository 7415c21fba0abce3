package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/confman/confman/config"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/httpapi"
	"github.com/confman/confman/node"
	"github.com/confman/confman/tlsfiles"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport"
	"github.com/confman/confman/wal"
)

// drainTime is how long a node that is told to stop goes on answering what it was
// asked: the longest wait of a write, and a little.
const drainTime = 12 * time.Second

// handOverTime bounds how long a leader that is told to stop waits for another one to lead: without it, the others
// would be without a leader for an election. If nobody can, none of it helps.
const handOverTime = 2 * time.Second

// reservedFiles are the file descriptors that connections of the API leave to the log, the
// store and the other nodes: without one to be had, a node could not go on writing.
const reservedFiles = 256

// maxConnections is how many connections the API may have, given how many files the process may
// have open; 0 if that is not known.
func maxConnections(files int) int {
	if files == 0 {
		return httpapi.MaxConnections
	}
	return min(httpapi.MaxConnections, max(files-reservedFiles, files/2))
}

// server is what one node runs with.
type server struct {
	config config.Config
	log    *slog.Logger
	memory memoryPlan
	seat   *node.Seat                           // what it joins by; nil: it forms a cluster
	after  func(time.Duration) <-chan time.Time // time.After, but in tests

	raft *tlsfiles.Source // what this node proves itself to the others with; nil: plain text
}

// run serves until ctx ends, then stops in order: not ready, for a while; no new connections,
// watches sent elsewhere, requests in flight answered; the store flushed. An error says why
// the node did not start, or stopped by itself.
func (s *server) run(ctx context.Context) error {
	self := s.config.Self()
	certificate, err := s.certificate()
	if err != nil {
		return err
	}
	if s.raft, err = s.raftTLS(); err != nil {
		return err
	}
	apiConfig := httpapi.Config{
		Name: self.ID, Release: version(), Members: s.members(), Logger: s.log, Certificate: certificate,
		Rates:   rates(s.config.Limits),
		Origins: s.config.API.CORS.Origins, Hosts: s.config.API.Hosts, MaxClockDriftPPM: s.config.Clock.MaxDriftPPM,
		Registry: newRegistry(certificate, s.raft), Now: wallClock,
	}
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helping, cancel := context.WithCancel(context.WithoutCancel(ctx)) // while the node drains, too
	defer cancel()
	if err = s.letIn(helping, &helpers, &apiConfig); err != nil {
		return err
	}
	if s.config.Log.Access {
		apiConfig.AccessLog = accessLogger(s.log)
	}
	tracer, err := newTracer(ctx, s.config.Trace, self.ID, s.log)
	if err != nil {
		return err
	}
	var onCopy func(*node.Copied)
	if tracer != nil {
		defer tracer.close()
		apiConfig.Tracer, onCopy = tracer, tracer.copied
	}
	// Before anything is opened: a port that is taken must not start an incarnation.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", self.API())
	if err != nil {
		return fmt.Errorf("listening for the API: %w: is another node running here, or is Address not this machine's?", err)
	}
	runner, err := node.Start(node.RunnerConfig{
		Settings: node.Settings{
			FlushBytes: s.memory.flushBytes, MaxOverlayBytes: s.memory.overlayBytes,
			CatchUpBytes: s.config.Data.CatchUpBytes,
			KeepFor:      s.config.History.KeepFor, KeepVersions: s.config.History.KeepVersions,
		},
		MaxClockDriftPPM: s.config.Clock.MaxDriftPPM,
		Bootstrap:        s.config.Auth.Bootstrap,
		Resolve:          s.resolve,
		Backups:          node.Schedule(s.config.Backup),
		Seat:             s.seat,
		Dir:              s.config.Data.Dir, Name: self.ID, Names: s.config.Names(), Dial: s.dial, Logger: s.log,
		OnCopy:          onCopy,
		Now:             wallClock,
		StoreQuotaBytes: int64(s.config.Data.StoreQuotaBytes), MinFreeBytes: int64(s.config.Data.MinFreeBytes),
	})
	if err != nil {
		return errors.Join(s.explained(err), listener.Close())
	}
	connections := maxConnections(maxFiles())
	if connections < httpapi.MaxConnections {
		s.log.Warn("the limit of open files (ulimit -n) allows fewer connections than there may be",
			slog.Int("connections", connections), slog.Int("most", httpapi.MaxConnections))
	}
	apiConfig.Node, apiConfig.MaxConnections = runner, connections
	api := httpapi.NewServer(apiConfig)
	served := make(chan error, 1)
	go func() { served <- api.Serve(listener) }()
	if s.config.Auth.Open() {
		helpers.Go(func() { s.warnLocked(helping, runner) })
	}
	s.log.Info("serving", slog.String("node", self.ID), slog.String("api", self.API()), slog.Bool("tls", certificate != nil), slog.Bool("auth", apiConfig.Auth != nil),
		slog.String("raft", self.Raft()), slog.Bool("raft_tls", s.raft != nil), slog.String("dir", s.config.Data.Dir))
	select {
	case <-ctx.Done():
		s.log.Info("stopping", slog.String("node", s.config.Cluster.NodeID))
		s.drain(api, runner)
	case <-runner.Done():
		closed := api.Close() // ends what holds the store open
		return errors.Join(s.explained(runner.Close()), closed)
	case err := <-served:
		return errors.Join(fmt.Errorf("serving the API: %w", err), runner.Close())
	}
	return s.stop(api, runner)
}

// certificate is the API's, nil if it does without TLS.
func (s *server) certificate() (*httpapi.Certificate, error) {
	files := s.config.API.TLS
	if files == (config.TLS{}) {
		return nil, nil
	}
	c, err := httpapi.LoadCertificate(httpapi.CertificateFiles{CertFile: files.CertFile, KeyFile: files.KeyFile, ClientCAFile: s.config.Auth.Certificates.CAFile, Now: wallClock}, s.log)
	if err != nil {
		return nil, fmt.Errorf("Api.Tls: %w", err)
	}
	return c, nil
}

// raftTLS is what this node proves itself to the others with, nil if they speak plain text.
func (s *server) raftTLS() (*tlsfiles.Source, error) {
	if s.config.Raft.PlainText {
		if s.config.Exposed() {
			s.log.Warn("the nodes speak plain text (Raft.PlainText): whoever reaches their Raft ports can read and change everything",
				slog.String("node", s.config.Cluster.NodeID))
		}
		return nil, nil
	}
	files := s.config.Raft.TLS
	source, err := grpctransport.LoadTLS(grpctransport.TLSFiles{
		CAFile: files.CAFile, CertFile: files.CertFile, KeyFile: files.KeyFile,
		Name: s.config.Cluster.NodeID, Logger: s.log, Now: wallClock,
	})
	if err != nil {
		return nil, fmt.Errorf("Raft.Tls: %w", err)
	}
	return source, nil
}

// drain has another node lead, if this one does, and says for Api.DrainDelay that the node is not ready, while it
// serves as before, so that a load balancer sends nothing more here by the time the port closes.
func (s *server) drain(api *httpapi.Server, runner *node.Runner) {
	api.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	err := runner.Drain(ctx)
	cancel()
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("no other node took over; if this one leads, the others elect one once it is gone", slog.String("node", s.config.Cluster.NodeID), slog.Duration("waited", handOverTime))
	}
	delay := s.config.API.DrainDelay
	if delay == 0 {
		return
	}
	after := s.after
	if after == nil {
		after = time.After
	}
	s.log.Info("not ready any more, serving on for a while", slog.String("node", s.config.Cluster.NodeID), slog.Duration("delay", delay))
	select {
	case <-after(delay):
	case <-runner.Done(): // nothing is left to serve from
	}
}

func (s *server) stop(api *httpapi.Server, runner *node.Runner) error {
	// The context that ended is the one that told to stop.
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := api.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests are still in flight and are cut off", slog.String("node", s.config.Cluster.NodeID), slog.Duration("waited", drainTime))
		err = api.Close()
	}
	if err = errors.Join(err, s.explained(runner.Close())); err == nil {
		s.log.Info("stopped", slog.String("node", s.config.Cluster.NodeID))
	}
	return err
}

// rates are how often one caller may call.
func rates(l config.Limits) httpapi.Rates {
	return httpapi.Rates{
		Requests: httpapi.Rate{PerSecond: float64(l.RequestsPerSecond), Burst: l.RequestBurst},
		Writes:   httpapi.Rate{PerSecond: float64(l.WritesPerSecond), Burst: l.WriteBurst},
	}
}

func (s *server) members() []httpapi.Member {
	var members []httpapi.Member
	for _, n := range s.config.Cluster.Nodes {
		members = append(members, httpapi.Member{Name: n.ID, Address: n.Address, APIPort: n.APIPort, RaftPort: n.RaftPort})
	}
	return members
}

// resolve is where a configured node listens for the others.
func (s *server) resolve(name string) string {
	for _, n := range s.config.Cluster.Nodes {
		if n.ID == name {
			return n.Raft()
		}
	}
	return ""
}

// wire is the gRPC transport as the runner knows it.
type wire struct{ *grpctransport.Transport }

// SetCluster says which cluster this node belongs to.
func (w wire) SetCluster(id fsm.ClusterID) { w.Transport.SetCluster(id) }

// dial makes the transport of the node.
func (s *server) dial(self node.Peering, h transport.Handler) (node.Transport, error) {
	peers, names := make(map[uint64]string), map[uint64]string{self.RaftID: s.config.Cluster.NodeID}
	for _, p := range self.Peers {
		if p.Address == "" {
			s.log.Warn("a member has no address here, and can only connect by itself: add it to Cluster.Nodes", slog.String("member", p.Name))
		}
		peers[p.RaftID], names[p.RaftID] = p.Address, p.Name
	}
	t, err := grpctransport.New(grpctransport.Config{
		Listen: s.config.Self().Raft(), RaftID: self.RaftID, Incarnation: self.Incarnation,
		Peers: peers, Names: names, Handler: h, TLS: s.raft, PlainText: s.config.Raft.PlainText,
		Logger: s.log.With(slog.String("node", s.config.Cluster.NodeID)), Now: wallClock,
	})
	if err != nil {
		return nil, err
	}
	return wire{t}, nil
}

// newerRelease is what to do where a program is too old for its cluster.
const newerRelease = "install the release that the other members run and start that: it goes on with the same directory. " +
	"An upgrade that was finalized is not taken back (docs/upgrade.md)"

// explained adds to why a node did not start, or stopped, what to do about it,
// where the error does not say so itself.
func (s *server) explained(err error) error {
	name := s.config.Cluster.NodeID
	for _, e := range [...]struct {
		is   error
		todo string
	}{
		{node.ErrDiskLost, "if its disk is well and Data.Dir is the right one, replace the node: confman cluster replace " + name + ", then start it with the seat that this prints, and an empty directory"},
		{node.ErrRemoved, "nothing, if it was to go; to have it take part again, confman cluster add (or replace) " + name + ", then start it with the seat that this prints, and an empty directory"},
		{node.ErrIdentityDamaged, "keep the directory for an inquiry, and replace the node"},
		{node.ErrInconsistent, "log and store are not of one piece (was one of them restored from a copy?): replace the node"},
		{node.ErrNewerCluster, newerRelease},
		{fsm.ErrUnknownVersion, newerRelease},
		{node.ErrOtherCluster, "see that Cluster.Nodes and each node's Data.Dir belong together"},
		{wal.ErrDamaged, "what this node acknowledged may be lost here, never in the cluster: keep the directory for an inquiry, and replace the node"},
		{fsm.ErrDamaged, "nothing wrong was served; the other nodes have the data: keep the directory for an inquiry, and replace the node"},
	} {
		if errors.Is(err, e.is) {
			return fmt.Errorf("%w\nwhat to do: %s", err, e.todo)
		}
	}
	return err
}
