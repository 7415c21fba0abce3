package httpapi

import (
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// nodeCollector shows, when it is scraped, what a node counted.
type nodeCollector struct {
	node Node
}

func newNodeCollector(n Node) prometheus.Collector { return nodeCollector{n} }

// sight is a node as it is seen at one scrape.
type sight struct {
	node.NodeStatus
	node.Measures
}

// number is a metric with one value.
type number struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *sight) float64
}

func gauge(name, help string, value func(s *sight) float64) number {
	return number{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(s *sight) float64) number {
	return number{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, value}
}

// numbers are all of them.
var numbers = []number{
	gauge("confman_node_ready", "1 if the node can prove that it is fresh, as /health/ready says of one that is not shutting down.",
		func(s *sight) float64 { return truth(s.Ready) }),
	gauge("confman_node_formed", "1 once the node is a member of a cluster.", func(s *sight) float64 { return truth(s.Formed) }),
	gauge("confman_node_has_leader", "1 if the node knows a leader.", func(s *sight) float64 { return truth(s.Leader != 0) }),
	gauge("confman_node_staleness_seconds", "How old what the node serves is at most; +Inf if nothing is proven.", staleness),
	gauge("confman_node_term", "The Raft term.", func(s *sight) float64 { return float64(s.Term) }),
	gauge("confman_node_commit_index", "The index up to which the log is known to be committed.", func(s *sight) float64 { return float64(s.Commit) }),
	gauge("confman_node_applied_index", "The index up to which the log is applied.", func(s *sight) float64 { return float64(s.Applied) }),
	gauge("confman_node_durable_index", "The applied index that the database holds.", func(s *sight) float64 { return float64(s.Durable) }),
	gauge("confman_node_log_first_index", "The oldest entry that the log holds.", func(s *sight) float64 { return float64(s.FirstIndex) }),
	gauge("confman_cluster_version", "The version of commands that the cluster uses.", func(s *sight) float64 { return float64(s.State.Version) }),
	gauge("confman_node_members", "Members of the cluster, as the node knows them.", func(s *sight) float64 { return float64(len(s.State.Members)) }),
	gauge("confman_node_proposals_in_flight", "Writes that wait for their outcome.", func(s *sight) float64 { return float64(s.NodeStatus.Proposals) }),
	gauge("confman_node_reads_in_flight", "Linearizable reads that wait for a quorum.", func(s *sight) float64 { return float64(s.NodeStatus.Reads) }),
	counter("confman_node_leader_changes_total", "How often the node came to know of another leader, or of one again.",
		func(s *sight) float64 { return float64(s.LeaderChanges) }),

	gauge("confman_wal_bytes", "What the files of the log take, the reserve included.", func(s *sight) float64 { return float64(s.LogBytes) }),
	gauge("confman_wal_files", "The files of the log.", func(s *sight) float64 { return float64(s.LogFiles) }),

	gauge("confman_store_revision", "The revision of the store.", func(s *sight) float64 { return float64(s.State.Revision) }),
	counter("confman_store_applied_entries_total", "Entries applied.", func(s *sight) float64 { return float64(s.AppliedEntries) }),
	gauge("confman_store_overlay_bytes", "What is applied and not in the database yet.", func(s *sight) float64 { return float64(s.OverlayBytes) }),
	counter("confman_store_flushed_bytes_total", "What was in the overlay and is in the database now.", func(s *sight) float64 { return float64(s.FlushedBytes) }),
	gauge("confman_store_bytes", "What of the store is in use, as its quota counts.", func(s *sight) float64 { return float64(s.StoreBytes) }),
	gauge("confman_store_quota_bytes", "The quota: past it, what would make the store larger is refused.", func(s *sight) float64 { return float64(s.StoreQuota) }),
	gauge("confman_store_file_bytes", "The size of the database's file.", func(s *sight) float64 { return float64(s.FileBytes) }),
	gauge("confman_store_file_free_bytes", "What of the file holds nothing, and is used before it grows.", func(s *sight) float64 { return float64(s.FileFreeBytes) }),
	gauge("confman_store_damaged", "1 while the database is damaged, and rebuilt from a peer.", func(s *sight) float64 { return truth(s.Damage != nil) }),
	counter("confman_store_damages_total", "How often the database was found damaged.", func(s *sight) float64 { return float64(s.Damages) }),
	gauge("confman_store_disputed", "1 if another member's state differed when they were compared last, and no majority says whose is wrong.",
		func(s *sight) float64 { return truth(s.Disputed) }),
	counter("confman_store_undecodable_commands_total", "Committed commands that did not decode, and were refused by all replicas alike.",
		func(s *sight) float64 { return float64(s.State.Undecodable) }),

	gauge("confman_disk_bytes", "The size of the file system that the data directory is on.", func(s *sight) float64 { return float64(s.DiskBytes) }),
	gauge("confman_disk_free_bytes", "What of it is to be had.", func(s *sight) float64 { return float64(s.DiskFreeBytes) }),
	gauge("confman_disk_floor_bytes", "The floor of that, below which no writes are taken.", func(s *sight) float64 { return float64(s.MinFree) }),

	counter("confman_image_opened_total", "Images of the database that were opened to be sent.", func(s *sight) float64 { return float64(s.ImagesOpened) }),
	counter("confman_image_read_bytes_total", "What was read of them.", func(s *sight) float64 { return float64(s.ImageReadBytes) }),
	counter("confman_image_written_bytes_total", "What came in of the images of others.", func(s *sight) float64 { return float64(s.ImageWrittenBytes) }),
	counter("confman_image_installed_total", "Images that took the database's place.", func(s *sight) float64 { return float64(s.ImagesInstalled) }),

	gauge("confman_watch_watchers", "Watches that are open.", func(s *sight) float64 { return float64(s.Watchers) }),
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// staleness is infinite if nothing is proven: what compares it with a bound is right then, too.
func staleness(s *sight) float64 {
	if !s.Fresh {
		return math.Inf(1)
	}
	return s.Staleness.Seconds()
}

// timing is a histogram.
type timing struct {
	desc   *prometheus.Desc
	labels []string
	value  func(s *sight) node.Times
}

func histogram(name, help string, value func(s *sight) node.Times) timing {
	return timing{desc: prometheus.NewDesc(name, help, nil, nil), value: value}
}

var stageDesc = prometheus.NewDesc("confman_node_proposal_stage_duration_seconds",
	"Where the time of answered writes went, as this node saw it: queue, until its loop took one; forward, until the leader, another node, gave it a place; append, until its own log had it, synced; replicate, from its place until it was known to be committed; apply, from then on. Append and replicate overlap.",
	[]string{"stage"}, nil)

func stage(name string, value func(s *sight) node.Times) timing {
	return timing{stageDesc, []string{name}, value}
}

// timings are all of them.
var timings = []timing{
	histogram("confman_node_proposal_duration_seconds", "What writes took, from being proposed here to their outcome.", func(s *sight) node.Times { return s.Propose }),
	stage("queue", func(s *sight) node.Times { return s.Queue }),
	stage("forward", func(s *sight) node.Times { return s.Forward }),
	stage("append", func(s *sight) node.Times { return s.Append }),
	stage("replicate", func(s *sight) node.Times { return s.Replicate }),
	stage("apply", func(s *sight) node.Times { return s.Apply }),
	histogram("confman_node_read_duration_seconds", "What it took to have a quorum confirm a read.", func(s *sight) node.Times { return s.Read }),
	histogram("confman_node_step_duration_seconds", "What it took to decide what to do about all that had come in; nothing else is decided meanwhile.", func(s *sight) node.Times { return s.Step }),
	histogram("confman_wal_append_duration_seconds", "Writes of the log, with their sync.", func(s *sight) node.Times { return s.LogAppend }),
	histogram("confman_wal_sync_duration_seconds", "Syncs of the log's files.", func(s *sight) node.Times { return s.LogSync }),
	histogram("confman_store_apply_duration_seconds", "Applying a batch of entries.", func(s *sight) node.Times { return s.StoreApply }),
	histogram("confman_store_flush_duration_seconds", "Writing a frozen overlay to the database, with its sync.", func(s *sight) node.Times { return s.StoreFlush }),
}

// Those with labels.
var (
	roleDesc = prometheus.NewDesc("confman_node_role", "1 for the role that the node has, 0 for the others.", []string{"role"}, nil)
	// A member is called as the configuration does: there are few, and each has one name.
	reachableDesc = prometheus.NewDesc("confman_node_member_reachable",
		"1 if the node heard another member within an election timeout: a leader hears all, a follower its leader.", []string{"member"}, nil)
	proposalsDesc = prometheus.NewDesc("confman_node_proposals_total",
		"Writes proposed here, by outcome (applied: by the log; what the store said to it is another matter), and why, if they failed.", []string{"outcome", "reason"}, nil)
	readsDesc = prometheus.NewDesc("confman_node_reads_total",
		"Linearizable reads of this node, by outcome, and why, if they failed.", []string{"outcome", "reason"}, nil)
	refusedDesc = prometheus.NewDesc("confman_writes_refused",
		"1 while writes are refused for a reason that is not their own.", []string{"reason"}, nil)
	backupDesc   = prometheus.NewDesc("confman_backup_last_success_timestamp_seconds", "When the newest scheduled backup was made, 0 if there is none. Only of nodes that make some.", nil, nil)
	memberDesc   = prometheus.NewDesc("confman_node_member_version", "The newest version of commands that a member's program knows, by what the member is for Raft.", []string{"member", "role"}, nil)
	verifiedDesc = prometheus.NewDesc("confman_image_verified_total", "Images that came in whole, by whether they were good or useless.", []string{"result"}, nil)

	connectedDesc = prometheus.NewDesc("confman_transport_peer_connected", "1 if a connection to the member is open.", []string{"member"}, nil)
	queuedDesc    = prometheus.NewDesc("confman_transport_peer_queued_messages", "Messages that wait to be sent to the member.", []string{"member"}, nil)
	queuedBytes   = prometheus.NewDesc("confman_transport_peer_queued_bytes", "What these take.", []string{"member"}, nil)
	droppedDesc   = prometheus.NewDesc("confman_transport_peer_dropped_messages_total", "Messages to the member that found no room, or were lost with a connection.", []string{"member"}, nil)
	roundTripDesc = prometheus.NewDesc("confman_transport_peer_round_trip_seconds", "What the last ping to the member took, with what it waited behind.", []string{"member"}, nil)
)

// Describe is part of prometheus.Collector.
func (n nodeCollector) Describe(to chan<- *prometheus.Desc) {
	for i := range numbers {
		to <- numbers[i].desc
	}
	for i := range timings {
		to <- timings[i].desc
	}
	for _, d := range []*prometheus.Desc{
		roleDesc, reachableDesc, proposalsDesc, readsDesc, refusedDesc, verifiedDesc,
		connectedDesc, queuedDesc, queuedBytes, droppedDesc, roundTripDesc, backupDesc, memberDesc,
	} {
		to <- d
	}
}

// Collect is part of prometheus.Collector.
func (n nodeCollector) Collect(to chan<- prometheus.Metric) {
	s := &sight{n.node.Status(), n.node.Measures()}
	for i := range numbers {
		to <- prometheus.MustNewConstMetric(numbers[i].desc, numbers[i].kind, numbers[i].value(s))
	}
	for i := range timings {
		to <- histogramOf(&timings[i], timings[i].value(s))
	}
	put := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	for _, role := range []node.Role{node.Follower, node.PreCandidate, node.Candidate, node.Leader} {
		put(roleDesc, prometheus.GaugeValue, truth(s.Formed && s.Role == role), role.String())
	}
	for _, e := range s.Measures.Proposals {
		put(proposalsDesc, prometheus.CounterValue, float64(e.Count), e.Outcome, e.Reason)
	}
	for _, e := range s.Measures.Reads {
		put(readsDesc, prometheus.CounterValue, float64(e.Count), e.Outcome, e.Reason)
	}
	put(refusedDesc, prometheus.GaugeValue, truth(s.StorageFull), kindStorageFull.name)
	put(refusedDesc, prometheus.GaugeValue, truth(s.AtQuota), kindQuota.name)
	put(verifiedDesc, prometheus.CounterValue, float64(s.ImagesVerified), "good")
	put(verifiedDesc, prometheus.CounterValue, float64(s.ImagesRejected), "useless")
	if s.BackupEvery > 0 {
		at := 0.0
		if !s.LastBackup.IsZero() {
			at = float64(s.LastBackup.UnixMilli()) / 1000
		}
		put(backupDesc, prometheus.GaugeValue, at)
	}
	s.peers(put)
}

func (s *sight) peers(put func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	for _, m := range s.State.Members {
		// Two have one name while one replaces the other: the newer is shown.
		replaced := slices.ContainsFunc(s.State.Members, func(o fsm.Member) bool { return o.Name == m.Name && o.RaftID > m.RaftID })
		if replaced {
			continue
		}
		put(memberDesc, prometheus.GaugeValue, float64(m.Version), m.Name, membershipOf(&m, &s.State.Conf))
		if m.RaftID == s.ID {
			continue
		}
		put(reachableDesc, prometheus.GaugeValue, truth(slices.Contains(s.Reachable, m.RaftID)), m.Name)
		for _, p := range s.Peers {
			if p.ID != m.RaftID {
				continue
			}
			put(connectedDesc, prometheus.GaugeValue, truth(p.Connected), m.Name)
			put(queuedDesc, prometheus.GaugeValue, float64(p.Queued), m.Name)
			put(queuedBytes, prometheus.GaugeValue, float64(p.QueuedBytes), m.Name)
			put(droppedDesc, prometheus.CounterValue, float64(p.Dropped), m.Name)
			put(roundTripDesc, prometheus.GaugeValue, p.RoundTrip.Seconds(), m.Name)
		}
	}
}

func histogramOf(t *timing, times node.Times) prometheus.Metric {
	buckets := make(map[float64]uint64, len(times.AtMost))
	for i, n := range times.AtMost {
		buckets[node.HistogramBounds[i].Seconds()] = n
	}
	return prometheus.MustNewConstHistogram(t.desc, times.Count, times.Sum.Seconds(), buckets, t.labels...)
}
