package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confman/confman/auth/localissuer"
	"github.com/confman/confman/client"
	"github.com/confman/confman/fsm"
)

const (
	// devIssuerPort is where the provider of tokens listens, from the first node's port on.
	devIssuerPort = 5
	// devTokenTime is how long the tokens are good for: an afternoon, and the evening.
	devTokenTime = 12 * time.Hour
	// devAdmitTime is how long it may take until the roles are bound.
	devAdmitTime = 30 * time.Second

	devIssuer   = "local"   // what subjects call the provider
	devAudience = "confman" // and what it calls the cluster, as well as the one scope
)

// devUser is somebody who is given a token.
type devUser struct {
	name string // and its object id
	role string // what the provider says that it is; "": nothing
	may  string // what that is bound to, for all keys
	says string
}

// devUsers: the administrator is the one that Auth.Bootstrap names, the others have what is bound to
// their app roles.
var devUsers = []devUser{
	{"reader", "readers", fsm.RoleViewer, "may read everything"},
	{"writer", "writers", fsm.RoleEditor, "may read everything, and write keys one by one"},
	{"admin", "", fsm.RoleAdmin, "may do everything: delete subtrees, bind roles, read the audit"},
}

func (u devUser) subject() string {
	if u.role == "" {
		return "user:" + devIssuer + "/" + u.name
	}
	return "role:" + devIssuer + "/" + u.role
}

// issuer is where the provider listens.
func (d *dev) issuer() string { return fmt.Sprintf("%s:%d", devAddress, d.port+devIssuerPort) }

// authOf is section Auth of all nodes.
func (d *dev) authOf() any {
	type issuer struct {
		Name      string
		URL       string `json:"Url"`
		Audiences []string
		Scopes    map[string][]string
	}
	type section struct {
		Mode      string
		Bootstrap string   `json:",omitempty"`
		Issuers   []issuer `json:",omitempty"`
	}
	if !d.auth {
		return section{Mode: "none"}
	}
	return section{
		Mode: "oidc", Bootstrap: devUsers[len(devUsers)-1].subject(),
		Issuers: []issuer{{devIssuer, "http://" + d.issuer() + "/oidc", []string{devAudience}, map[string][]string{devAudience: (^fsm.Verbs(0)).Names()}}},
	}
}

// token makes a token for a user, as an application would get it that acts for them.
func (u devUser) token(p *localissuer.Provider) (string, error) {
	t := localissuer.Token{
		Audience: devAudience, Object: u.name, App: "confman-dev", Scope: devAudience, Name: u.name + "@localhost", Lifetime: devTokenTime,
	}
	if u.role != "" {
		t.Roles = []string{u.role}
	}
	return p.Issue(t)
}

// tokenFile is where a user's token is kept, for scripts.
func (d *dev) tokenFile(u devUser) string { return filepath.Join(d.dir, u.name+".token") }

// admit writes the tokens, and has the roles bound that are not yet.
func (d *dev) admit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, devAdmitTime)
	defer cancel()
	admin := ""
	for _, u := range devUsers {
		token, err := u.token(d.provider)
		if err != nil {
			return err
		}
		if err := os.WriteFile(d.tokenFile(u), []byte(token+"\n"), 0o600); err != nil {
			return err
		}
		admin = token // the last
	}
	c, err := client.New(client.Options{Endpoints: d.urls(), Token: client.StaticToken(admin)})
	if err != nil {
		return err
	}
	poll := time.NewTicker(devReadyPoll)
	defer poll.Stop()
	for {
		_, _, err = c.EditNamespace(ctx, "/", "confman dev --auth", func(n *client.Namespace) (changed bool, err error) {
			for _, u := range devUsers {
				changed = n.Grant(u.may, u.subject()) || changed
			}
			return changed, nil
		})
		if !client.IsForbidden(err) { // until the first administrator is bound
			break
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-poll.C:
		}
	}
	if err != nil {
		return fmt.Errorf("binding the roles of the three users: %w", err)
	}
	return nil
}

// tokens tells who may do what, and how to be one of them.
func (d *dev) tokens() string {
	if !d.auth {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Be one of three, by their tokens, which are good for %d hours:\n", devTokenTime/time.Hour)
	for _, u := range devUsers {
		token, err := os.ReadFile(d.tokenFile(u))
		if err != nil {
			token = []byte("...") // it was written just now
		}
		fmt.Fprintf(&b, "\n  # %s %s; also in %s\n  export CONFMAN_TOKEN=%s\n", u.name, u.says, d.tokenFile(u), strings.TrimSpace(string(token)))
	}
	b.WriteString("\n")
	return b.String()
}
