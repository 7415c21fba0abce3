package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/client"
)

// memberPause is the time between two looks at the members that a command waits for.
const memberPause = 200 * time.Millisecond

// errStillLeads: a node drains, and no other one took over.
var errStillLeads = fmt.Errorf("it leads still, since no other node took over: see confman cluster for why; it goes on trying: %w", context.DeadlineExceeded)

// errMemberGone: what a command waited for cannot come any more.
var errMemberGone = errors.New("it is no member any more: somebody removed it meanwhile")

// awaited tells whether members are what a command waits for.
type awaited func(names []string, members *client.Members) (bool, error)

// promoted: all are voters, and the change that made them so is over.
func promoted(names []string, members *client.Members) (bool, error) {
	for _, name := range names {
		found, settled := false, true
		for i := range members.Items {
			if m := &members.Items[i]; m.ID == name && m.Wanted != "gone" {
				found, settled = true, settled && m.Membership == "voter" && m.Settled()
			}
		}
		switch {
		case !found:
			return false, fmt.Errorf("%s: %w", name, errMemberGone)
		case !settled:
			return false, nil
		}
	}
	return !members.Changing, nil
}

// removed: none is left of those that were to go.
func removed(names []string, members *client.Members) (bool, error) {
	for i := range members.Items {
		if m := &members.Items[i]; slices.Contains(names, m.ID) && m.Wanted == "gone" {
			return false, nil
		}
	}
	return !members.Changing, nil
}

// staying are those of the names that members have: of one that was being replaced only the replacement goes.
func staying(names []string, members *client.Members) (stay []string) {
	for i := range members.Items {
		if m := &members.Items[i]; slices.Contains(names, m.ID) && !slices.Contains(stay, m.ID) {
			stay = append(stay, m.ID)
		}
	}
	return stay
}

// awaitMembers waits until it is so, and tells how far it is when that changes.
func (s *session) awaitMembers(ctx context.Context, c *client.Client, names []string, done awaited) error {
	told := ""
	for {
		members, _, err := c.Members(ctx, client.ReadOptions{Consistency: client.Linearizable})
		if err != nil {
			return waitedInVain(ctx, err)
		}
		is, err := done(names, &members)
		if is || err != nil {
			return err
		}
		if now := howFar(ctx, c, names, &members); now != told {
			told = now
			_, _ = fmt.Fprintf(s.err, "confman: %s\n", now)
		}
		select {
		case <-time.After(memberPause):
		case <-ctx.Done():
			return waitedInVain(ctx, ctx.Err())
		}
	}
}

func waitedInVain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("it is to be so, and is not yet; that goes on without this command: confman cluster shows how far it is: %w", ctx.Err())
	}
	return err
}

// howFar says what the members are that are not yet what they are to be.
func howFar(ctx context.Context, c *client.Client, names []string, members *client.Members) string {
	var parts []string
	lag := lags(ctx, c, members)
	for i := range members.Items {
		m := &members.Items[i]
		if !slices.Contains(names, m.ID) {
			continue
		}
		part := fmt.Sprintf("%s (raft id %d) is a %s", m.ID, m.RaftID, m.Membership)
		switch {
		case m.Membership == "seat" && m.Seat != "":
			part = fmt.Sprintf("%s (raft id %d) has not come for its seat yet", m.ID, m.RaftID)
		case m.Wanted == "gone":
			part = fmt.Sprintf("%s (raft id %d) is leaving", m.ID, m.RaftID)
		case m.Membership == "learner":
			part += lag[m.RaftID]
		}
		parts = append(parts, part)
	}
	if members.Changing {
		parts = append(parts, "two majorities must agree until the change is over")
	}
	return strings.Join(parts, "; ")
}

// lags is what the leader says of how far the others are.
func lags(ctx context.Context, c *client.Client, members *client.Members) map[uint64]string {
	leader := leaderOf(askAll(ctx, c, allEndpoints(c, members)))
	out := map[uint64]string{}
	if leader == nil {
		return out
	}
	for i := range leader.Members {
		m := &leader.Members[i]
		switch {
		case m.Lag == nil:
		case m.CaughtUp != nil && *m.CaughtUp:
			out[m.RaftID] = " that has caught up"
		default:
			out[m.RaftID] = fmt.Sprintf(" that lacks %d entries", *m.Lag)
		}
	}
	return out
}

// allEndpoints are those of the command, and of the members that are at none of them.
func allEndpoints(c *client.Client, members *client.Members) []string {
	all := c.Endpoints()
	for i := range members.Items {
		if at := memberEndpoint(c, &members.Items[i]); at != "" && members.Items[i].Seat == "" && !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

// memberEndpoint is where a member's API should be, by where it listens for the others; "" if nobody knows.
func memberEndpoint(c *client.Client, m *client.Seated) string {
	u, err := url.Parse(c.Endpoints()[0])
	if err != nil || m.Address == "" {
		return ""
	}
	return u.Scheme + "://" + net.JoinHostPort(m.Address, strconv.Itoa(m.APIPort))
}

// endpointOf finds a node by its name: among the endpoints, or where the members say that it is.
func endpointOf(ctx context.Context, c *client.Client, name string) (string, error) {
	views := askAll(ctx, c, c.Endpoints())
	for _, v := range views {
		if v.Reachable && v.View.Node == name {
			return v.Endpoint, nil
		}
	}
	members, _, err := c.Members(ctx, client.ReadOptions{Consistency: client.Local})
	if err != nil {
		return "", err
	}
	for i := range members.Items {
		if m := &members.Items[i]; m.ID == name && m.Seat == "" {
			if at := memberEndpoint(c, m); at != "" {
				return at, nil
			}
		}
	}
	return "", usagef("no endpoint is that of %s, and the cluster does not know where it is: name its address in --endpoints", name)
}

// printMembers says what became of an operation on members.
func (s *session) printMembers(done client.MembersChanged, waited bool, are, toBe string) error {
	return s.print(done, func(w io.Writer) error {
		what := toBe
		if waited {
			what = are
		}
		_, err := fmt.Fprintf(w, "%s: %s, revision %d\n", strings.Join(done.IDs, ", "), what, done.Revision)
		return err
	})
}
