// Package client is a client of Confman's REST API, version 1.
//
// A [Client] knows the addresses of some or all nodes. It asks one, and another
// if that one fails: any node takes any request.
//
// # When a request is sent again
//
//   - A read always may be.
//   - A write is, if the last attempt surely had no effect: it never left this
//     process, or the answer said so (outcome not_applied, retryable).
//   - A write whose outcome is unknown is sent again only if the caller said that
//     doing it twice is the same as doing it once. Imports always are: they put
//     fixed values.
//
// Attempts are bounded by [Options.MaxAttempts] and by the context. A round over
// all nodes is made without a pause, then one follows that grows from round to
// round and is drawn at random.
//
// # Sessions
//
// Nodes apply writes one after the other, but not at the same instant: a read at one node
// may lack what was just written at another. [Client.Session] makes a client that waits
// for what it has seen.
//
// # Errors
//
// A request that failed returns an [*Error]. Its Outcome is over all attempts: one
// that may have been applied makes it unknown, whatever the later ones say. What
// the last node answered is in it as a [*Problem], if one answered at all.
//
// # Trees
//
// [WalkTree] takes a JSON tree apart into the keys and values that an import
// stores, [Tree] puts them together again.
package client
