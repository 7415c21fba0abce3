package sim

import (
	"encoding/binary"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/transport"
)

// encodeMessage appends m to b in a form that is the same for equal messages and
// different for different ones. For hashing: nothing decodes it.
func encodeMessage(b []byte, m *transport.Message) []byte {
	b = put(b, m.From, m.To)
	switch {
	case m.Raft != nil:
		return encodeRaft(append(b, 1), m.Raft)
	case m.Forward != nil:
		f := m.Forward
		b = put(append(b, 2), f.Addressee, f.Incarnation, f.Seq, uint64(f.Attempt))
		return putBytes(b, f.Command)
	case m.ForwardReply != nil:
		r := m.ForwardReply
		return put(append(b, 3), r.Incarnation, r.Origin, r.Seq, uint64(r.Attempt), uint64(r.Verdict), r.Term, r.Index)
	case m.Form != nil:
		f := m.Form
		b = put(append(b, 4), uint64(f.Kind), f.Config, uint64(f.State))
		b = append(b, f.Cluster[:]...)
		b = append(b, f.Life[:]...)
		return append(b, f.Echo[:]...)
	case m.Image != nil:
		i := m.Image
		b = put(append(b, 5), i.Incarnation, i.Transfer, i.Term, i.Index, i.Size, i.Offset, uint64(i.Sum))
		return putBytes(b, i.Data)
	case m.ImageReply != nil:
		r := m.ImageReply
		return put(append(b, 6), r.Incarnation, r.Transfer, uint64(r.Verdict), r.Offset)
	case m.ImageRequest != nil:
		return put(append(b, 7), m.ImageRequest.First)
	case m.Digest != nil:
		b = put(append(b, 8), m.Digest.Index)
		if m.Digest.Asked {
			b = append(b, 1)
		}
		return append(b, m.Digest.Hash[:]...)
	case m.Claim != nil:
		return append(append(append(b, 9), m.Claim.Life[:]...), m.Claim.Version)
	case m.ClaimReply != nil:
		r := m.ClaimReply
		b = put(append(append(append(b, 10), r.Life[:]...), uint8(r.Verdict)), r.Last, r.Commit, r.CommitTerm, uint64(len(r.Members)))
		for _, p := range r.Members {
			b = putBytes(putBytes(put(b, p.RaftID), p.Name), p.Address)
		}
		return b
	}
	return b
}

func encodeRaft(b []byte, m *raftpb.Message) []byte {
	b = put(b, uint64(m.GetType()), m.GetTo(), m.GetFrom(), m.GetTerm(), m.GetLogTerm(), m.GetIndex(),
		m.GetCommit(), m.GetVote(), m.GetRejectHint(), uint64(len(m.GetEntries())))
	if m.GetReject() {
		b = append(b, 1)
	}
	for _, e := range m.GetEntries() {
		b = put(b, uint64(e.GetType()), e.GetTerm(), e.GetIndex())
		b = putBytes(b, e.GetData())
	}
	return putBytes(b, m.GetContext())
}

func put(b []byte, words ...uint64) []byte {
	for _, w := range words {
		b = binary.AppendUvarint(b, w)
	}
	return b
}

func putBytes[T ~[]byte | ~string](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// cloneMessage is what the receiver gets: it shares nothing with the sender's.
func cloneMessage(m *transport.Message) transport.Message {
	c := transport.Message{From: m.From, To: m.To}
	switch {
	case m.Raft != nil:
		c.Raft = cloneRaft(m.Raft)
	case m.Forward != nil:
		f := *m.Forward
		f.Command = slices.Clone(f.Command)
		c.Forward = &f
	case m.ForwardReply != nil:
		r := *m.ForwardReply
		c.ForwardReply = &r
	case m.Form != nil:
		f := *m.Form
		c.Form = &f
	case m.Image != nil:
		i := *m.Image
		i.Data = slices.Clone(i.Data)
		c.Image = &i
	case m.ImageReply != nil:
		r := *m.ImageReply
		c.ImageReply = &r
	case m.ImageRequest != nil:
		r := *m.ImageRequest
		c.ImageRequest = &r
	case m.Digest != nil:
		d := *m.Digest
		c.Digest = &d
	case m.Claim != nil:
		l := *m.Claim
		c.Claim = &l
	case m.ClaimReply != nil:
		r := *m.ClaimReply
		r.Members = slices.Clone(r.Members)
		c.ClaimReply = &r
	}
	return c
}

// raftMessage holds a message and the numbers it points to in one piece.
type raftMessage struct {
	m                                                    raftpb.Message
	typ                                                  raftpb.MessageType
	to, from, term, logTerm, index, commit, vote, reHint uint64
	reject                                               bool
}

type raftEntry struct {
	e           raftpb.Entry
	typ         raftpb.EntryType
	term, index uint64
}

// cloneRaft copies a message between nodes; those have no snapshot and no responses.
func cloneRaft(m *raftpb.Message) *raftpb.Message {
	if m.Snapshot != nil || m.Responses != nil {
		panic("sim: a message between nodes carries a snapshot or responses")
	}
	c := new(raftMessage)
	out := &c.m
	if m.Type != nil {
		c.typ = *m.Type
		out.Type = &c.typ
	}
	number(&out.To, &c.to, m.To)
	number(&out.From, &c.from, m.From)
	number(&out.Term, &c.term, m.Term)
	number(&out.LogTerm, &c.logTerm, m.LogTerm)
	number(&out.Index, &c.index, m.Index)
	number(&out.Commit, &c.commit, m.Commit)
	number(&out.Vote, &c.vote, m.Vote)
	number(&out.RejectHint, &c.reHint, m.RejectHint)
	if m.Reject != nil {
		c.reject = *m.Reject
		out.Reject = &c.reject
	}
	out.Context = slices.Clone(m.Context)
	if len(m.Entries) > 0 {
		out.Entries = cloneEntries(m.Entries)
	}
	return out
}

func number(out **uint64, room, in *uint64) {
	if in != nil {
		*room = *in
		*out = room
	}
}

func cloneEntries(ents []*raftpb.Entry) []*raftpb.Entry {
	room := make([]raftEntry, len(ents))
	out := make([]*raftpb.Entry, len(ents))
	for i, e := range ents {
		c := &room[i]
		if e.Type != nil {
			c.typ = *e.Type
			c.e.Type = &c.typ
		}
		number(&c.e.Term, &c.term, e.Term)
		number(&c.e.Index, &c.index, e.Index)
		c.e.Data = slices.Clone(e.Data)
		out[i] = &c.e
	}
	return out
}
