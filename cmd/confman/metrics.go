package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/confman/confman/httpapi"
	"github.com/confman/confman/tlsfiles"
)

// newRegistry is what /metrics shows of the process, beside what API and node register themselves.
// It is none of the process' own: each server has one.
func newRegistry(api *httpapi.Certificate, raft *tlsfiles.Source) *prometheus.Registry {
	r, built := prometheus.NewRegistry(), aboutThis()
	commit := built.Commit
	if built.Modified {
		commit += "+"
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "confman_build_info", Help: "1, with what this program was built from.",
		ConstLabels: prometheus.Labels{"version": built.Release, "commit": commit, "go_version": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	expiry := func(use string, current func() *tlsfiles.Material) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "confman_tls_certificate_expiry_timestamp_seconds",
			Help:        "When the certificate in use ends, in Unix time, for each use of one: api, raft.",
			ConstLabels: prometheus.Labels{"use": use},
		}, func() float64 { return float64(current().Certificate.Leaf.NotAfter.Unix()) }))
	}
	if api != nil {
		expiry("api", api.Current)
	}
	if raft != nil {
		expiry("raft", raft.Current)
	}
	return r
}
