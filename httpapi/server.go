package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// Server serves the API on a listener, within time and size limits.
//
// It stops in order: Drain, until everybody who sends requests has noticed; Shutdown, until
// what is in flight is answered; Close, if that takes too long.
type Server struct {
	api  *api
	http *http.Server
	open *connections
	once sync.Once // closes api.drained
}

// NewServer makes a server. It panics if cfg is not valid.
func NewServer(cfg Config) *Server {
	a := newAPI(cfg)
	open := newConnections(a.MaxConnections, a.Logger)
	serverMetrics(a.Registry, open)
	s := &Server{api: a, open: open, http: &http.Server{
		ConnState:         open.changed,
		Handler:           a,
		MaxHeaderBytes:    MaxHeaderBytes,
		ReadHeaderTimeout: HeaderTimeout,
		// Routes that stream, or wait for a write, move these on as they proceed.
		ReadTimeout:  TransferTimeout,
		WriteTimeout: TransferTimeout + WriteWait,
		IdleTimeout:  IdleTimeout,
		ErrorLog:     slog.NewLogLogger(a.Logger.Handler(), slog.LevelDebug),
	}}
	if a.Certificate != nil {
		s.http.TLSConfig = a.Certificate.tlsConfig()
		s.http.HTTP2 = http2()
	}
	s.http.RegisterOnShutdown(s.drained) // after the listener was closed: who is sent away does not come back
	return s
}

func (s *Server) drained() { s.once.Do(func() { close(s.api.drained) }) }

// Serve answers what arrives at l, by TLS if there is a certificate, until Shutdown or Close;
// then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	serve := s.http.Serve
	if s.http.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(limitedListener{l, s.open}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Drain turns ready false for good. Requests are served as before, but each answer closes its
// connection, so that clients which keep theirs look for another node in good time.
func (s *Server) Drain() { s.api.draining.Store(true) }

// Shutdown turns ready false, stops listening, sends watches to other nodes, and returns once
// the requests in flight are answered, and what was refused is reported to the audit; or with ctx's
// error: then Close ends the rest. The node must not stop before.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	var reported sync.WaitGroup
	reported.Go(func() { s.api.denials.report(ctx) }) // meanwhile: the requests may take all the time
	err := s.http.Shutdown(ctx)
	reported.Wait()
	s.api.denials.close(ctx)
	return err
}

// Close ends all connections at once.
func (s *Server) Close() error {
	s.Drain()
	defer s.drained()
	return s.http.Close()
}
