package grpctransport

import (
	"errors"
	"fmt"
	"math"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// frameOf makes a frame of messages to one peer.
func frameOf(msgs []transport.Message) *wire.Frame {
	f := &wire.Frame{}
	for _, m := range msgs {
		switch {
		case m.Raft != nil:
			f.Raft = append(f.Raft, m.Raft)
		case m.Forward != nil:
			f.Forwards = append(f.Forwards, &wire.Forward{
				Addressee: m.Forward.Addressee, Incarnation: m.Forward.Incarnation, Seq: m.Forward.Seq,
				Attempt: m.Forward.Attempt, Command: m.Forward.Command,
			})
		case m.ForwardReply != nil:
			r := m.ForwardReply
			f.Replies = append(f.Replies, &wire.ForwardReply{
				Incarnation: r.Incarnation, Origin: r.Origin, Seq: r.Seq, Attempt: r.Attempt,
				Verdict: uint32(r.Verdict), Term: r.Term, Index: r.Index,
			})
		case m.Form != nil:
			o := m.Form
			f.Forms = append(f.Forms, &wire.Form{
				Kind: uint32(o.Kind), Config: o.Config, State: uint32(o.State),
				Cluster: o.Cluster[:], Life: o.Life[:], Echo: o.Echo[:],
			})
		case m.Image != nil:
			i := m.Image
			f.Images = append(f.Images, &wire.Image{
				Incarnation: i.Incarnation, Transfer: i.Transfer, Term: i.Term, Index: i.Index,
				Size: i.Size, Offset: i.Offset, Data: i.Data, Sum: i.Sum,
			})
		case m.ImageReply != nil:
			r := m.ImageReply
			f.ImageReplies = append(f.ImageReplies, &wire.ImageReply{
				Incarnation: r.Incarnation, Transfer: r.Transfer, Verdict: uint32(r.Verdict), Offset: r.Offset,
			})
		case m.ImageRequest != nil:
			f.ImageRequests = append(f.ImageRequests, &wire.ImageRequest{First: m.ImageRequest.First})
		case m.Digest != nil:
			f.Digests = append(f.Digests, &wire.Digest{Index: m.Digest.Index, Asked: m.Digest.Asked, Hash: m.Digest.Hash[:]})
		case m.Claim != nil:
			f.Claims = append(f.Claims, &wire.Claim{Life: m.Claim.Life[:], Version: uint32(m.Claim.Version)})
		case m.ClaimReply != nil:
			r := &wire.ClaimReply{Life: m.ClaimReply.Life[:], Verdict: uint32(m.ClaimReply.Verdict), Last: m.ClaimReply.Last, Commit: m.ClaimReply.Commit, CommitTerm: m.ClaimReply.CommitTerm}
			for _, p := range m.ClaimReply.Members {
				r.Members = append(r.Members, &wire.Member{RaftId: p.RaftID, Name: p.Name, Address: p.Address})
			}
			f.ClaimReplies = append(f.ClaimReplies, r)
		}
	}
	return f
}

var errFrame = errors.New("frame is not one of this protocol")

// messagesOf reads a frame that from sent to to on a stream of a version.
func messagesOf(f *wire.Frame, from, to uint64, version int) ([]transport.Message, error) {
	out := make([]transport.Message, 0, len(f.GetRaft())+len(f.GetForwards())+len(f.GetReplies())+len(f.GetForms()))
	for _, m := range f.GetRaft() {
		if m.GetFrom() != from || m.GetTo() != to {
			return nil, fmt.Errorf("raft message from %d to %d on the stream from %d to %d: %w", m.GetFrom(), m.GetTo(), from, to, errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, Raft: m})
	}
	for _, m := range f.GetForwards() {
		out = append(out, transport.Message{From: from, To: to, Forward: &transport.Forward{
			Addressee: m.GetAddressee(), Incarnation: m.GetIncarnation(), Seq: m.GetSeq(), Attempt: m.GetAttempt(), Command: m.GetCommand(),
		}})
	}
	for _, m := range f.GetReplies() {
		if m.GetVerdict() == 0 || m.GetVerdict() > uint32(transport.StorageFull) {
			return nil, fmt.Errorf("verdict %d: %w", m.GetVerdict(), errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, ForwardReply: &transport.ForwardReply{
			Incarnation: m.GetIncarnation(), Origin: m.GetOrigin(), Seq: m.GetSeq(), Attempt: m.GetAttempt(),
			Verdict: transport.Verdict(m.GetVerdict()), Term: m.GetTerm(), Index: m.GetIndex(),
		}})
	}
	for _, m := range f.GetForms() {
		o := &transport.Form{Config: m.GetConfig()}
		ok := m.GetKind() <= math.MaxUint8 && m.GetState() <= math.MaxUint8
		o.Kind, o.State = transport.FormKind(m.GetKind()), transport.FormState(m.GetState())
		ok = ok && o.Kind >= transport.FormHello && o.Kind <= transport.FormCommit && o.State >= transport.FormEmpty && o.State <= transport.FormMember
		for _, id := range []struct {
			to   *[16]byte
			from []byte
		}{{&o.Cluster, m.GetCluster()}, {&o.Life, m.GetLife()}, {&o.Echo, m.GetEcho()}} {
			ok = ok && copy(id.to[:], id.from) == len(id.to) && len(id.from) == len(id.to)
		}
		if !ok {
			return nil, fmt.Errorf("form message: %w", errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, Form: o})
	}
	out, err := imageMessagesOf(out, f, from, to)
	if err != nil {
		return nil, err
	}
	if out, err = claimsOf(out, f, from, to); err != nil {
		return nil, err
	}
	for _, m := range out {
		if v := since(m); v > version {
			return nil, fmt.Errorf("a message of wire version %d on a stream of %d: %w", v, version, errFrame)
		}
	}
	return out, nil
}

// imageMessagesOf appends what a frame holds about images and digests.
func imageMessagesOf(out []transport.Message, f *wire.Frame, from, to uint64) ([]transport.Message, error) {
	for _, m := range f.GetImages() {
		out = append(out, transport.Message{From: from, To: to, Image: &transport.Image{
			Incarnation: m.GetIncarnation(), Transfer: m.GetTransfer(), Term: m.GetTerm(), Index: m.GetIndex(),
			Size: m.GetSize(), Offset: m.GetOffset(), Data: m.GetData(), Sum: m.GetSum(),
		}})
	}
	for _, m := range f.GetImageReplies() {
		if m.GetVerdict() == 0 || m.GetVerdict() > uint32(transport.ImageDamaged) {
			return nil, fmt.Errorf("verdict %d on an image: %w", m.GetVerdict(), errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, ImageReply: &transport.ImageReply{
			Incarnation: m.GetIncarnation(), Transfer: m.GetTransfer(), Verdict: transport.ImageVerdict(m.GetVerdict()), Offset: m.GetOffset(),
		}})
	}
	for _, m := range f.GetImageRequests() {
		out = append(out, transport.Message{From: from, To: to, ImageRequest: &transport.ImageRequest{First: m.GetFirst()}})
	}
	for _, m := range f.GetDigests() {
		d := &transport.Digest{Index: m.GetIndex(), Asked: m.GetAsked()}
		if copy(d.Hash[:], m.GetHash()) != len(d.Hash) || len(m.GetHash()) != len(d.Hash) {
			return nil, fmt.Errorf("digest of %d bytes: %w", len(m.GetHash()), errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, Digest: d})
	}
	return out, nil
}

// claimsOf appends what a frame holds about seats.
func claimsOf(out []transport.Message, f *wire.Frame, from, to uint64) ([]transport.Message, error) {
	for _, m := range f.GetClaims() {
		if m.GetVersion() == 0 || m.GetVersion() > math.MaxUint8 {
			return nil, fmt.Errorf("claim of one who knows version %d: %w", m.GetVersion(), errFrame)
		}
		c := &transport.Claim{Version: uint8(m.GetVersion())}
		if copy(c.Life[:], m.GetLife()) != len(c.Life) || len(m.GetLife()) != len(c.Life) || c.Life == [16]byte{} {
			return nil, fmt.Errorf("claim of no life: %w", errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, Claim: c})
	}
	for _, m := range f.GetClaimReplies() {
		if m.GetVerdict() == 0 || m.GetVerdict() > uint32(transport.ClaimGone) {
			return nil, fmt.Errorf("verdict %d on a claim: %w", m.GetVerdict(), errFrame)
		}
		if len(m.GetMembers()) > maxMembers {
			return nil, fmt.Errorf("answer to a claim with %d members: %w", len(m.GetMembers()), errFrame)
		}
		r := &transport.ClaimReply{Verdict: transport.ClaimVerdict(m.GetVerdict()), Last: m.GetLast(), Commit: m.GetCommit(), CommitTerm: m.GetCommitTerm()}
		for _, p := range m.GetMembers() {
			if len(p.GetName()) > maxNameBytes || len(p.GetAddress()) > maxNameBytes {
				return nil, fmt.Errorf("answer to a claim with a member of a long name or address: %w", errFrame)
			}
			r.Members = append(r.Members, transport.Peer{RaftID: p.GetRaftId(), Name: p.GetName(), Address: p.GetAddress()})
		}
		if copy(r.Life[:], m.GetLife()) != len(r.Life) || len(m.GetLife()) != len(r.Life) {
			return nil, fmt.Errorf("answer to a claim of no life: %w", errFrame)
		}
		out = append(out, transport.Message{From: from, To: to, ClaimReply: r})
	}
	return out, nil
}

// isForm tells what may be said before both sides are members of the cluster: how that begins, and who comes
// for a seat.
func isForm(m transport.Message) bool { return m.Form != nil || m.Claim != nil || m.ClaimReply != nil }
