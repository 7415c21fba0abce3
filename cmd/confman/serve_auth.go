package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/config"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/httpapi"
	"github.com/confman/confman/node"
)

// authConfig is whom the API believes, as the configuration has it.
func authConfig(c config.Auth, log *slog.Logger) auth.Config {
	out := auth.Config{
		Certificates: auth.Certificates{URIPrefix: c.Certificates.URIPrefix},
		Refresh:      c.Refresh, MinRefresh: c.MinRefresh, MaxKeyAge: c.MaxKeyAge, Log: log, Now: wallClock,
	}
	for _, r := range c.Certificates.Rules {
		out.Certificates.Rules = append(out.Certificates.Rules, auth.CertificateRule(r))
	}
	for _, i := range c.Issuers {
		out.Issuers = append(out.Issuers, auth.Issuer{
			Name: i.Name, URL: i.URL, EntraTenants: i.EntraTenants, EntraURL: i.EntraURL, EntraV1URL: i.EntraV1URL,
			Audiences: i.Audiences, Algorithms: i.Algorithms, Tenants: i.Tenants, Leeway: i.Leeway, Clients: i.Clients,
			Claims: auth.Claims(i.Claims), Scopes: i.Scopes, RequireAtJWT: i.RequireAtJWT, OverageFallback: i.OverageFallback,
		})
	}
	return out
}

// scopesOf are the verbs that each scope of each issuer stands for. An issuer without any is there too:
// what its tokens let a user do is nothing, not everything.
func scopesOf(c config.Auth) (map[string]map[string]fsm.Verbs, error) {
	out := make(map[string]map[string]fsm.Verbs)
	var errs []error
	for i, issuer := range c.Issuers {
		scopes := make(map[string]fsm.Verbs)
		for _, scope := range slices.Sorted(maps.Keys(issuer.Scopes)) {
			for _, name := range issuer.Scopes[scope] {
				verb, known := fsm.ParseVerb(name)
				if !known {
					errs = append(errs, fmt.Errorf("Auth.Issuers[%d].Scopes[%q]: %q is no verb: %s", i, scope, name, strings.Join((^fsm.Verbs(0)).Names(), ", ")))
				}
				scopes[scope] |= verb
			}
		}
		out[issuer.Name] = scopes
	}
	return out, errors.Join(errs...)
}

// checkAuth reports everything that is wrong with c and that package config cannot know, or nil.
func checkAuth(c config.Auth) error {
	var errs []error
	if c.Bootstrap != "" {
		if err := fsm.ValidateSubject(c.Bootstrap); err != nil {
			errs = append(errs, fmt.Errorf("Auth.Bootstrap: %w", err))
		}
	}
	if !c.Open() {
		err := authConfig(c, nil).Validate()
		if all, many := err.(interface{ Unwrap() []error }); many { // it is joined: each fault gets a line
			for _, err := range all.Unwrap() {
				errs = append(errs, fmt.Errorf("Auth.%w", err))
			}
		} else if err != nil {
			errs = append(errs, fmt.Errorf("Auth.%w", err))
		}
		scopes, err := scopesOf(c)
		errs = append(errs, err)
		if errors.Join(errs...) == nil { // else that is what is wrong
			errs = append(errs, checkBootstrap(c, scopes))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// checkBootstrap reports a first administrator whom nobody could be here, or who could bind nobody. Once
// bound they stay, and whoever is not known may do nothing from then on.
func checkBootstrap(c config.Auth, scopes map[string]map[string]fsm.Verbs) error {
	kind, rest, _ := strings.Cut(c.Bootstrap, ":")
	switch kind {
	case "":
		return nil
	case "cert":
		name := strings.NewReplacer("%2F", "/", "%25", "%").Replace(rest)
		prefix := c.Certificates.URIPrefix
		if prefix != "" && strings.HasPrefix(name, prefix) ||
			slices.ContainsFunc(c.Certificates.Rules, func(r config.CertificateRule) bool { return r.Name == name }) {
			return nil
		}
		return fmt.Errorf("Auth.Bootstrap: %s: no rule of Certificates gives the name %q: nobody could be the administrator", c.Bootstrap, name)
	}
	issuer, _, _ := strings.Cut(rest, "/")
	of, known := scopes[issuer]
	if !known {
		return fmt.Errorf("Auth.Bootstrap: %s: no issuer is called %q: nobody could be the administrator", c.Bootstrap, issuer)
	}
	if fault := ofEntra(c, issuer, kind, rest); fault != "" {
		return fmt.Errorf("Auth.Bootstrap: %s: %s: nobody could be the administrator", c.Bootstrap, fault)
	}
	if kind != "user" { // an application needs no scopes
		return nil
	}
	var verbs fsm.Verbs
	for _, v := range of {
		verbs |= v
	}
	if verbs&fsm.VerbBind == 0 {
		return fmt.Errorf("Auth.Bootstrap: %s: no scope of issuer %q stands for bind, without which an administrator could give nobody a role: add one to Scopes", c.Bootstrap, issuer)
	}
	return nil
}

// ofEntra is what is wrong with a subject of an issuer if that is Entra ID, in whose subjects the tenant
// is never left out, and ids are GUIDs in lower case; "" if nothing is.
func ofEntra(c config.Auth, issuer, kind, rest string) string {
	i := slices.IndexFunc(c.Issuers, func(i config.Issuer) bool { return i.Name == issuer })
	tenants := c.Issuers[i].EntraTenants
	if len(tenants) == 0 || kind == "role" {
		return ""
	}
	parts := strings.Split(rest, "/")
	of := func(tenant string) bool { return len(parts) == 3 && strings.ToLower(tenant) == parts[1] }
	if !slices.ContainsFunc(tenants, of) {
		return fmt.Sprintf("want a tenant of issuer %q before the id: %s", issuer, strings.ToLower(strings.Join(tenants, ", ")))
	}
	if fsm.ValidateSubject("group:"+rest) != nil { // of which the id is a GUID
		return fmt.Sprintf("%q is no id of Entra ID, which is a GUID, here in lower case", parts[2])
	}
	return ""
}

// letIn has the API ask who calls; one of helpers keeps what that takes fresh until ctx ends.
func (s *server) letIn(ctx context.Context, helpers *sync.WaitGroup, api *httpapi.Config) error {
	c := s.config.Auth
	s.warnAuth()
	if c.Open() {
		return nil
	}
	if err := checkAuth(c); err != nil {
		return err
	}
	a, err := auth.New(authConfig(c, s.log))
	if err != nil {
		return err
	}
	api.Auth, api.MaxPolicyStaleness = a, c.MaxPolicyStaleness
	if api.Scopes, err = scopesOf(c); err != nil {
		return err
	}
	helpers.Go(func() { a.Run(ctx) })
	return nil
}

// warnAuth says what others on the network could do.
func (s *server) warnAuth() {
	id := slog.String("node", s.config.Cluster.NodeID)
	switch c := s.config; {
	case !c.Exposed():
	case c.Auth.Open():
		s.log.Warn("nobody has to say who they are (Auth.Mode none): whoever reaches the API can read and write everything", id)
	case c.API.TLS == (config.TLS{}):
		s.log.Warn("the API speaks plain text (no Api.Tls): whoever is between can read tokens, and use them", id)
	}
}

// lockedPoll is how often a node that cannot know yet looks whether it is locked.
const lockedPoll = time.Second

// policyNode is what warnLocked asks of a node.
type policyNode interface {
	View() (*fsm.View, node.Freshness, error)
	Linearize(ctx context.Context) error
}

// warnLocked says, as soon as this node knows, that nobody can do anything through it: nobody has to
// say here who they are, and the cluster has an administrator. It ends then, or once a quorum has
// confirmed that it is not so, or with ctx.
func (s *server) warnLocked(ctx context.Context, n policyNode) {
	poll := time.NewTicker(lockedPoll)
	defer poll.Stop()
	for {
		unconfirmed := n.Linearize(ctx)
		switch v, _, err := n.View(); {
		case errors.Is(err, node.ErrStopped):
			return
		case err == nil:
			locked := v.Policy().Required() // once it is, it stays so: the state here may be old
			v.Close()
			if locked {
				s.log.Warn("the cluster has an administrator, and this node cannot tell who calls (Auth.Mode none): it lets nobody do anything; set Auth.Mode to oidc here, as on the other nodes",
					slog.String("node", s.config.Cluster.NodeID))
			}
			if locked || unconfirmed == nil {
				return
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}
