// Package client is a client of Confman's REST API, version 1.
//
// A [Client] knows the addresses of some or all nodes. It asks one, and another
// if that one fails: any node takes any request. A node that failed, stops, lags or is
// cut off is asked after the others for [AvoidFor], and for longer if it goes on failing;
// one request finds out whether it is back.
//
// # When a request is sent again
//
//   - A read always may be.
//   - A write is, if the last attempt surely had no effect: it never left this
//     process, or the answer said so (outcome not_applied, retryable).
//   - A write whose outcome is unknown is, because all its attempts carry the same
//     idempotency key, under which the servers apply it once; but not later than
//     [MaxRetryAge] after the first. Imports need no key: they put fixed values.
//   - A write of several transactions, or one that the caller wants without a key, is
//     not: the error says that its outcome is unknown.
//
// Attempts are bounded by [Options.MaxAttempts] and by the context. A round over
// all nodes is made without a pause, then one follows that grows from round to
// round and is drawn at random.
//
// # Who calls
//
// [Options.Token] gives the token that requests carry, [Options.CertFile] a client certificate.
// Neither is in an error or a log. What runs for long, a watch or an import, takes up a renewed
// token; what was refused for its token is sent again once, with another.
//
// # Writes of several keys
//
// [Client.Txn] does one or the other, depending on what is there, at one revision;
// [Client.DeleteTree] and [Client.Rollback] are of subtrees. [Client.Import] puts as many
// records as there are, in as many transactions as that takes.
//
// # The past
//
// [ReadOptions] name a revision or a time to read. [Client.History] tells who changed what,
// [Client.Diff] how it all differs, until it is compacted: [IsCompacted].
//
// # Access
//
// [Client.WhoAmI] tells what the caller may do. [Client.Namespace] reads who may do what below a path,
// [Client.EditNamespace] changes it, and [Client.Audit] tells who did what, and what was denied.
//
// # Watching
//
// [Client.Watch] gives every change to a key or subtree once and in order, and goes on at
// another node when one goes away. Begin after the revision of what was read before.
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
