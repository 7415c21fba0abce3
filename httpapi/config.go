package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// Node is what the API asks of the node it serves. *node.Runner is one.
type Node interface {
	// Propose has cmd applied. Its error is a *node.WriteError, or one of
	// cmd.Encode: then nothing was proposed.
	Propose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error)
	// Linearize returns once a view holds every write acknowledged before the call.
	Linearize(ctx context.Context) error
	// WaitRevision returns once a view shows revision rev.
	WaitRevision(ctx context.Context, rev fsm.Revision) error
	// View is what is applied here, and the proof of how fresh that is.
	View() (*fsm.View, node.Freshness, error)
	// Watch registers a watcher of a key, or of the subtree below path if that ends in a
	// slash or is "", for the changes after revision from. Its views are this node's.
	Watch(path string, from fsm.Revision) (*node.Watcher, error)
	// Backup opens an image that holds every write acknowledged before the call.
	Backup(ctx context.Context) (*node.Backup, error)
	// Status is called for every write, Leader for every request: they must be cheap.
	Status() node.NodeStatus
	// Leader is the raft id of the leader, as Status has it.
	Leader() uint64
	// Measures is what the node counted; it is asked at each scrape of /metrics.
	Measures() node.Measures
	// Place is where a member listens of whom neither the state nor Config.Members says it; zero: not known.
	Place(name string) fsm.MemberSpec
	// TransferLeadership and Drain return once another node leads; Drain, if none can, too.
	TransferLeadership(ctx context.Context, to string) error
	Drain(ctx context.Context) error
	Undrain()
	Draining() bool
	// StoreDamaged tells the node that reading v, which is open, met damage (fsm.ErrDamaged).
	StoreDamaged(v *fsm.View, err error)
	// Done is closed when the node has stopped.
	Done() <-chan struct{}
}

var _ Node = (*node.Runner)(nil)

// Member is where a configured node is found.
type Member struct {
	Name     string
	Address  string // host name or IP address
	APIPort  int
	RaftPort int
}

// Config is what the API is made from.
type Config struct {
	Node Node
	// Name is this node's, as in Members.
	Name string
	// Release is the version of the program, for who looks (default: not known).
	Release string
	// Members are the addresses for GET /cluster. Who is a member is the
	// replicated state's to say; one without an address here is shown without.
	Members []Member
	// MaxStaleness is the bound of a bounded read that names none (default
	// DefaultMaxStaleness).
	MaxStaleness time.Duration
	// MaxValueBytes bounds one value (default and most: fsm.MaxValueBytes).
	MaxValueBytes int
	// Rates bound how often one caller may call (default: not at all).
	Rates Rates
	// MaxConnections bounds the connections of a Server (default and most: MaxConnections). Each
	// takes a file descriptor, and the node needs some of its own.
	MaxConnections int
	// Origins are those of the pages that browsers may let use the API, as they send them:
	// https://ui.example.com, in lower case, without a path. "*" lets all others read, and
	// only that. Default: none. What pages of other origins send without asking is refused.
	Origins []string
	// Auth tells who sent a request (default: nobody has to say; every caller is Anonymous, who
	// may do everything until the cluster has an administrator, and then nothing).
	Auth Authenticator
	// Scopes are, for issuers by name, what each scope of a user's token lets its holder do. A
	// token may do what its user may and its scopes stand for; those of an issuer that is not
	// here, all that its user may.
	Scopes map[string]map[string]fsm.Verbs
	// MaxPolicyStaleness bounds the age of the policy that a read is decided by, once there is one
	// (default DefaultMaxPolicyStaleness).
	MaxPolicyStaleness time.Duration
	// Hosts are names that this node has, beside localhost, IP addresses and those of Members. Without
	// Auth, requests for others are refused.
	Hosts []string
	// Certificate has a Server speak TLS, with HTTP/2 (default: neither).
	Certificate *Certificate
	// MaxClockDriftPPM is node.RunnerConfig's, for what is measured within one request (default
	// node.DefaultClockDriftPPM).
	MaxClockDriftPPM int
	// Registry is where what the API and its node count is registered, and what GET /metrics shows
	// (default: one of its own).
	Registry *prometheus.Registry
	// Now is the wall clock, for the time a write was accepted at, which is for
	// display only, and for measuring within one request (default time.Now).
	Now func() time.Time
	// Logger hears of what no client can be told: panics, damage, broken exports
	// (default: slog.Default).
	Logger *slog.Logger
	// AccessLog gets a line for each request, with neither values nor tokens (default: there are none).
	AccessLog *slog.Logger
	// Tracer traces requests (default: none are).
	Tracer Tracer
}

// Validate reports everything wrong with c, or nil.
func (c Config) Validate() error {
	var errs []error
	if c.Node == nil {
		errs = append(errs, errors.New("httpapi: Node is missing"))
	}
	if c.Name == "" {
		errs = append(errs, errors.New("httpapi: Name is missing"))
	}
	if c.MaxStaleness < 0 || c.MaxStaleness > MaxMaxStaleness {
		errs = append(errs, fmt.Errorf("httpapi: MaxStaleness is %v, want at most %v", c.MaxStaleness, MaxMaxStaleness))
	}
	if c.MaxValueBytes < 0 || c.MaxValueBytes > fsm.MaxValueBytes {
		errs = append(errs, fmt.Errorf("httpapi: MaxValueBytes is %d, want at most %d", c.MaxValueBytes, fsm.MaxValueBytes))
	}
	if err := c.Rates.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.MaxConnections < 0 || c.MaxConnections > MaxConnections {
		errs = append(errs, fmt.Errorf("httpapi: MaxConnections is %d, want at most %d", c.MaxConnections, MaxConnections))
	}
	if c.MaxPolicyStaleness < 0 || c.MaxPolicyStaleness > MaxMaxStaleness {
		errs = append(errs, fmt.Errorf("httpapi: MaxPolicyStaleness is %v, want at most %v", c.MaxPolicyStaleness, MaxMaxStaleness))
	}
	for _, host := range c.Hosts {
		if host == "" || strings.ContainsAny(host, ":/ ") {
			errs = append(errs, fmt.Errorf("httpapi: Hosts has %q, want the name of a host, without a port", host))
		}
	}
	if _, err := c.writers(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.MaxStaleness == 0 {
		c.MaxStaleness = DefaultMaxStaleness
	}
	if c.MaxPolicyStaleness == 0 {
		c.MaxPolicyStaleness = DefaultMaxPolicyStaleness
	}
	hosts := make([]string, 0, len(c.Hosts)+len(c.Members))
	for _, host := range c.Hosts {
		hosts = append(hosts, strings.ToLower(strings.TrimSuffix(host, ".")))
	}
	for i := range c.Members {
		hosts = append(hosts, strings.ToLower(strings.TrimSuffix(c.Members[i].Address, ".")))
	}
	c.Hosts = hosts
	if c.MaxValueBytes == 0 {
		c.MaxValueBytes = fsm.MaxValueBytes
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = MaxConnections
	}
	if c.MaxClockDriftPPM == 0 {
		c.MaxClockDriftPPM = node.DefaultClockDriftPPM
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
