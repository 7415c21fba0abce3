package node

import (
	"fmt"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// Joining is how a node with an empty data directory comes to be the member that a seat was made for.
// Like Formation it is pure, and takes the place of that.
//
// What the directory is called (Identity.Life) is durable before this begins. The leader puts the first life
// that comes for a seat into the log, and whoever has applied that welcomes it. So of two directories, or of one that
// was emptied in between, only the first can take part under a raft id: nobody forgets what it has
// voted.
type Joining struct {
	id    Identity
	askAt time.Duration
	asked bool
	heard bool
}

// NewJoining starts from an identity that has a Life, and members to ask.
func NewJoining(id Identity) *Joining {
	must(id.Life != fsm.Life{} && !id.Formed && id.Current != nil, "%s does not join anything", id.Name)
	return &Joining{id: id}
}

// Identity is the newest identity, as the last Persist said.
func (j *Joining) Identity() Identity { return j.id }

// Waiting says what keeps the node from taking part; nil once it does.
func (j *Joining) Waiting() []string {
	switch {
	case j.id.Formed:
		return nil
	case j.heard:
		return []string{"the leader has not put this node's seat into the log yet"}
	}
	return []string{"no member has answered yet, to which this node's seat could be claimed"}
}

// Tick asks all members for a welcome.
func (j *Joining) Tick(now time.Duration) (step FormStep) {
	if j.id.Formed || j.asked && now < j.askAt {
		return FormStep{}
	}
	j.asked, j.askAt = true, now+formInterval
	for _, m := range j.id.Current.Members {
		if m.RaftID != j.id.RaftID && m.Life != (fsm.Life{}) {
			step.Send = append(step.Send, transport.Message{
				From: j.id.RaftID, To: m.RaftID, Claim: &transport.Claim{Life: j.id.Life, Version: fsm.Version},
			})
		}
	}
	return step
}

// Receive takes a member's answer.
func (j *Joining) Receive(m transport.Message) FormStep {
	r := m.ClaimReply
	if r == nil || j.id.Formed || m.To != j.id.RaftID || r.Life != j.id.Life {
		return FormStep{}
	}
	j.heard = true
	switch r.Verdict {
	case transport.ClaimWelcome:
		j.id.Formed = true
		id := j.id
		return FormStep{Persist: &id}
	case transport.ClaimTaken:
		return FormStep{Err: fmt.Errorf("node: the seat of %s (raft id %d) is that of another data directory: %w", j.id.Name, j.id.RaftID, ErrDiskLost)}
	case transport.ClaimGone:
		return FormStep{Err: ErrRemoved}
	}
	return FormStep{}
}
