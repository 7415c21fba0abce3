package main

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/client"
)

// fakeSeat is the text of every seat.
const fakeSeat = "confman-seat-1.e30.00000000"

// fakeMembers are node1 to node3, who vote, and node4 and node5, of which the one has a seat and the other learns. All
// listen where the fake does.
func fakeMembers(host string) []client.Seated {
	address, port, _ := net.SplitHostPort(host)
	api, _ := strconv.Atoi(port)
	var all []client.Seated
	for i, part := range []string{"voter", "voter", "voter", "seat", "learner"} {
		m := client.Seated{
			ID: "node" + strconv.Itoa(i+1), RaftID: uint64(i + 1), Address: address, APIPort: api, RaftPort: 5001,
			Part: client.Part{Membership: part, Wanted: part, CommandVersion: 2},
		}
		if part == "seat" {
			m.Wanted, m.Seat = "learner", fakeSeat
		}
		all = append(all, m)
	}
	return all
}

// pass lets what the members are to be come true, one step at a time: first two majorities must agree.
func (a *fakeAPI) pass() {
	settled := true
	for i := range a.members {
		m := &a.members[i]
		waits := m.Seat != "" && m.Wanted == "learner" // for who comes for it
		settled = settled && (m.Settled() || waits)
		if a.changing && !waits {
			m.Membership, m.Seat = m.Wanted, ""
		}
	}
	a.members = slices.DeleteFunc(a.members, func(m client.Seated) bool { return a.changing && m.Wanted == "gone" })
	a.changing = !a.changing && !settled
}

// cluster answers what is asked of the cluster and its members.
func (a *fakeAPI) cluster(w http.ResponseWriter, r *http.Request, path string) {
	if a.members == nil {
		a.members = fakeMembers(r.Host)
	}
	var body struct {
		client.MemberSpec
		IDs       []string `json:"ids"`
		EvenFewer bool     `json:"even_fewer"`
		To        string   `json:"to"`
		On        bool     `json:"on"`
	}
	if r.Method == http.MethodPost {
		_ = json.NewDecoder(r.Body).Decode(&body)
	}
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	want := func(wanted string) {
		for _, id := range body.IDs {
			i := slices.IndexFunc(a.members, func(m client.Seated) bool { return m.ID == id })
			if i < 0 {
				fakeProblem(404, "unknown-member", "not_applied", false, id+": there is no such member")(w, r)
				return
			}
			a.members[i].Wanted = wanted
		}
		a.commit(r)
		answer(client.MembersChanged{IDs: body.IDs, Revision: a.revision, Changed: true})
	}
	switch strings.TrimPrefix(path, "/cluster") {
	case "":
		staleness, lag, caughtUp := 0.012, uint64(7), false
		view := client.Cluster{
			Node: "node1", Role: "leader", Leader: "node1", Term: 2, Revision: a.revision, AppliedIndex: a.revision + 3, CommitIndex: a.revision + 3,
			StateHash: strings.Repeat("0", 64), Staleness: &staleness, Release: "v1.2.3", CommandVersion: 2, ActiveVersion: 2, Uptime: 3661,
			StoreBytes: 40 << 20, LogBytes: 64 << 20, Draining: a.draining, Ready: !a.draining,
		}
		for _, m := range a.members {
			view.Members = append(view.Members, client.Member{ID: m.ID, RaftID: m.RaftID, Part: m.Part, Lag: &lag, CaughtUp: &caughtUp})
		}
		answer(view)
	case "/members":
		if r.Method == http.MethodPost {
			if slices.ContainsFunc(a.members, func(m client.Seated) bool { return m.ID == body.ID && m.Membership == "voter" }) {
				fakeProblem(409, "member-exists", "not_applied", false, body.ID+": there is a member of that name already")(w, r)
				return
			}
			a.commit(r)
			answer(client.NewSeat{ID: body.ID, RaftID: 6, Seat: fakeSeat, Revision: a.revision, Changed: true})
			return
		}
		answer(client.Members{Revision: a.revision, ActiveVersion: 2, Changing: a.changing, Items: a.members})
		a.pass()
	case "/members/replace":
		a.commit(r)
		answer(client.NewSeat{ID: body.ID, RaftID: 6, Seat: fakeSeat, Revision: a.revision, Changed: true})
	case "/members/promote":
		want("voter")
	case "/members/remove":
		if len(body.IDs) > 1 && slices.Contains(body.IDs, "node1") && !body.EvenFewer {
			fakeProblem(409, "fewer-failures", "not_applied", false, "fewer than three voters would be left")(w, r)
			return
		}
		want("gone")
	case "/transfer-leadership":
		answer(map[string]string{"leader": "node2"})
	case "/drain":
		a.draining = body.On
		answer(client.Drained{Node: "node1", Draining: body.On, Leads: a.clings, Leader: "node2"})
	case "/finalize-upgrade":
		a.commit(r)
		answer(client.Finalized{ActiveVersion: 2, Revision: a.revision, Changed: true})
	default:
		http.NotFound(w, r)
	}
}
