package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/client"
)

func ExampleNew() {
	c, err := client.New(client.Options{
		Endpoints: []string{"http://10.0.1.10:5000", "http://10.0.1.11:5000", "http://10.0.1.12:5000"}, // the nearest first
		OnRetry:   func(err error) { slog.Warn("still trying", slog.Any("err", err)) },
	})
	if err != nil {
		fmt.Println(err) // an address is none
		return
	}
	fmt.Println(c.Endpoints())
	// Output: [http://10.0.1.10:5000 http://10.0.1.11:5000 http://10.0.1.12:5000]
}

func ExampleClient_Put() {
	nodes, stop := startCluster()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	w, _, err := c.Put(ctx, "teams/payments/timeout-ms", []byte("30"), client.TypeJSON, client.WriteOptions{Comment: "as agreed"})
	if err != nil {
		panic(err)
	}
	fmt.Println("created:", w.Created, "at revision", w.Revision)

	rec, meta, err := c.Get(ctx, "teams/payments/timeout-ms", client.ReadOptions{Consistency: client.Linearizable})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s, of %s, says %s\n", rec.Value, rec.ContentType, meta.Node)
	// Output:
	// created: true at revision 1
	// 30, of application/json, says node1
}

// A value is changed only if nobody else changed it meanwhile; else it is read again.
func ExampleClient_Put_compareAndSwap() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	increment := func(key string) (int, error) {
		for {
			o := client.WriteOptions{IfAbsent: true}
			n := 0
			rec, _, err := c.Get(ctx, key, client.ReadOptions{})
			switch {
			case err == nil:
				o = client.WriteOptions{IfRevision: rec.Revision}
				if n, err = strconv.Atoi(string(rec.Value)); err != nil {
					return 0, err
				}
			case !client.IsNotFound(err):
				return 0, err
			}
			_, _, err = c.Put(ctx, key, []byte(strconv.Itoa(n+1)), client.TypeJSON, o)
			// An unknown outcome is not a conflict, even if a later attempt met one: the
			// increment may have been done.
			if client.IsConflict(err) && client.OutcomeOf(err) == client.NotApplied {
				continue
			}
			return n + 1, err
		}
	}
	for range 3 {
		fmt.Println(increment("teams/payments/deploys"))
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

func ExampleClient_Txn() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	claim := client.Txn{
		Compare: []client.Compare{client.IfAbsent("jobs/7/owner")},
		Then: []client.TxnOp{
			client.PutOp("jobs/7/owner", []byte(`"worker-3"`), client.TypeJSON),
			client.PutOp("jobs/7/state", []byte(`"running"`), client.TypeJSON),
		},
		Else: []client.TxnOp{client.GetOp("jobs/7/owner")},
	}
	for range 2 {
		res, _, err := c.Txn(ctx, claim, client.TxnOptions{Comment: "job 7"})
		switch {
		case err != nil:
			panic(err)
		case res.Succeeded:
			fmt.Println("claimed at revision", res.Revision)
		default:
			fmt.Printf("is that of %s since revision %d\n", res.Results[0].Record.Value, res.CurrentRevision)
		}
	}
	// Output:
	// claimed at revision 1
	// is that of "worker-3" since revision 1
}

// A session reads what it wrote, whichever node answers.
func ExampleClient_Session() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	s := c.Session()
	if _, _, err := s.Put(ctx, "a", []byte("1"), client.TypeJSON, client.WriteOptions{}); err != nil {
		panic(err)
	}
	rec, _, err := s.Get(ctx, "a", client.ReadOptions{Consistency: client.Local}) // and yet no older than the put
	fmt.Printf("%s %v\n", rec.Value, err)

	// Another process reads on from there.
	rec, _, err = c.Get(ctx, "a", client.ReadOptions{MinRevision: s.SeenRevision()})
	fmt.Printf("%s %v\n", rec.Value, err)
	// Output:
	// 1 <nil>
	// 1 <nil>
}

func ExampleClient_History() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	for _, value := range []string{"30", "45", "9000"} {
		if _, _, err := c.Put(ctx, "teams/payments/timeout-ms", []byte(value), client.TypeJSON, client.WriteOptions{Comment: "try " + value}); err != nil {
			panic(err)
		}
	}
	for event, err := range c.History(ctx, "teams/payments/", client.HistoryOptions{}) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%d: %s = %s (%s)\n", event.Revision, event.Path, event.Value, event.Comment)
	}
	back, _, err := c.Rollback(ctx, "teams/payments/", 2, client.RollbackOptions{Comment: "bad rollout"})
	if err != nil {
		panic(err)
	}
	fmt.Println("back to what it was at", back.ToRevision, "at revision", back.Revision)
	// Output:
	// 3: teams/payments/timeout-ms = 9000 (try 9000)
	// 2: teams/payments/timeout-ms = 45 (try 45)
	// 1: teams/payments/timeout-ms = 30 (try 30)
	// back to what it was at 2 at revision 4
}

// A program reads what it needs, and follows it from there.
func ExampleClient_Watch() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	set := func(value string) {
		if _, _, err := c.Put(ctx, "teams/payments/timeout-ms", []byte(value), client.TypeJSON, client.WriteOptions{}); err != nil {
			panic(err)
		}
	}
	set("30")
	rec, meta, err := c.Get(ctx, "teams/payments/timeout-ms", client.ReadOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s at revision %d\n", rec.Value, meta.Revision)
	set("45")
	set("60")
	for change, err := range c.Watch(ctx, "teams/payments/", client.WatchOptions{From: meta.Revision}) {
		if err != nil { // if client.IsCompacted says so, read again and watch from there
			panic(err)
		}
		for _, e := range change.Events {
			fmt.Printf("%d: %s = %s\n", change.Revision, e.Path, e.Value)
		}
		if change.Revision == 3 {
			break
		}
	}
	// Output:
	// 30 at revision 1
	// 2: teams/payments/timeout-ms = 45
	// 3: teams/payments/timeout-ms = 60
}

// An import can be repeated: what is there already is not written again.
func ExampleClient_Import() {
	nodes, stop := startCluster()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // nothing else bounds it
	defer cancel()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	backup := `{"path": "regions/eu/currency", "value": "EUR"}
{"path": "regions/us/currency", "value": "USD"}`
	for range 2 {
		res, err := c.Import(ctx, "regions", client.ReadRecords(strings.NewReader(backup), "regions"), client.ImportOptions{})
		if err != nil {
			panic(err)
		}
		fmt.Println(res.Changed, "changed,", res.Unchanged, "unchanged")
	}
	// Output:
	// 2 changed, 0 unchanged
	// 0 changed, 2 unchanged
}

func ExampleError() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	say := func(err error) {
		var (
			key     *client.KeyError
			problem *client.Problem
		)
		switch {
		case err == nil:
			fmt.Println("done")
		case errors.As(err, &key):
			fmt.Println("nothing was sent:", key)
		case client.OutcomeOf(err) == client.Unknown:
			fmt.Println("it may have been done, or may still be: look")
		case client.IsNotFound(err):
			fmt.Println("there is none")
		case client.IsConflict(err) && errors.As(err, &problem):
			fmt.Println("somebody was first, at revision", problem.CurrentRevision)
		case client.IsUnavailable(err):
			fmt.Println("no node can do it now")
		default:
			fmt.Println(err)
		}
	}
	_, _, err = c.Get(ctx, "a//b", client.ReadOptions{})
	say(err)
	_, _, err = c.Get(ctx, "a/b", client.ReadOptions{})
	say(err)
	_, _, err = c.Put(ctx, "a/b", []byte("1"), "", client.WriteOptions{IfAbsent: true})
	say(err)
	_, _, err = c.Put(ctx, "a/b", []byte("2"), "", client.WriteOptions{IfAbsent: true})
	say(err)

	stop()
	if c, err = client.New(client.Options{Endpoints: nodes, MaxAttempts: 1}); err != nil {
		panic(err)
	}
	_, _, err = c.Put(ctx, "a/b", []byte("2"), "", client.WriteOptions{})
	say(err)
	// Output:
	// nothing was sent: path "a//b" has an empty segment
	// there is none
	// done
	// somebody was first, at revision 1
	// no node can do it now
}

func ExampleWalkTree() {
	stats, err := client.WalkTree(`{"eu": {"currency": "EUR", "vat": [20, 7]}, "us": {}}`, client.WalkOptions{Prefix: "regions"},
		func(path []byte, value string) error {
			fmt.Printf("%s = %s\n", path, value)
			return nil
		})
	fmt.Println(stats.Leaves, stats.EmptyObjects, err)
	// Output:
	// regions/eu/currency = "EUR"
	// regions/eu/vat = [20, 7]
	// 2 1 <nil>
}
