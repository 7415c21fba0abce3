package jepsen

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// TestRevoked: what is accepted from somebody after the revocation was acknowledged is found, and what was accepted before is not.
func TestRevoked(t *testing.T) {
	const at, by = int64(time.Minute), uint64(50)
	op := func(kind linearizability.Kind, call int64, outcome linearizability.Outcome, rev uint64) linearizability.Op {
		return linearizability.Op{ID: 1, Kind: kind, Key: "auth/0/1/0", Call: call, Return: call + 1, Outcome: outcome, Revision: rev}
	}
	for name, c := range map[string]struct {
		op    linearizability.Op
		wrong bool
	}{
		"a write before":                       {op(linearizability.Put, at-9, linearizability.Applied, by-1), false},
		"a write that was on its way":          {op(linearizability.Put, at-9, linearizability.Applied, by+1), true},
		"a condition that was on its way":      {op(linearizability.Put, at-9, linearizability.CompareFailed, by+1), true},
		"a write after":                        {op(linearizability.Put, at+9, linearizability.Applied, by-1), true},
		"a write after that changes nothing":   {op(linearizability.Delete, at+9, linearizability.Unchanged, by), true},
		"a write after, refused":               {op(linearizability.Put, at+9, linearizability.NotApplied, 0), false},
		"a read before":                        {op(linearizability.Read, at-9, linearizability.ReadDone, by), false},
		"a read after":                         {op(linearizability.Read, at+9, linearizability.ReadDone, by), true},
		"a read of what a node has, soon":      {op(linearizability.Local, at+9, linearizability.ReadDone, by), false},
		"a read of what a node has, too late":  {op(linearizability.Local, at+int64(authStaleness)+9, linearizability.ReadDone, by-1), true},
		"a read of what a node has, not given": {op(linearizability.Local, at+int64(authStaleness)+9, linearizability.ReadFailed, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &authorized{owner: map[uint64]*suspect{1: {name: "u", revokedAt: at, revokedBy: by}}}
			err := w.Judge(&linearizability.History{Ops: []linearizability.Op{c.op}})
			if c.wrong {
				require.ErrorIs(t, err, ErrRevoked)
				return
			}
			require.NoError(t, err)
		})
	}
	w := &authorized{owner: map[uint64]*suspect{1: {name: "u", revokedAt: at, revokedBy: by}}}
	h := &linearizability.History{
		Ops:     []linearizability.Op{op(linearizability.Put, at-9, linearizability.Unknown, 0)},
		Changes: []linearizability.Change{{Revision: by + 1, Op: 1, Key: "auth/0/1/0"}}, HasChanges: true,
	}
	require.ErrorIs(t, w.Judge(h), ErrRevoked, "nobody knew what became of it, and it was applied later")
	h.Changes[0].Revision = by - 1
	require.NoError(t, w.Judge(h))
	require.ErrorIs(t, w.Thin(h), ErrProvesNothing)
}

// TestGranted: what is permitted is not refused, from when that was acknowledged to when it may be over.
func TestGranted(t *testing.T) {
	for name, c := range map[string]struct {
		call, ret, revoking int64
		wrong               bool
	}{
		"permitted":                {call: 11, ret: 15, revoking: 20, wrong: true},
		"it is for ever":           {call: 11, ret: 15, wrong: true},
		"not known yet":            {call: 9, ret: 15, revoking: 20},
		"it may be revoked by now": {call: 11, ret: 21, revoking: 20},
	} {
		t.Run(name, func(t *testing.T) {
			w := &authorized{owner: map[uint64]*suspect{1: {name: "u", grantedAt: 10, revokingAt: c.revoking}}, denied: map[uint64]bool{1: true}}
			h := &linearizability.History{Ops: []linearizability.Op{{ID: 1, Kind: linearizability.Read, Call: c.call, Return: c.ret, Outcome: linearizability.ReadFailed}}}
			if c.wrong {
				require.ErrorIs(t, w.Judge(h), ErrGranted)
				h.Ops[0].ID = 2
			}
			require.NoError(t, w.Judge(h))
		})
	}
}

// TestIssuer: it says where its keys are, and its tokens name who they are for.
func TestIssuer(t *testing.T) {
	i, err := newIssuer()
	require.NoError(t, err)
	ports, err := freePorts(portsEach * MaxLocalMachines)
	require.NoError(t, err)
	assert.NotContains(t, ports, i.port, "the nodes of a ground that is made later have them")
	get := func(path string, into any) int {
		w := httptest.NewRecorder()
		i.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code == http.StatusOK {
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), into))
		}
		return w.Code
	}
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	require.Equal(t, http.StatusOK, get("/oidc/.well-known/openid-configuration", &about))
	assert.Equal(t, i.url(), about.Issuer)
	var keys struct {
		Keys []struct{ X, Y string }
	}
	require.Equal(t, http.StatusOK, get(strings.TrimPrefix(about.Keys, "http://"+i.address()), &keys))
	require.Len(t, keys.Keys, 1)
	assert.Len(t, keys.Keys[0].X, 43)
	assert.Equal(t, http.StatusNotFound, get("/", nil))

	source, err := i.token("u1")
	require.NoError(t, err)
	token, err := source(t.Context(), "")
	require.NoError(t, err)
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	assert.Contains(t, string(claims), `"oid":"u1"`)
}

// TestSections: workloads that need nodes which are configured their way say how, and their clients say who they are.
func TestSections(t *testing.T) {
	o := Options{Workloads: []string{"register", "auth"}}
	sections, err := o.Sections()
	require.NoError(t, err)
	assert.Contains(t, sections, "Auth")
	who, err := o.identity()
	require.NoError(t, err)
	assert.NotNil(t, who)

	plain := Options{}
	sections, err = plain.Sections()
	require.NoError(t, err)
	assert.Empty(t, sections)
	who, err = plain.identity()
	require.NoError(t, err)
	assert.Nil(t, who)

	unknown := Options{Workloads: []string{"nonsense"}}
	_, err = unknown.Sections()
	require.ErrorContains(t, err, "nonsense")
}
