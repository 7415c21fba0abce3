package jepsen

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "behind-the-log", Number: 10, Lost: true, Ground: keepNoLog,
		About:  "a follower with watchers attached is stopped until the log of the others begins behind what it has: it takes a database, and its watchers miss nothing",
		Script: behindTheLog,
	})
	scenario(&Scenario{
		Name: "image-crash", Number: 9, Lost: true, Ground: keepNoLog,
		About:  "a follower is killed while it takes a database, and its leader while it sends one",
		Script: func(ctx context.Context, s *Stage) { imageCrash(ctx, s, s.killed) },
	})
	scenario(&Scenario{
		Name: "image-power-loss", Number: 9, Needs: []Capability{PowerLoss}, Lost: true, Ground: keepNoLog,
		About:  "a follower loses its power while it takes a database, and its leader while it sends one: what was not synced is gone",
		Script: func(ctx context.Context, s *Stage) { imageCrash(ctx, s, s.powerless) },
	})
	scenario(&Scenario{
		Name: "image-flipped", Number: 6, Needs: []Capability{Spoils}, Lost: true, Ground: keepNoLog,
		About:  "bits are flipped on the disk of a follower in the database that is coming in: it finds that out, does not take it, takes another one, and is made leader",
		Script: imageFlipped,
	})
	scenario(&Scenario{
		Name: "image-twice", Number: 9, Lost: true, Ground: keepNoLog,
		About:  "a follower takes two databases in quick succession",
		Script: imageTwice,
	})
	scenario(&Scenario{
		Name: "image-under-partition", Number: 9, Needs: []Capability{Cuts}, Lost: true, Ground: keepNoLog,
		About:  "a follower that is behind the log is let back to one other node only, which is cut off from the third: it takes the database from that, and is cut off while it does",
		Script: imageUnderPartition,
	})
	scenario(&Scenario{
		Name: "image-and-compaction", Number: 9, Needs: []Capability{Bandwidth}, Lost: true, Compacts: true,
		Ground: func(o *LocalOptions) { keepNoLog(o); o.Set("History", "KeepVersions", 1) },
		About:  "the history is compacted while a database is on its way to a follower, over a narrow link: a revision can be read when it begins to come, and no more before it has come",
		Script: imageAndCompaction,
	})
}

// Set sets a key of the nodes' configurations.
func (o *LocalOptions) Set(name, key string, value any) {
	if o.Sections == nil {
		o.Sections = map[string]any{}
	}
	had, _ := o.Sections[name].(map[string]any)
	section := map[string]any{key: value}
	for k, v := range had {
		if k != key {
			section[k] = v
		}
	}
	o.Sections[name] = section
}

// Of what makes the log go on: values of bulkBytes to bulkKeys keys, from as many clients.
const (
	bulkBytes = 1 << 20
	bulkKeys  = 4
)

// images is how many databases a node took since it was started.
func (s *Stage) images(ctx context.Context, node string) float64 {
	n, _ := s.metric(ctx, node, "confman_image_installed_total")
	return n
}

// Of bulk: segment closes a segment of the log, and behind has the log of who has all begin after what somebody has who is away.
const (
	segment = 70 << 20
	behind  = 160 << 20 // more than two segments
)

// bulk writes at least so much, through any of nodes. It is no part of the history: a value may be written twice.
func (s *Stage) bulk(ctx context.Context, least int, nodes ...string) {
	c := s.bulkClient(nodes...)
	var mu sync.Mutex
	taken, round := 0, 0
	for taken < least {
		s.shown(ctx.Err() == nil && round < 200, "%d MiB of %d were written", taken>>20, least>>20)
		round++
		var all sync.WaitGroup
		for i := range bulkKeys {
			all.Go(func() {
				err := s.bulkPut(ctx, c, i, bulkBytes)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					taken += bulkBytes
				}
			})
		}
		all.Wait()
	}
}

// bulkPut puts something new of some size.
func (s *Stage) bulkPut(ctx context.Context, c *client.Client, key, bytes int) error {
	value := strings.Repeat(fmt.Sprintf("%016d", s.Recorder.ID()), bytes/16)
	_, _, err := c.Put(ctx, fmt.Sprintf("bulk/%d", key), []byte(value), textType, client.WriteOptions{NoIdempotencyKey: true})
	return err
}

func (s *Stage) bulkClient(nodes ...string) *client.Client {
	var urls []string
	for _, name := range nodes {
		urls = append(urls, s.Machine(name).URL)
	}
	c, err := client.New(client.Options{
		Endpoints: urls, AttemptTimeout: 10 * time.Second,
		HTTP: &http.Client{Transport: &http.Transport{DialContext: s.Ground.Dial, MaxIdleConnsPerHost: 16}},
	})
	s.ok(err)
	return c
}

// imageFor keeps a node away until the others' log has gone on without it, and has it take a database. meanwhile, unless nil, is
// called when it is back.
func (s *Stage) imageFor(ctx context.Context, late string, meanwhile func()) {
	up := s.killed(ctx, late)
	s.bulk(ctx, behind, s.others(late)...)
	up(ctx)
	if meanwhile != nil {
		meanwhile()
	}
	s.broughtAbout(ctx, late+" has taken a database", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
}

func behindTheLog(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	late := s.others(leader)[0]
	key := s.newKey()
	first := s.put(ctx, leader, key)
	s.shown(done(first), "the leader does not write")
	watch := s.watch(ctx, 0, late)
	elsewhere := s.watch(ctx, 0, s.Members()...)
	s.reaches(ctx, watch, first.Revision)

	goOn := s.stopped(ctx, late)
	s.writes(ctx, leader, 20)
	s.bulk(ctx, behind, s.others(late)...)
	s.writes(ctx, leader, 20)
	goOn(ctx)
	s.broughtAbout(ctx, late+" has taken a database", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
	last := s.put(ctx, leader, key)
	s.promised(done(last), "the leader does not write")
	s.reaches(ctx, watch, last.Revision)
	s.reaches(ctx, elsewhere, last.Revision)
	_, _ = s.closed(watch), s.closed(elsewhere)
	s.ready(ctx)
}

// imageCrash has down end the nodes.
func imageCrash(ctx context.Context, s *Stage, down func(context.Context, ...string) func(context.Context)) {
	late := s.others(s.leader(ctx))[0]
	// The follower, when the first pieces have come.
	s.imageBegins(ctx, late)
	up := down(ctx, late)
	s.writes(ctx, s.leader(ctx, s.others(late)...), 10)
	up(ctx)
	s.broughtAbout(ctx, late+" has taken a database", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
	s.ready(ctx)
	// The leader.
	s.imageBegins(ctx, late)
	leader := s.leader(ctx, s.others(late)...)
	up = down(ctx, leader)
	s.lasts(ctx, 2*electionTimeout)
	up(ctx)
	s.broughtAbout(ctx, late+" has taken a database", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
	s.ready(ctx)
}

// imageBegins has a database on its way to a node.
func (s *Stage) imageBegins(ctx context.Context, late string) {
	up := s.killed(ctx, late)
	s.bulk(ctx, behind, s.others(late)...)
	up(ctx)
	s.broughtAbout(ctx, "a database is on its way to "+late, func(ctx context.Context) bool {
		n, _ := s.metric(ctx, late, "confman_image_written_bytes_total")
		return n > 0
	})
	s.shown(s.images(ctx, late) == 0, "it came before it could be stopped")
}

// spoilt is how many bits are flipped: much of what a database has is not in use any more.
const spoilt = 64

func imageFlipped(ctx context.Context, s *Stage) {
	late := s.others(s.leader(ctx))[0]
	s.imageBegins(ctx, late)
	goOn := s.stopped(ctx, late)
	did, err := s.Ground.(spoiler).SpoilImage(ctx, late, spoilt, s.Seed)
	s.ok(err)
	s.Log("at %s: %s", late, did)
	goOn(ctx)
	s.broughtAbout(ctx, late+" finds out that the database is damaged", func(ctx context.Context) bool {
		n, _ := s.sample(ctx, late, `confman_image_verified_total{result="useless"}`)
		return n > 0
	})
	s.until(ctx, late+" has taken another one", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
	s.ready(ctx)
	s.lead(ctx, late)
	s.writes(ctx, late, 20)
}

func imageTwice(ctx context.Context, s *Stage) {
	late := s.others(s.leader(ctx))[0]
	for range 2 {
		s.imageFor(ctx, late, nil)
	}
	s.ready(ctx)
	s.writes(ctx, late, 10)
}

func imageUnderPartition(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	late, third := s.others(leader)[0], s.others(leader)[1]
	up := s.killed(ctx, late)
	s.bulk(ctx, behind, leader, third)
	heal := s.cut(ctx, third+" cut off", []string{third}, s.between([]string{third}, []string{leader, late}))
	up(ctx)
	s.broughtAbout(ctx, "a database is on its way to "+late, func(ctx context.Context) bool {
		n, _ := s.metric(ctx, late, "confman_image_written_bytes_total")
		return n > 0
	})
	alone := s.cut(ctx, leader+" and "+late+" cut off from each other", nil, s.between([]string{leader}, []string{late}))
	op := s.put(ctx, leader, s.newKey())
	s.promised(op.Outcome != linearizability.Applied, "%s acknowledged a write alone", leader)
	alone(ctx)
	s.broughtAbout(ctx, late+" has taken a database", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
	s.writes(ctx, late, 10) // with one other: it votes with what it was given
	heal(ctx)
	s.ready(ctx)
}

func imageAndCompaction(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	late := s.others(leader)[0]
	key := s.newKey()
	first := s.put(ctx, leader, key)
	s.shown(done(first), "the leader does not write")
	up := s.killed(ctx, late)
	s.bulk(ctx, behind, s.others(late)...)
	// The links to it are narrow, so that there is time.
	narrow := map[Link]Condition{}
	for _, name := range s.others(late) {
		narrow[Link{From: name, To: late}] = Condition{BytesPerSecond: imageRate}
	}
	restore, err := s.BreakLinks(ctx, narrow)
	s.ok(err)
	wide := s.begin(Fault{Text: fmt.Sprintf("links to %s take %d KiB a second", late, imageRate>>10), Nodes: []string{late}, Undo: restore})
	up(ctx)
	came := func(ctx context.Context) float64 {
		n, _ := s.metric(ctx, late, "confman_image_written_bytes_total")
		return n
	}
	s.broughtAbout(ctx, "a database is on its way to "+late, func(ctx context.Context) bool { return came(ctx) > 0 })
	s.shown(!s.compacted(ctx, leader, key, first.Revision), "the history was compacted before")
	for range 200 { // superseded at once, and due to be compacted
		s.put(ctx, leader, key)
	}
	s.broughtAbout(ctx, "the history is compacted", func(ctx context.Context) bool {
		return s.compacted(ctx, leader, key, first.Revision)
	})
	bytes := came(ctx)
	s.shown(bytes > 0 && s.images(ctx, late) == 0, "the database had come before the history was compacted")
	s.Log("the history was compacted when %.1f MiB of the database had come to %s", bytes/(1<<20), late)
	wide(ctx)
	s.broughtAbout(ctx, late+" has taken a database", func(ctx context.Context) bool { return s.images(ctx, late) > 0 })
	s.ready(ctx)
	s.writes(ctx, late, 10)
	s.until(ctx, late+" has compacted, too", func(ctx context.Context) bool { return s.compacted(ctx, late, key, first.Revision) })
}

// imageRate is what the links take, in bytes a second, over which a database is to be under way for a while.
const imageRate = 256 << 10
