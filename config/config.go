package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultAPIPort and DefaultRaftPort are a node's ports if the file names none.
	DefaultAPIPort  = 5000
	DefaultRaftPort = 5001

	// MaxNodeIDBytes bounds a node's id.
	MaxNodeIDBytes = 64

	// MaxFileBytes bounds the file.
	MaxFileBytes = 1 << 20
)

// Config is a node's configuration. Of it and the types of its fields docs/settings.md is made (see
// settings_test.go): their comments are what it says, and it has from tags what a value is (unit), what
// an absent one stands for (default) and may be (range, which a test tries, or allowed), and which flag
// of confman serve sets it (flag).
type Config struct {
	Cluster Cluster
	// API (in the file: Api) is how this node serves REST.
	API     API `koanf:"Api"`
	Raft    Raft
	Data    Data
	Backup  Backup
	History History
	Clock   Clock
	Log     Log
	Trace   Trace
	Auth    Auth
	Limits  Limits
}

// API is how a node serves REST.
type API struct {
	// DrainDelay is how long a node that is told to stop says that it is not ready, and still
	// serves, before it stops listening; clients that know all nodes need none. A load balancer
	// needs as long as it takes to notice.
	DrainDelay time.Duration `range:"0s..5m" flag:"drain-delay"`
	// TLS (in the file: Tls) is off unless both files are named.
	TLS TLS `koanf:"Tls"`
	// CORS (in the file: Cors) is off unless there are origins.
	CORS CORS `koanf:"Cors"`
	// Hosts are names that clients reach this node by, beside the addresses of Cluster.Nodes:
	// that of a load balancer. With Auth.Mode none requests for other names are refused.
	Hosts []string `unit:"host name" allowed:"at most 100"`
}

// MaxHosts bounds Api.Hosts.
const MaxHosts = 100

// CORS says which pages browsers may let use the API of another origin.
type CORS struct {
	// Origins are whose pages may read and write, such as https://ui.example.com; "*" lets all others read.
	Origins []string `unit:"origin" allowed:"at most 100"`
}

// MaxOrigins bounds Api.Cors.Origins: each request of a page is compared with all of them.
const MaxOrigins = 100

// TLS is what a node proves its name with. Files that are replaced are read again.
type TLS struct {
	// CertFile is the node's certificate, then those of its issuers.
	CertFile string `unit:"PEM file" default:"none: plain HTTP" allowed:"with KeyFile"`
	// KeyFile is the certificate's key.
	KeyFile string `unit:"PEM file" allowed:"with CertFile"`
}

// Raft is how the nodes speak to each other. Either TLS or PlainText must be set.
type Raft struct {
	// TLS (in the file: Tls) has each node prove to each other which of Cluster.Nodes it is.
	TLS RaftTLS `koanf:"Tls"`
	// PlainText does without: whoever reaches RaftPort can do everything.
	PlainText bool `allowed:"instead of Raft.Tls"`
}

// RaftTLS is what a node proves to the others who it is with, and whom it believes, in PEM.
// Files that are replaced are read again.
type RaftTLS struct {
	// CAFile (in the file: CaFile) is a bundle of the CAs that sign the nodes' certificates,
	// and nothing else.
	CAFile string `koanf:"CaFile" unit:"PEM file" default:"must be set, or PlainText"`
	// CertFile is a certificate whose DNS names include the node's Id, then those of its issuers.
	CertFile string `unit:"PEM file" default:"must be set, or PlainText"`
	// KeyFile is the certificate's key.
	KeyFile string `unit:"PEM file" default:"must be set, or PlainText"`
}

// MaxDrainDelay bounds Api.DrainDelay: who stops a node waits for it.
const MaxDrainDelay = 5 * time.Minute

// Cluster is who this node is and who the others are.
type Cluster struct {
	// NodeID (in the file: NodeId) is this node's Id among Nodes.
	NodeID string `koanf:"NodeId" unit:"name" default:"must be set" allowed:"one of Cluster.Nodes[].Id" flag:"node-id"`
	// Nodes are the members that form the cluster: 1, 3 or 5. A node with a Seat may know of 1 to 16.
	Nodes []Node `default:"must be set"`
	// Seat is what a new node joins a cluster by, with an empty directory: what "confman cluster add" or "replace"
	// printed, or "@" and the name of a file with that. To a node that has joined already it is no matter, but a file that it names must be there.
	Seat string `unit:"text" default:"none: the node forms a cluster with Nodes" flag:"seat"`
}

// MaxNodes bounds Cluster.Nodes.
const MaxNodes = 16

// Node is one member and where it is found.
type Node struct {
	// ID (in the file: Id) is what the member is called, in its certificate too.
	ID string `koanf:"Id" unit:"name" default:"must be set" allowed:"1 to 64 letters, digits, '.', '_' or '-'"`
	// Address is where the member is found, without a port; it listens there.
	Address string `unit:"host name or IP address" default:"must be set"`
	// APIPort (in the file: ApiPort) serves REST to clients.
	APIPort int `koanf:"ApiPort" unit:"TCP port" default:"5000" range:"1..65535"`
	// RaftPort serves the other nodes.
	RaftPort int `unit:"TCP port" default:"5001" range:"1..65535"`
}

// Data is where a node keeps what it must not lose.
type Data struct {
	// Dir keeps this node's log and state. It belongs to one node, and is on a disk, not in memory or on
	// a network file system.
	Dir string `unit:"directory" default:"must be set" allowed:"not /" flag:"data-dir"`
	// CatchUpBytes bounds how much of the log stays on the disk for followers that lag,
	// beside what the database does not hold yet. More than 10,000 entries
	// never do. A follower that needs more gets the whole database.
	CatchUpBytes int `unit:"bytes" default:"0: 256 MiB" range:"0..1TiB"`
	// StoreQuotaBytes bounds what of the database is in use. A node at its quota refuses what would
	// make it larger (507 quota); reads and deletions go on. It should be the same on all nodes. The
	// file may become twice as large.
	StoreQuotaBytes int `unit:"bytes" range:"16MiB..1TiB"`
	// MinFreeBytes is the floor of the free space on the disk of Dir: below it, until there is a
	// quarter more, the node takes no writes (507 storage-full), and none of others if it leads. 0: none.
	MinFreeBytes int `unit:"bytes" range:"0..1PiB"`
}

const (
	// DefaultStoreQuotaBytes and DefaultMinFreeBytes hold unless the file says otherwise.
	DefaultStoreQuotaBytes = 8 << 30
	DefaultMinFreeBytes    = 256 << 20

	// MinStoreQuotaBytes is less than a cluster of some use needs. MaxStoreQuotaBytes bounds the
	// address space that is mapped, twice as much.
	MinStoreQuotaBytes = 16 << 20
	MaxStoreQuotaBytes = 1 << 40

	// MaxMinFreeBytes bounds Data.MinFreeBytes: more is a slip of the pen.
	MaxMinFreeBytes = 1 << 50
)

// Limits are what one caller may ask of a node, and what the node may take of its machine.
type Limits struct {
	// RequestsPerSecond is how often one caller may call this node, all in all; who goes beyond is
	// refused (429 rate-limited). A caller is who its token or certificate says, or else its address.
	RequestsPerSecond int `unit:"requests per second" default:"0: as often as it likes" range:"0..1000000"`
	// RequestBurst is how often it may at once, after a silence.
	RequestBurst int `unit:"requests" default:"0: what a second allows" range:"0..1000000"`
	// WritesPerSecond is how often of these one caller may write.
	WritesPerSecond int `unit:"requests per second" default:"0: as often as it likes" range:"0..1000000"`
	// WriteBurst is how often it may at once, after a silence.
	WriteBurst int `unit:"requests" default:"0: what a second allows" range:"0..1000000"`
	// MemoryBytes is what the process tries to stay below (Go's soft limit), beside the database,
	// which is mapped. The environment variable GOMEMLIMIT wins.
	MemoryBytes int `unit:"bytes" default:"0: three quarters of what its control group allows, if that has a limit" range:"0 or 64MiB..16TiB"`
}

const (
	// MaxRate bounds the rates of Limits, and the bursts.
	MaxRate = 1_000_000

	// MinMemoryBytes is the least Limits.MemoryBytes but 0: with less the node would do nothing but
	// collect garbage. MaxMemoryBytes bounds it: more is a slip of the pen.
	MinMemoryBytes = 64 << 20
	MaxMemoryBytes = 1 << 44
)

// MaxCatchUpBytes bounds Data.CatchUpBytes: more is a slip of the pen.
const MaxCatchUpBytes = 1 << 40

// Backup is what a node backs up by itself. Without a Dir it does not.
type Backup struct {
	// Dir is where the backups go, readable by this user only: on another disk than Data.Dir, at best on
	// another machine.
	Dir string `unit:"directory" default:"none: no backups are made" allowed:"not Data.Dir"`
	// Every is the time between two.
	Every time.Duration `range:"1m..8784h"`
	// Keep is how many stay: the oldest go. Those of other clusters stay, too.
	Keep int `unit:"backups" range:"1..10000"`
}

const (
	// DefaultBackupEvery and DefaultBackupKeep hold unless the file says otherwise: those of a day.
	DefaultBackupEvery = time.Hour
	DefaultBackupKeep  = 24

	// MinBackupEvery bounds Backup.Every: each backup reads the whole database. MaxBackupEvery and
	// MaxBackupKeep are more than anybody means.
	MinBackupEvery = time.Minute
	MaxBackupEvery = 366 * 24 * time.Hour
	MaxBackupKeep  = 10_000
)

// History is how long the cluster keeps what is not current any more. The leader's settings count,
// so they should be the same on all nodes.
type History struct {
	// KeepFor is how long changes, and what they superseded, can be read.
	// It is counted in time that the cluster had a leader. 0: for ever.
	KeepFor time.Duration `range:"0 or 15m.."`
	// KeepVersions is how many versions of a key that are not current can be read. 0: all.
	KeepVersions int `unit:"versions of a key" range:"0..100000"`
}

const (
	// DefaultKeepFor, 90 days, and DefaultKeepVersions hold unless the file says otherwise.
	DefaultKeepFor      = 90 * 24 * time.Hour
	DefaultKeepVersions = 1000

	// MinKeepFor is the least History.KeepFor but 0. The answer to a write is remembered for ten
	// minutes under its Idempotency-Key, and what it read is read again for a replay; a client that
	// goes from page to page, or comes back to a watch, needs the past as well.
	MinKeepFor = 15 * time.Minute

	// MaxKeepVersions bounds History.KeepVersions: a replica goes over all of a key's versions
	// that stay to find those that go, 0.25 ms for a thousand, and applies nothing meanwhile.
	MaxKeepVersions = 100_000
)

// Clock is what is known of this machine's clock.
type Clock struct {
	// MaxDriftPPM is by how many parts in a million it may run faster or slower than true time:
	// what a node says of its staleness is widened by that.
	MaxDriftPPM int `unit:"parts per million" range:"1..100000"`
}

const (
	// DefaultMaxDriftPPM is Clock.MaxDriftPPM unless the file says otherwise: quartz stays within
	// 100, and NTP slews by at most 500.
	DefaultMaxDriftPPM = 500

	// MaxMaxDriftPPM bounds it: a clock that is a tenth off is broken.
	MaxMaxDriftPPM = 100_000
)

// Log is what a node says of itself on standard error.
type Log struct {
	// Level is the least that is logged.
	Level string `unit:"word" allowed:"debug, info, warn, error" flag:"log-level"`
	// Format is how lines look.
	Format string `unit:"word" default:"text on a terminal, else json" allowed:"text, json" flag:"log-format"`
	// Access has a line for each request as well, whatever Level is: who, what, how it ended. Values,
	// tokens and queries are in none.
	Access bool `flag:"access-log"`
}

// Trace is where traces of requests go, by OTLP over HTTP.
type Trace struct {
	// Endpoint is the URL of a collector, such as http://127.0.0.1:4318; a path other than /v1/traces
	// is named.
	Endpoint string `unit:"URL" default:"none: there are no traces"`
	// Ratio is the share of requests that are traced. A request that comes with a
	// traceparent is traced if that says so, and else is not.
	Ratio float64 `unit:"share" range:"0..1"`
}

// DefaultTraceRatio is Trace.Ratio unless the file says otherwise.
const DefaultTraceRatio = 0.01

// API is the host:port that the node serves REST on.
func (n Node) API() string { return net.JoinHostPort(n.Address, strconv.Itoa(n.APIPort)) }

// Raft is the host:port that the node serves the other nodes on.
func (n Node) Raft() string { return net.JoinHostPort(n.Address, strconv.Itoa(n.RaftPort)) }

// Self is this node; the configuration must be valid.
func (c Config) Self() Node {
	i := slices.IndexFunc(c.Cluster.Nodes, func(n Node) bool { return n.ID == c.Cluster.NodeID })
	return c.Cluster.Nodes[i]
}

// Names are the ids of all members, as in the file.
func (c Config) Names() []string {
	names := make([]string, len(c.Cluster.Nodes))
	for i, n := range c.Cluster.Nodes {
		names[i] = n.ID
	}
	return names
}

// place is what an address and a port are compared by: host names have no case,
// and an IP address has several spellings.
func place(address string, port int) string {
	host := strings.ToLower(address)
	if ip := net.ParseIP(address); ip != nil {
		host = ip.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

var (
	// dnsName is what an Id must be to be a name in a certificate.
	dnsName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*$`)
	nodeID   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
)

// Validate reports everything wrong with c, or nil.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch n := len(c.Cluster.Nodes); {
	case c.Cluster.Seat != "" && n >= 1 && n <= MaxNodes:
	case n != 1 && n != 3 && n != 5:
		bad("Cluster.Nodes: %d nodes, want 1, 3 or 5", n)
	}
	ids, places := map[string]int{}, map[string]string{}
	for i, n := range c.Cluster.Nodes {
		at := fmt.Sprintf("Cluster.Nodes[%d]", i)
		switch {
		case n.ID == "":
			bad("%s.Id: missing", at)
		case len(n.ID) > MaxNodeIDBytes || !nodeID.MatchString(n.ID):
			bad("%s.Id: %q is not 1 to %d letters, digits, '.', '_' or '-'", at, n.ID, MaxNodeIDBytes)
		default:
			if first, ok := ids[n.ID]; ok {
				bad("%s.Id: %q is the Id of Cluster.Nodes[%d] already", at, n.ID, first)
			} else {
				ids[n.ID] = i
			}
		}
		switch {
		case n.Address == "":
			bad("%s.Address: missing", at)
		case net.ParseIP(n.Address) == nil && !hostName.MatchString(n.Address):
			bad("%s.Address: %q is neither a host name nor an IP address (a port goes to ApiPort and RaftPort)", at, n.Address)
		}
		for _, p := range []struct {
			name string
			port int
		}{{"ApiPort", n.APIPort}, {"RaftPort", n.RaftPort}} {
			name := at + "." + p.name
			if p.port < 1 || p.port > 65535 {
				bad("%s: %d is not a port (1 to 65535)", name, p.port)
				continue
			}
			at := place(n.Address, p.port)
			if other, ok := places[at]; ok {
				bad("%s: %s is used by %s already", name, at, other)
			} else {
				places[at] = name
			}
		}
	}
	if id := c.Cluster.NodeID; id == "" {
		bad("Cluster.NodeId: missing: it says which of Cluster.Nodes this node is")
	} else if _, ok := ids[id]; !ok {
		bad("Cluster.NodeId: %q is not the Id of any of Cluster.Nodes", id)
	}
	if (c.API.TLS.CertFile == "") != (c.API.TLS.KeyFile == "") {
		bad("Api.Tls: CertFile is %q and KeyFile is %q: both are needed, or none", c.API.TLS.CertFile, c.API.TLS.KeyFile)
	}
	errs = append(errs, c.validateRaft()...)
	if n := len(c.API.CORS.Origins); n > MaxOrigins {
		bad("Api.Cors.Origins: %d origins, at most %d", n, MaxOrigins)
	}
	for i, origin := range c.API.CORS.Origins {
		if !isOrigin(origin) {
			bad("Api.Cors.Origins[%d]: %q is not an origin as browsers send it, such as https://ui.example.com or http://localhost:3000, nor \"*\" for all to read", i, origin)
		}
	}
	if n := len(c.API.Hosts); n > MaxHosts {
		bad("Api.Hosts: %d names, at most %d", n, MaxHosts)
	}
	for i, host := range c.API.Hosts {
		if !hostName.MatchString(host) {
			bad("Api.Hosts[%d]: %q is not the name of a host (it has neither a port nor a scheme)", i, host)
		}
	}
	if c.API.DrainDelay < 0 || c.API.DrainDelay > MaxDrainDelay {
		bad("Api.DrainDelay: %v is not 0s to %v", c.API.DrainDelay, MaxDrainDelay)
	}
	if c.Data.CatchUpBytes < 0 || c.Data.CatchUpBytes > MaxCatchUpBytes {
		bad("Data.CatchUpBytes: %d is not 0 to %d", c.Data.CatchUpBytes, MaxCatchUpBytes)
	}
	if n := c.Data.StoreQuotaBytes; n < MinStoreQuotaBytes || n > MaxStoreQuotaBytes {
		bad("Data.StoreQuotaBytes: %d is not %d to %d", n, MinStoreQuotaBytes, MaxStoreQuotaBytes)
	}
	if n := c.Data.MinFreeBytes; n < 0 || n > MaxMinFreeBytes {
		bad("Data.MinFreeBytes: %d is not 0 (no floor) to %d", n, MaxMinFreeBytes)
	}
	errs = append(errs, c.Limits.validate()...)
	if b := c.Backup; b.Dir != "" {
		if b.Every < MinBackupEvery || b.Every > MaxBackupEvery {
			bad("Backup.Every: %v is not %v to %v", b.Every, MinBackupEvery, MaxBackupEvery)
		}
		if b.Keep < 1 || b.Keep > MaxBackupKeep {
			bad("Backup.Keep: %d is not 1 to %d", b.Keep, MaxBackupKeep)
		}
		if path.Clean(b.Dir) == path.Clean(c.Data.Dir) {
			bad("Backup.Dir: %q is Data.Dir: a backup is for when that is lost", b.Dir)
		}
	}
	if d := c.History.KeepFor; d != 0 && d < MinKeepFor {
		bad("History.KeepFor: %v is less than %v, which replays and pages rest on (\"0\": for ever)", d, MinKeepFor)
	}
	if n := c.History.KeepVersions; n < 0 || n > MaxKeepVersions {
		bad("History.KeepVersions: %d is not 1 to %d, nor 0 for all", n, MaxKeepVersions)
	}
	if n := c.Clock.MaxDriftPPM; n < 1 || n > MaxMaxDriftPPM {
		bad("Clock.MaxDriftPPM: %d is not 1 to %d", n, MaxMaxDriftPPM)
	}
	if c.Data.Dir == "" {
		bad("Data.Dir: missing: the directory that keeps this node's log and state")
	} else if path.Clean(c.Data.Dir) == "/" {
		bad("Data.Dir: %q is the root of the file system", c.Data.Dir)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("Log.Level: %q, want debug, info, warn or error", c.Log.Level)
	}
	if !slices.Contains([]string{"", "text", "json"}, c.Log.Format) {
		bad("Log.Format: %q, want text or json", c.Log.Format)
	}
	errs = append(errs, c.Trace.validate()...)
	errs = append(errs, c.validateAuth()...)
	return errors.Join(errs...)
}

// validate reports everything wrong with t.
func (t Trace) validate() (errs []error) {
	if t.Endpoint != "" {
		switch u, err := url.Parse(t.Endpoint); {
		case err == nil && u.User != nil:
			errs = append(errs, errors.New("Trace.Endpoint: it has a name or a password in it, which would end up in logs: what a collector asks for goes into OTEL_EXPORTER_OTLP_HEADERS"))
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("Trace.Endpoint: %q is not the URL of a collector, such as http://127.0.0.1:4318", t.Endpoint))
		}
	}
	if !(t.Ratio >= 0 && t.Ratio <= 1) { // nor what is no number
		errs = append(errs, fmt.Errorf("Trace.Ratio: %v is not 0 to 1", t.Ratio))
	}
	return errs
}

// validateRaft reports everything wrong with c.Raft.
func (c Config) validateRaft() (errs []error) {
	files := c.Raft.TLS
	switch {
	case files == (RaftTLS{}):
		if !c.Raft.PlainText {
			errs = append(errs, errors.New(`Raft: how the nodes speak to each other is missing: name CaFile, CertFile and KeyFile in Raft.Tls ("confman cert" makes them); or, on a network that nobody else can reach, set Raft.PlainText to true`))
		}
		return errs
	case c.Raft.PlainText:
		errs = append(errs, errors.New("Raft: PlainText is true, and Tls names files: remove one of the two"))
	case files.CAFile == "" || files.CertFile == "" || files.KeyFile == "":
		errs = append(errs, fmt.Errorf("Raft.Tls: CaFile is %q, CertFile is %q and KeyFile is %q: all three are needed", files.CAFile, files.CertFile, files.KeyFile))
	}
	for i, n := range c.Cluster.Nodes {
		if nodeID.MatchString(n.ID) && !dnsName.MatchString(n.ID) {
			errs = append(errs, fmt.Errorf("Cluster.Nodes[%d].Id: %q is no DNS name, and with Raft.Tls the Id is one in the node's certificate", i, n.ID))
		}
	}
	return errs
}

// validate reports everything wrong with l.
func (l Limits) validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, rate := range []struct {
		name, burst     string
		perSecond, once int
	}{
		{"RequestsPerSecond", "RequestBurst", l.RequestsPerSecond, l.RequestBurst},
		{"WritesPerSecond", "WriteBurst", l.WritesPerSecond, l.WriteBurst},
	} {
		if n := rate.perSecond; n < 0 || n > MaxRate {
			bad("Limits.%s: %d is not 0 (no limit) to %d", rate.name, n, MaxRate)
		}
		switch n := rate.once; {
		case n < 0 || n > MaxRate:
			bad("Limits.%s: %d is not 0 (what a second allows) to %d", rate.burst, n, MaxRate)
		case n > 0 && rate.perSecond == 0:
			bad("Limits.%s: %d, and Limits.%s sets no limit: set that, or remove it", rate.burst, n, rate.name)
		}
	}
	if n := l.MemoryBytes; n != 0 && (n < MinMemoryBytes || n > MaxMemoryBytes) {
		bad("Limits.MemoryBytes: %d is not %d to %d, nor 0 for what the control group allows", n, MinMemoryBytes, MaxMemoryBytes)
	}
	return errs
}

// isOrigin tells whether s is what a browser may send as Origin, or "*": scheme and host in
// lower case, and the port unless it is the scheme's own.
func isOrigin(s string) bool {
	if s == "*" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" && u.Port() != "80" || u.Scheme == "https" && u.Port() != "443") &&
		u.Hostname() != "" && s == strings.ToLower(u.Scheme+"://"+u.Host) && !strings.HasSuffix(s, ":") && !strings.Contains(s, "*")
}

// isSection tells whether name is the first part of a setting's name.
func isSection(name string) bool {
	return slices.ContainsFunc(known(), func(key string) bool { return strings.HasPrefix(key, name+".") })
}

// firstIn is the first of the settings in a section.
func firstIn(section string) string {
	keys := known()
	return keys[slices.IndexFunc(keys, func(key string) bool { return strings.HasPrefix(key, section+".") })]
}
