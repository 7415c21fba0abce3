// Package httpapi serves a node's state over HTTP: version 1 of the REST API,
// below /api/v1, and the health checks beside it.
//
// [New] makes the handler, [NewServer] one that listens with time and size
// limits. Both ask a [Node] for everything; the package keeps no state of its own
// but what it needs to bound itself.
//
// # The document
//
// openapi.yaml tells every route, parameter, header, body and problem, and is written by hand;
// the limits in it are filled in from the constants. openapi.json, served at /openapi.json, and
// docs/api.md are made of it by "make generate". Each request that a test of this package makes
// is held against it, and so is the answer: a change of the API begins there.
//
// # What every answer carries
//
//   - Confman-Revision: the store's revision the answer was made from; after a
//     write, the revision of that write.
//   - Confman-Staleness: an upper bound, in seconds, of how old that state may be;
//     "unknown" if nothing is proven. It is taken after the state was read; an
//     export is a stream and states it as of its first byte.
//   - Confman-Node, Confman-Leader: names; the leader is "unknown" if it is.
//   - X-Request-Id: the client's, if it sent a usable one.
//
// Answers that net/http gives before a handler runs (a malformed request line,
// headers over [MaxHeaderBytes]) carry none of them.
//
// # Callers
//
// With [Config].Auth every request but health checks and the document says who sends it: by an access
// token, else by a client certificate, else it is 401 unauthenticated. Without, everybody is the same
// caller. What a caller lacks is 403 forbidden, and the answer is the same whether there is something or
// not. docs/permissions.md has what each route takes.
//
// A handler says what its caller must be allowed to do before it does anything; every view, and every
// command, then goes through what decides about that. One that says nothing gets nothing.
//
// # Keys and subtrees
//
// The path after the route names a key; with a trailing slash it names the
// subtree below, and without any path the whole tree. Segments are taken as they
// are: an encoded slash, "." and "..", an empty segment and control characters
// are refused, never cleaned away.
// A subtree is there while a key is below it, the whole tree always: listing or
// exporting another one is 404, and so is deleting a key that has no value.
//
// A listing shows what is directly below, in order of name: "subtree": true says
// that there are keys below an item, and an item that is nothing else has no
// value. With recursive=true it shows all keys below, in order of their bytes.
// The page ends at limit items, or early when it has grown large: next_cursor,
// not the number of items, says whether there is more.
//
// All pages of a walk show the revision of the first one, whatever is written meanwhile.
//
// # The past
//
// revision=N on a value, a listing or an export shows what was there at that revision;
// Confman-Revision is then N. A revision that neither this node has nor, asked, any quorum
// knows of is 400 future-revision; one that the store does not go back to any more is 410
// compacted, with the oldest_revision that it does. So is a version of a key that has too many.
//
// A history with verify=true recomputes the hash chain of the change log, which is one for all
// paths, on this node: "verified", and if not, the first_bad_revision and the reason.
//
// Accept-Datetime (RFC 7089) asks for the newest revision accepted at that time or before,
// by the clocks of the nodes that accepted the writes; Memento-Datetime says when it was
// accepted, Content-Location where it stays. Both are whole seconds: a change at 10:00:00.7
// is of 10:00:00.
//
// # Watching
//
// GET /watch streams the changes after from_revision, or from now on, as server-sent events: each
// event is a transaction with all that it did to the key or subtree, and its id the revision. A
// heartbeat is a comment with an id alone: everything up to that revision was sent. Whoever goes on
// after the id it has, at any node, by from_revision or Last-Event-ID, gets each change once.
// A stream ends with an event: error that is a problem; most say to go on at another node. With wait
// the next changes come as one answer, or none after that time. Watches are bounded by
// [node.MaxWatchers], apart from other requests.
//
// # Values
//
// A PUT stores its body unchanged, with its Content-Type. Without one, or with
// application/x-www-form-urlencoded, which is what curl -d sends unasked, the
// body is application/json if it parses as JSON, else text/plain; charset=utf-8
// if it is UTF-8, else application/octet-stream. A body that calls itself JSON
// must be JSON.
//
// In a JSON answer a value of a JSON type is inline; any other that is UTF-8 is a
// string; the rest, and every application/octet-stream, is base64 with
// "encoding": "base64". With Accept: text/plain or application/octet-stream the
// value comes bare, under the type that was asked for; its own type is then in
// Confman-Content-Type, so that nothing a writer stored is run by a browser.
//
// A PATCH changes a JSON value in part: application/merge-patch+json (RFC 7396) or
// application/json-patch+json (RFC 6902, without its extensions). It is evaluated on the
// newest value, and again if that changes before the result is written.
//
// # Removing a subtree
//
// DELETE of a subtree takes recursive=true: every key below it goes at one revision. More than
// [fsm.MaxTreeKeys] keys or [fsm.MaxTreeBytes] are 413 subtree-too-large, unless chunked=true allows
// several revisions: "transactions" says how many it took, and a failure half-way says how many
// records are gone. A key that is written while that goes on may stay.
//
// # Transactions
//
// POST /txn takes {"compare":[...],"then":[...],"else":[...]}. A compare has a path and one of
// exists, revision and value; an operation is a put, a delete (of a subtree, if its path ends in a
// slash) or a get. The value of a put is JSON unless its content_type is another: then it is a string,
// or base64 with "encoding":"base64", without a content_type application/octet-stream. A compare's
// value is JSON or base64 alike, and is compared byte by byte. A branch names no key twice, nor one
// below a subtree that it deletes.
//
// That a compare fails is 200 with "succeeded": false, failed_compare and the current_revision of its
// key, and the results of else. Gets show what was there right after, at "revision"; a replay that
// comes when that is compacted says "compacted": true instead of a record.
//
// POST /rollback takes {"to_revision":N} and makes a key or a subtree what it was then, within the
// same bounds as a removal, or with chunked=true in several revisions.
//
// # Writes that are made again
//
// With an Idempotency-Key a write is done once, and made again has its first answer, with
// Idempotency-Replayed: true; see docs/consistency.md. Imports and chunks refuse one.
//
// # Encodings
//
// An answer of [MinEncodedBytes] or more that is JSON, YAML, text or NDJSON goes out in gzip or zstd,
// as Accept-Encoding wants, while no more than [MaxEncoders] are at work; exports are encoded as
// they stream. Bare octets and event streams never are.
//
// # Pages of other origins
//
// [Config].Origins let browsers show answers to the pages of others (CORS). What those have a browser
// write is refused with 403 foreign-origin unless they are named there: some of it comes without a
// preflight. A request that is no page's says neither Origin nor Sec-Fetch-Site.
//
// # Conditions
//
// A key's ETag is the revision of its last change, and of an encoded answer that with the
// coding, "57-gzip": a strong etag is of one sequence of bytes. Conditions take either for
// the revision. A write takes If-Match with
// one etag or *, or If-None-Match: *; anything else that RFC 9110 allows there
// (lists, weak etags) is refused with 400 rather than half obeyed.
//
// # Trees
//
// An import of application/json maps nested objects to path segments and takes
// every other value as a leaf, its text kept byte for byte; an empty object
// stands for nothing. Member "" of an object is the value of the object's own
// path, whatever its type, so a key may have both a value and keys below it, and
// a value may be an object. An export writes the same form: what it writes, an
// import takes back unchanged, but for two things only records (NDJSON) keep:
// values that are not JSON, written as a string (text) or as
// {"encoding":"base64","value":"..."} under "", and space around a JSON value.
//
// With Accept: application/yaml the same tree is YAML 1.2, numbers kept to the letter, and an import
// of application/yaml takes it. From elsewhere it takes one document of the core schema that says what
// JSON can: no anchors, aliases, merge keys or other tags, and no number that JSON has not or that two
// versions of YAML read differently (0x1F, 1_000, 007, .inf): those are refused, not guessed. A listing
// with recursive=true and format=tree is what is below as a tree, JSON or YAML, in one answer:
// more than [MaxPage] keys or [MaxPageBytes] are 413 too-large.
//
// # Errors
//
// Every error is an application/problem+json (RFC 9457) made in one function; see
// problemOf. Its retryable member says that the same request may succeed later or
// at another node; for a write, outcome says first whether it may have been
// applied. Trouble of the node or the cluster is 503, a full disk 507, and only
// damage and bugs are 500. In a failed import, applied_records were surely applied
// and outcome is that of the others; running it again is safe.
package httpapi
