package httpapi

import (
	"net/netip"
	"slices"
	"strings"
)

// knownHost refuses, where nobody has to say who they are, a request for a host that nobody
// configured. A page whose name its owner lets point to this machine, after it was loaded from
// another, is of the same origin as this node to a browser, which then shows it every answer. What
// it cannot do is to send another Host than that name; and an IP address, or localhost, is no such name.
func (c *call) knownHost() error {
	if c.api.Auth != nil || c.r.Host == "" || c.api.isOwn(c.r.Host) { // no browser leaves it empty
		return nil
	}
	return problemf(kindMisdirectedHost, "the request is for host %s, and this node, which takes requests without tokens, is not configured with that: "+
		"use its IP address, localhost, or a name that is in Api.Hosts", quote(short(c.r.Host)))
}

// isOwn tells whether host, with or without a port, may be this node.
func (a *api) isOwn(host string) bool {
	if v6, bracketed := strings.CutPrefix(host, "["); bracketed {
		host, _, _ = strings.Cut(v6, "]")
	} else if name, _, one := strings.Cut(host, ":"); one {
		host = name
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(a.Hosts, name) {
		return true
	}
	_, err := netip.ParseAddr(host) // the last, for its error is made anew each time
	return err == nil
}
