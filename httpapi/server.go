package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
)

// Server serves the API on a listener, within time and size limits.
type Server struct {
	api  *api
	http *http.Server
}

// NewServer makes a server. It panics if cfg is not valid.
func NewServer(cfg Config) *Server {
	a := newAPI(cfg)
	return &Server{api: a, http: &http.Server{
		Handler:           a,
		MaxHeaderBytes:    MaxHeaderBytes,
		ReadHeaderTimeout: HeaderTimeout,
		// Routes that stream, or wait for a write, move these on as they proceed.
		ReadTimeout:  TransferTimeout,
		WriteTimeout: TransferTimeout + WriteWait,
		IdleTimeout:  IdleTimeout,
		ErrorLog:     slog.NewLogLogger(a.Logger.Handler(), slog.LevelDebug),
	}}
}

// Serve answers what arrives at l until Shutdown or Close; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown turns ready false, stops listening, and returns once the requests in
// flight are answered, or with ctx's error; then Close ends the rest.
func (s *Server) Shutdown(ctx context.Context) error {
	s.api.draining.Store(true)
	return s.http.Shutdown(ctx)
}

// Close ends all connections at once.
func (s *Server) Close() error { return s.http.Close() }
