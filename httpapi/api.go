package httpapi

import (
	"crypto/rand"
	"encoding/hex"
	"hash/maphash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"
	"golang.org/x/sync/semaphore"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

const base = "/api/v1"

// api is the handler of all routes. Safe for concurrent use.
type api struct {
	Config
	router *httprouter.Router
	// age is node.Freshness.Age; tests prove other ages with it.
	age func(node.Freshness) (time.Duration, bool)
	// transfer is TransferTimeout for bodies on their way in; tests have less time.
	transfer time.Duration

	requests atomic.Int64                // being worked on
	public   atomic.Int64                // the same, of those that anybody may make
	scrapes  atomic.Int64                // the same, of /metrics
	callers  callerCounts                // the same, of each caller who is known
	rates    rates                       // how often each may call
	bodies   *semaphore.Weighted         // bytes of bodies held in memory
	shares   shares                      // of callers in that
	exports  *semaphore.Weighted         // exports under way
	encoders *semaphore.Weighted         // compressions under way
	pages    *http.CrossOriginProtection // whose may write
	denials  denialLog                   // what was refused, until it is reported
	counted  *metrics
	clock    func() time.Duration // sinceStart, but in tests
	granted  grantMemory
	policy   atomic.Pointer[seenPolicy] // the newest; nil: none was seen yet
	batches  chan struct{}              // watches gathering changes
	large    chan struct{}              // watches sending many
	draining atomic.Bool                // about to stop: not ready, and each answer closes its connection
	// drained is closed once the listener is: what waits for something to happen (a watch, a
	// long-poll) selects on it, and tells its client (kindStopping) to go on at another node.
	// Writes and reads under way do not look at it: they are answered.
	drained chan struct{}

	// Header values that do not change are made once.
	nodeHeader []string
	leader     atomic.Pointer[leaderHeader]

	started  time.Time
	idPrefix string // makes request ids unique across restarts and nodes
	idCount  atomic.Uint64
}

// leaderHeader is the Confman-Leader header while the node with that raft id leads.
type leaderHeader struct {
	id    uint64
	value []string
}

// New makes the handler of the API. It panics if cfg is not valid.
func New(cfg Config) http.Handler { return newAPI(cfg) }

func newAPI(cfg Config) *api {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	a := &api{
		Config:     cfg.withDefaults(),
		router:     httprouter.New(),
		clock:      sinceStart,
		age:        node.Freshness.Age,
		transfer:   TransferTimeout,
		bodies:     semaphore.NewWeighted(MaxBodyMemoryBytes),
		exports:    semaphore.NewWeighted(MaxExports),
		encoders:   semaphore.NewWeighted(MaxEncoders),
		batches:    make(chan struct{}, MaxBatches),
		large:      make(chan struct{}, MaxLargeBatches),
		drained:    make(chan struct{}),
		nodeHeader: []string{cfg.Name},
		idPrefix:   hex.EncodeToString(id[:]) + "-",
	}
	a.started = a.Now()
	a.granted.seed = maphash.MakeSeed()
	a.callers.seed = maphash.MakeSeed()
	a.rates.Rates = cfg.Rates
	a.denials.node, a.denials.now, a.denials.log = a.Node, a.Now, a.Logger
	a.pages, _ = cfg.writers() // valid
	a.leader.Store(&leaderHeader{value: []string{unknown}})
	a.counted = newMetrics(a)
	a.route()
	return a
}

// route registers what is served, and what answers the rest.
func (a *api) route() {
	r := a.router
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	// What a preflight asks comes without credentials, and what is served is no secret.
	r.GlobalOPTIONS = a.unrouted(a.observed(noRoute, a.open((*call).options)))
	r.MethodNotAllowed = a.unrouted(a.observed(noRoute, a.open((*call).methodNotAllowed)))
	r.NotFound = a.unrouted(a.observed(noRoute, a.open((*call).noRoute)))
	for _, rt := range a.routes() {
		r.Handle(rt.method, rt.path, a.observed(rt.path, rt.entry).countedBy(a.counted.of(rt.path, rt.method)))
	}
}

// noRoute is the route, in logs, of requests that no handler of a route gets.
const noRoute = "none"

// route is one method of one path, spelled as httprouter does.
type route struct {
	method, path string
	entry        entry
}

// routes are all routes; each of them is in openapi.yaml, which a test demands. A path and
// its bare form share one handler; the trailing slash decides between key and subtree
// (protocol.md §7).
func (a *api) routes() []route {
	var all []route
	one := func(method, path string, e entry) { all = append(all, route{method, path, e}) }
	tree := func(method, path string, h handler) {
		one(method, base+path, a.limited(h))
		one(method, base+path+"/*path", a.limited(h))
	}
	tree(http.MethodGet, "/config", (*call).get)
	tree(http.MethodHead, "/config", (*call).get)
	tree(http.MethodPut, "/config", (*call).put)
	tree(http.MethodPatch, "/config", (*call).patch)
	tree(http.MethodDelete, "/config", (*call).delete)
	tree(http.MethodGet, "/history", (*call).history)
	tree(http.MethodGet, "/diff", (*call).diff)
	tree(http.MethodPost, "/rollback", (*call).rollback)
	// They are open for as long as their clients like, and are counted apart: node.MaxWatchers.
	watch := a.unlimited((*call).watch)
	one(http.MethodGet, base+"/watch", watch)
	one(http.MethodGet, base+"/watch/*path", watch)
	tree(http.MethodPost, "/import", (*call).importTree)
	tree(http.MethodGet, "/export", (*call).export)
	tree(http.MethodGet, "/namespaces", (*call).getNamespace)
	tree(http.MethodPut, "/namespaces", (*call).putNamespace)
	tree(http.MethodDelete, "/namespaces", (*call).deleteNamespace)
	one(http.MethodGet, base+"/audit", a.limited((*call).audit))
	one(http.MethodGet, base+"/whoami", a.limited((*call).whoAmI))
	one(http.MethodPost, base+"/txn", a.limited((*call).txn))
	one(http.MethodGet, base+"/cluster", a.limited((*call).cluster))
	one(http.MethodGet, base+"/cluster/backup", a.limited((*call).backup))
	one(http.MethodGet, base+"/cluster/members", a.limited((*call).listMembers))
	one(http.MethodPost, base+"/cluster/members", a.limited((*call).addMember))
	one(http.MethodPost, base+"/cluster/members/promote", a.limited((*call).promoteMembers))
	one(http.MethodPost, base+"/cluster/members/remove", a.limited((*call).removeMembers))
	one(http.MethodPost, base+"/cluster/members/replace", a.limited((*call).replaceMember))
	one(http.MethodPost, base+"/cluster/finalize-upgrade", a.limited((*call).finalizeUpgrade))
	one(http.MethodPost, base+"/cluster/transfer-leadership", a.limited((*call).transferLeadership))
	one(http.MethodPost, base+"/cluster/drain", a.limited((*call).drain))
	one(http.MethodGet, "/openapi.json", a.open((*call).openAPI))
	one(http.MethodHead, "/openapi.json", a.open((*call).openAPI))
	one(http.MethodGet, "/health/live", a.health((*call).live))
	one(http.MethodGet, "/health/ready", a.health((*call).ready))
	one(http.MethodGet, "/metrics", a.bounded((*call).metrics, true, &a.scrapes, MaxScrapes))
	return all
}

// ServeHTTP answers one request.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.router.ServeHTTP(w, r) }

// handler answers a call, or returns the error to answer with. Once it has begun
// to answer it returns nil.
type handler func(*call) error

// entry is a handler as routes have it; its last argument is the catch-all part of the path.
type entry func(http.ResponseWriter, *http.Request, *routeMetrics, string)

// countedBy is e as httprouter knows it, counted by m.
func (e entry) countedBy(m *routeMetrics) httprouter.Handle {
	return func(w http.ResponseWriter, r *http.Request, ps httprouter.Params) {
		param := ""
		if len(ps) > 0 {
			param = ps[0].Value
		}
		e(w, r, m, param)
	}
}

// unrouted makes e the answer to what the router does not route.
func (a *api) unrouted(e entry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e(w, r, a.counted.unrouted(r.Method), "") })
}

// limited answers callers who are known with h, unless MaxRequests are being worked on, or
// MaxCallerRequests of the same one.
func (a *api) limited(h handler) entry { return a.bounded(h.inTurn, false, &a.requests, MaxRequests) }

// open answers everybody, unless MaxPublicRequests are being worked on: strangers, who may read
// slowly, keep nobody else from being answered.
func (a *api) open(h handler) entry { return a.bounded(h, true, &a.public, MaxPublicRequests) }

func (a *api) bounded(h handler, public bool, requests *atomic.Int64, most int64) entry {
	return func(w http.ResponseWriter, r *http.Request, m *routeMetrics, param string) {
		defer requests.Add(-1)
		if requests.Add(1) > most {
			a.serve(func(*call) error { return overloaded(most) }, true, w, r, m, param)
			return
		}
		a.serve(h, public, w, r, m, param)
	}
}

// unlimited answers callers who are known without a bound of its own.
func (a *api) unlimited(h handler) entry {
	return func(w http.ResponseWriter, r *http.Request, m *routeMetrics, param string) {
		a.serve(h, false, w, r, m, param)
	}
}

// health answers everybody, always: an overloaded node is alive.
func (a *api) health(h handler) entry {
	return func(w http.ResponseWriter, r *http.Request, m *routeMetrics, param string) {
		a.serve(h, true, w, r, m, param)
	}
}

// serve answers with h, once it is known who calls unless it is for everybody.
func (a *api) serve(h handler, public bool, w http.ResponseWriter, r *http.Request, m *routeMetrics, param string) {
	c := calls.Get().(*call)
	*c = call{api: a, w: w, r: r, param: param, buf: c.buf[:0], needs: c.needs[:0], public: public, counted: m, began: a.clock()}
	defer c.end()
	c.setID()
	err := c.admit()
	if err == nil && !public {
		err = c.inRate()
	}
	if err == nil {
		err = h(c)
	}
	if err != nil {
		c.fail(err)
	}
}

// admit refuses what no handler should see.
func (c *call) admit() error {
	if err := c.knownHost(); err != nil {
		return err
	}
	if err := c.mayWrite(); err != nil {
		return err
	}
	if c.public {
		return nil
	}
	return c.identify()
}

// leaderName is the name of the member with a raft id, "" if there is none.
func leaderName(s *node.NodeStatus, id uint64) string {
	i := slices.IndexFunc(s.State.Members, func(m fsm.Member) bool { return m.RaftID == id })
	if id == 0 || i < 0 {
		return ""
	}
	return s.State.Members[i].Name
}

// leaderHeaderOf is the Confman-Leader header; the same slice until the leader changes. A nil status is the
// node's, which is only asked for then.
func (a *api) leaderHeaderOf(s *node.NodeStatus) []string {
	h := a.leader.Load()
	if s == nil && h.id == a.Node.Leader() || s != nil && h.id == s.Leader {
		return h.value
	}
	if s == nil {
		status := a.Node.Status()
		s = &status
	}
	name := leaderName(s, s.Leader)
	if name == "" {
		return unknownHeader
	}
	h = &leaderHeader{id: s.Leader, value: []string{name}}
	a.leader.Store(h)
	return h.value
}

// newID makes a request id.
func (a *api) newID() string {
	b := make([]byte, 0, 32)
	b = append(b, a.idPrefix...)
	return string(strconv.AppendUint(b, a.idCount.Add(1), 36))
}

// usableID tells whether a client's request id can go into logs and headers as it is.
func usableID(s string) bool {
	if s == "" || len(s) > fsm.MaxRequestIDBytes {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case strings.IndexByte("-_.:+/=@", c) >= 0:
		default:
			return false
		}
	}
	return true
}
