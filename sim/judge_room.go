package sim

import (
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// roomless holds a step of a node that knew before it that its disk has no room: unless it heard in
// the step that there is some, it takes no write, neither of its clients nor, if it leads, of
// another node's. All else it goes on with: votes, entries of a leader, reads.
func (j *judge) roomless(r *replica, ins []node.Input, effects []node.Effect) {
	writes := map[uint64]bool{}
	for _, in := range ins {
		switch in := in.(type) {
		case node.DiskLow, node.Appended, node.Proved, node.Truncated: // it may have room now
			return
		case node.Propose:
			writes[in.Request] = true
		default:
		}
	}
	for _, e := range effects {
		switch e := e.(type) {
		case node.Stop:
			return // it may not have come to the rest
		case node.Send:
			if f := e.Message.ForwardReply; f != nil && f.Verdict == transport.Accepted {
				j.w.fail(JudgeRoom, "%s takes a write of node%d, and its disk has no room", r.name, e.Message.To)
			} else if f != nil && f.Verdict == transport.StorageFull {
				j.count("write of another node refused for want of room")
			}
		case node.ProposeReply:
			delete(writes, e.Request)
		default:
		}
	}
	if len(writes) > 0 {
		j.w.fail(JudgeRoom, "%s takes %d writes of its clients, and its disk has no room", r.name, len(writes))
	}
}
