package httpapi

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
)

// auditFilter is what of the audit is asked for; the zero value of a field leaves nothing out.
type auditFilter struct {
	target              // the root: all, also what has no path
	principal           string
	action, outcome     string
	notBefore, notAfter time.Time
}

// What became of what the audit tells of.
const (
	auditApplied = "applied"
	auditDenied  = "denied"
)

// changeActions are what a change does, deniedActions what was denied, as the audit calls it.
var (
	changeActions = map[fsm.OpKind]string{
		fsm.Put: "put", fsm.Delete: "delete", fsm.PutNamespace: "namespace-put", fsm.DeleteNamespace: "namespace-delete",
		fsm.Restored:  "restored",
		fsm.AddMember: "member-add", fsm.PromoteMember: "member-promote", fsm.RemoveMember: "member-remove", fsm.ReplaceMember: "member-replace",
		fsm.FinalizeUpgrade: "upgrade-finalize",
	}
	deniedActions = map[fsm.DenialKind]string{
		fsm.DeniedRead: "denied-read", fsm.DeniedWrite: "denied-write", fsm.DeniedAccess: "denied-access",
	}
	auditActions = slices.Concat(slices.Sorted(maps.Values(changeActions)), slices.Sorted(maps.Values(deniedActions)))
)

// auditFilter reads what of the audit is asked for.
func (q *query) auditFilter() (f auditFilter, err error) {
	f.target = target{subtree: true}
	if path, ok := q.get("path"); ok {
		if path == "" {
			return f, invalidParameter("path", "is empty: / is everything, and so is none")
		}
		if f.target, err = parseTarget(&url.URL{}, "/"+strings.TrimPrefix(path, "/")); err != nil || strings.HasPrefix(path, "/") && path != "/" {
			return f, invalidParameter("path", "is "+quote(short(path))+", want a key, or with a slash at its end all below it")
		}
	}
	if f.principal, err = q.principal(); err != nil {
		return f, err
	}
	if f.action, err = q.oneOf("action", auditActions...); err != nil {
		return f, err
	}
	if f.outcome, err = q.oneOf("outcome", auditApplied, auditDenied); err != nil {
		return f, err
	}
	if f.notBefore, err = q.time("since"); err != nil {
		return f, err
	}
	f.notAfter, err = q.time("until")
	return f, err
}

// principal reads a parameter that is who did something, as answers spell it.
func (q *query) principal() (string, error) {
	who, ok := q.get("principal")
	if !ok || who == new(fsm.Principal).String() {
		return who, nil
	}
	if err := fsm.ValidateSubject(who); err != nil {
		return "", invalidParameter("principal", "is "+quote(short(who))+", want anonymous, or as in user:issuer/tenant/id")
	}
	return who, nil
}

// oneOf reads a parameter that is one of some words; "" if it is not given.
func (q *query) oneOf(name string, words ...string) (string, error) {
	v, ok := q.get(name)
	if ok && !slices.Contains(words, v) {
		return "", invalidParameter(name, "is "+quote(short(v))+", want one of "+strings.Join(words, ", "))
	}
	return v, nil
}

// time reads a parameter that is a time; zero if it is not given.
func (q *query) time(name string) (time.Time, error) {
	v, ok := q.get(name)
	if !ok {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, invalidParameter(name, "is "+quote(short(v))+", want a time with its zone, such as 2026-01-23T10:00:00Z (and + is written %2B)")
	}
	return t, nil
}

// scope names a walk through the part of the audit in its cursors.
func (f *auditFilter) scope() string {
	return fmt.Sprintf("audit %q %q %s %s %d.%d %d.%d", f.target, f.principal, f.action, f.outcome,
		f.notBefore.Unix(), f.notBefore.Nanosecond(), f.notAfter.Unix(), f.notAfter.Nanosecond())
}
