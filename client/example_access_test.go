package client_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/confman/confman/client"
)

// What others change meanwhile is not lost: the namespace is read and changed again.
func ExampleClient_EditNamespace() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	w, _, err := c.EditNamespace(ctx, "teams/payments/", "bob joins", func(n *client.Namespace) (bool, error) {
		return n.Grant("editor", "user:entra/contoso/bob"), nil
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("changed:", w.Changed, "at revision", w.Revision)
	n, _, err := c.Namespace(ctx, "teams/payments/", client.ReadOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(n.Path, n.Bindings)
	// Output:
	// changed: true at revision 1
	// teams/payments/ [{editor [user:entra/contoso/bob]}]
}

func ExampleClient_Namespaces() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	for _, path := range []string{"teams/payments/", "teams/billing/"} {
		n := client.Namespace{Owner: path, Settings: client.NamespaceSettings{KeepVersions: 100}}
		if _, _, err := c.PutNamespace(ctx, path, &n, client.WriteOptions{IfAbsent: true}); err != nil {
			panic(err)
		}
	}
	for n, err := range c.Namespaces(ctx, "teams/", client.NamespacesOptions{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(n.Path, n.Settings.KeepVersions)
	}
	// Output:
	// teams/billing/ 100
	// teams/payments/ 100
}

func ExampleClient_Audit() {
	nodes, stop := startCluster()
	defer stop()
	ctx := context.Background()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	if _, _, err := c.Put(ctx, "teams/payments/timeout-ms", []byte("30"), client.TypeJSON, client.WriteOptions{Comment: "as agreed"}); err != nil {
		panic(err)
	}
	for row, err := range c.Audit(ctx, client.AuditOptions{Path: "teams/payments/"}) {
		switch {
		case err != nil:
			panic(err)
		case row.Outcome == "denied":
			fmt.Printf("%s of %s: %s, %d times\n", row.Action, row.Path, row.Principal, row.Count)
			continue
		}
		for _, ch := range row.Changes {
			fmt.Printf("%s of %s: %s, revision %d to %d (%s)\n", ch.Action, ch.Path, row.Principal, ch.OldRevision, ch.Revision, row.Comment)
		}
	}
	// Output:
	// denied-read of teams/payments/: user:entra/contoso/eve, 12 times
	// put of teams/payments/timeout-ms: anonymous, revision 0 to 1 (as agreed)
}

func ExampleClient_WhoAmI() {
	nodes, stop := startCluster()
	defer stop()
	c, err := client.New(client.Options{Endpoints: nodes})
	if err != nil {
		panic(err)
	}
	who, _, err := c.WhoAmI(context.Background(), client.ReadOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(who.Principal)
	for _, g := range who.Grants {
		fmt.Println(g.Path, strings.Join(g.Verbs, ","))
	}
	// Output:
	// user:entra/contoso/bob
	// teams/payments/ read,write
}
