package node

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// seedRaft makes raft's election jitter the same in every run of the test.
func seedRaft(t *testing.T, seed uint64) {
	was := rand.Reader
	var key [32]byte
	key[0] = byte(seed)
	rand.Reader = io.Reader(mathrand.NewChaCha8(key))
	t.Cleanup(func() { rand.Reader = was })
}

// memLog is a log whose every entry is durable.
type memLog struct {
	gone    uint64 // entries that were given up, or that a snapshot stands for
	term    uint64 // of the last of them
	entries []*raftpb.Entry
	marker  *wal.Marker // the newest
	fail    error
}

func (l *memLog) FirstIndex() uint64 { return l.gone + 1 }
func (l *memLog) LastIndex() uint64  { return l.gone + uint64(len(l.entries)) }

func (l *memLog) Term(i uint64) (uint64, error) {
	if l.fail != nil {
		return 0, l.fail
	}
	if i == l.gone {
		return l.term, nil
	}
	return l.entries[i-l.gone-1].GetTerm(), nil
}

func (l *memLog) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	if l.fail != nil {
		return nil, l.fail
	}
	n, size := lo, uint64(0)
	for n < hi && (n == lo || size < maxBytes) {
		size += uint64(entryBytes(l.entries[n-l.gone-1]))
		n++
	}
	return slices.Clone(l.entries[lo-l.gone-1 : n-l.gone-1]), nil
}

func (l *memLog) append(b wal.Batch) {
	if m := b.Snapshot; m != nil {
		l.marker, l.gone, l.term, l.entries = m, m.Index, m.Term, nil
	}
	if len(b.Entries) > 0 {
		l.entries = append(l.entries[:b.Entries[0].GetIndex()-l.gone-1], b.Entries...)
	}
}

func (l *memLog) truncate(index uint64) {
	if index <= l.gone {
		return
	}
	l.term, _ = l.Term(index)
	l.entries = slices.Clone(l.entries[index-l.gone:])
	l.gone = index
}

// stage is a cluster of cores whose every step a conversation decides.
type stage struct {
	t     *testing.T
	nodes []*actor
	wire  []transport.Message
	cut   uint64 // this node's messages are lost, both ways
	out   strings.Builder
	watch func(a *actor, e Effect) // sees every effect, if set

	settings  Settings
	imageSize int
	busy      bool                     // there is more to maintain
	behind    bool                     // at once
	hold      bool                     // pieces of images stay on the wire
	rival     *transport.Message       // arrives in the same step as that an image is verified
	applied   map[fsm.Index]fsm.Entry  // by whoever came first
	first     map[fsm.Origin]fsm.Index // where a command was applied first
}

type actor struct {
	id          uint64
	core        *Core
	down        bool
	incarnation uint64
	log         *memLog
	hard        *raftpb.HardState
	state       fsm.State
	flushed     fsm.State // what a crash leaves of state
	now         time.Duration
	damaged     error
	diverged    bool     // its state hash is another than the others'
	appends     []Effect // Append and Truncate
	applies     []Effect // Apply and Install
	images      []Effect // what is to be done with images
	open        *fsm.State
	incoming    []byte
	image       *fsm.State // verified, durable
	full, room  bool
	lingers     bool
}

func newStage(t *testing.T, n int, maintain bool) *stage {
	s := &stage{
		t: t, imageSize: 3000, settings: Settings{
			Checks: true, ScrubInterval: -1, CatchUpEntries: -1, ImageChunkBytes: 1000, ImageBytesPerSecond: 1 << 20, DigestInterval: time.Minute, FlushInterval: 5 * time.Second,
			MaintenanceInterval: -1, // unless the conversation is about it
		},
		applied: map[fsm.Index]fsm.Entry{}, first: map[fsm.Origin]fsm.Index{},
	}
	if maintain {
		s.settings.MaintenanceInterval = 0
	}
	var voters []uint64
	var members []fsm.Member
	for id := uint64(1); id <= uint64(n); id++ {
		voters = append(voters, id)
		members = append(members, fsm.Member{RaftID: id, Want: fsm.Voter, Life: fsm.Life{1}, Version: fsm.Version})
	}
	for _, id := range voters {
		a := &actor{id: id, log: &memLog{}, state: fsm.State{Conf: fsm.ConfState{Voters: voters}, Members: members, LastRaftID: uint64(n), Version: fsm.Version}}
		a.flushed = a.state
		s.nodes = append(s.nodes, a)
		s.start(a)
	}
	return s
}

func (s *stage) start(a *actor) {
	a.incarnation++
	a.down = false
	if m := a.log.marker; m != nil && a.image != nil && uint64(a.image.Applied) == m.Index && uint64(a.state.Applied) < m.Index {
		a.state, a.flushed, a.damaged = *a.image, *a.image, nil
	}
	a.image, a.open, a.incoming = nil, nil, nil
	core, err := NewCore(Config{
		Settings: s.settings, ID: a.id, Life: fsm.Life{1}, Incarnation: a.incarnation,
		HardState: a.hard, Log: a.log, State: a.state, Damaged: a.damaged, Now: a.now,
	})
	require.NoError(s.t, err)
	a.core = core
}

func (s *stage) kill(a *actor) {
	a.down, a.appends, a.applies, a.images, a.state, a.lingers = true, nil, nil, nil, a.flushed, false
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *stage) step(a *actor, ins ...Input) {
	if a.down {
		return
	}
	for _, e := range slices.Clone(a.core.Step(ins...)) {
		if s.watch != nil {
			s.watch(a, e)
		}
		switch e := e.(type) {
		case Send:
			if s.cut != a.id && s.cut != e.Message.To {
				s.wire = append(s.wire, e.Message)
				s.tell(e.Message)
			}
		case Append:
			a.appends = append(a.appends, e)
		case Truncate:
			s.say("%d truncates up to %d", a.id, e.Index)
			a.appends = append(a.appends, e)
		case Apply:
			a.applies = append(a.applies, e)
		case Install:
			s.say("%d installs %d", a.id, e.Index)
			a.applies = append(a.applies, e)
		case OpenImage, CloseImage, DropImage, VerifyImage:
			s.say("%d %T", a.id, e)
			a.images = append(a.images, e)
		case ReadImage, WriteImage:
			a.images = append(a.images, e)
		case Flush:
			a.flushed = a.state
			s.step(a, Flushed{Index: a.state.Applied, Term: a.state.Term})
		case Prove:
			a.full = a.full && !a.room
			s.step(a, Proved{Full: a.full})
		case ProposeReply:
			switch {
			case e.Err != nil:
				s.say("%d reply %d: %v", a.id, e.Request, e.Err)
			default:
				s.say("%d reply %d: applied at index %d", a.id, e.Request, e.Result.Index)
			}
		case ReadReply:
			if e.Err != nil {
				s.say("%d read %d: %v", a.id, e.Request, e.Err)
			} else {
				s.say("%d read %d: at index %d", a.id, e.Request, e.Index)
			}
		case Linger:
			require.False(s.t, a.lingers, "node %d lingers twice", a.id)
			a.lingers = true
		case Reconfigure:
		case Stop:
			s.say("%d stops: %v", a.id, e.Err)
		default:
			s.t.Fatalf("unhandled effect %T", e)
		}
	}
}

// imageBytes is an image: its state, and much more.
func (s *stage) imageBytes(state *fsm.State) []byte {
	b, err := json.Marshal(state)
	require.NoError(s.t, err)
	return append(b, bytes.Repeat([]byte{' '}, s.imageSize-len(b))...)
}

// handle does what a was asked to do with images.
func (s *stage) handle(a *actor) bool {
	done := len(a.images) > 0
	for len(a.images) > 0 {
		e := a.images[0]
		a.images = a.images[1:]
		switch e := e.(type) {
		case OpenImage:
			state := a.flushed
			a.open = &state
			s.step(a, ImageOpened{Transfer: e.Transfer, State: state, Size: uint64(s.imageSize)})
		case ReadImage:
			b := s.imageBytes(a.open)[e.Offset:][:e.Bytes]
			s.step(a, ImageRead{Transfer: e.Transfer, Offset: e.Offset, Data: b})
		case CloseImage:
			a.open = nil
		case WriteImage:
			if e.Offset == 0 {
				a.incoming = nil
			}
			require.Len(s.t, a.incoming, int(e.Offset), "node %d writes an image with a gap", a.id)
			a.incoming = append(a.incoming, e.Data...)
			s.step(a, ImageWritten{Offset: uint64(len(a.incoming))})
		case VerifyImage:
			var state fsm.State
			err := json.Unmarshal(a.incoming, &state)
			a.image = &state
			ins := []Input{ImageVerified{State: state, Err: err}}
			if s.rival != nil {
				ins, s.rival = append(ins, Receive{*s.rival}), nil
			}
			s.step(a, ins...)
		case DropImage:
			a.incoming, a.image = nil, nil
		default:
			s.t.Fatalf("%T is nothing to do with an image", e)
		}
	}
	return done
}

var verdicts = [...]string{"", "accepted", "not addressed", "not leader", "overloaded", "storage full"}

var imageVerdicts = [...]string{"", "wanted", "taken", "refused", "damaged"}

func (s *stage) tell(m transport.Message) {
	switch {
	case m.Image != nil:
		s.say("%d to %d: image %d of index %d, %d at %d of %d", m.From, m.To, m.Image.Transfer, m.Image.Index, len(m.Image.Data), m.Image.Offset, m.Image.Size)
	case m.ImageReply != nil:
		s.say("%d to %d: image %d %s from %d on", m.From, m.To, m.ImageReply.Transfer, imageVerdicts[m.ImageReply.Verdict], m.ImageReply.Offset)
	case m.ImageRequest != nil:
		s.say("%d to %d: asks for an image of index %d or more", m.From, m.To, m.ImageRequest.First)
	case m.Digest != nil && m.Digest.Asked:
		s.say("%d to %d: asks for the digest at %d", m.From, m.To, m.Digest.Index)
	case m.Digest != nil:
		s.say("%d to %d: digest at %d is %x", m.From, m.To, m.Digest.Index, m.Digest.Hash[:3])
	case m.Forward != nil:
		s.say("%d to %d: forward seq %d attempt %d for incarnation %d", m.From, m.To, m.Forward.Seq, m.Forward.Attempt, m.Forward.Addressee)
	case m.ForwardReply != nil:
		r := m.ForwardReply
		at := ""
		if r.Verdict == transport.Accepted {
			at = fmt.Sprintf(" at (%d, %d)", r.Term, r.Index)
		}
		s.say("%d to %d: seq %d attempt %d %s%s", m.From, m.To, r.Seq, r.Attempt, verdicts[r.Verdict], at)
	}
}

func (s *stage) disk(a *actor) bool {
	done := len(a.appends) > 0
	for len(a.appends) > 0 {
		next := a.appends[0]
		a.appends = a.appends[1:]
		if t, ok := next.(Truncate); ok {
			a.log.truncate(t.Index)
			s.step(a, Truncated{Full: a.full})
			continue
		}
		e := next.(Append)
		a.log.append(e.Batch)
		if e.Batch.HardState != nil {
			a.hard = e.Batch.HardState
		}
		s.step(a, Appended{Seq: e.Seq, Full: a.full})
	}
	return done
}

func (s *stage) apply(a *actor) bool {
	done := len(a.applies) > 0
	for len(a.applies) > 0 {
		next := a.applies[0]
		a.applies = a.applies[1:]
		if _, ok := next.(Install); ok {
			a.state, a.flushed, a.image, a.damaged, a.diverged = *a.image, *a.image, nil, nil, false
			s.step(a, Installed{State: a.state})
			continue
		}
		e := next.(Apply)
		if a.damaged != nil {
			continue
		}
		var results []fsm.Result
		for _, ent := range e.Entries {
			was, ok := s.applied[ent.Index]
			require.True(s.t, !ok || (was.Term == ent.Term && bytes.Equal(was.Data, ent.Data)), "node %d applies another entry at index %d than a node before", a.id, ent.Index)
			s.applied[ent.Index] = ent
			r := fsm.Result{Index: ent.Index, Term: ent.Term, Outcome: fsm.Empty}
			if cmd, err := fsm.Decode(ent.Data); err == nil && cmd.Maintenance != nil {
				r.Outcome, r.Busy, r.Behind = fsm.Maintained, s.busy || s.behind, s.behind
				if !ok {
					s.say("%d: %v of term %d pass at index %d", a.id, cmd.Maintenance.Elapsed, ent.Term, ent.Index)
				}
			} else if len(ent.Data) > 0 {
				r.Origin, _ = fsm.OriginOf(ent.Data)
				r.Outcome = fsm.Applied
				if first, ok := s.first[r.Origin]; !ok {
					s.first[r.Origin] = ent.Index
				} else if first < ent.Index {
					r.Outcome = fsm.Repeated
				}
			}
			if ent.Conf != nil && ent.Conf.Leave {
				a.state.Conf.VotersOutgoing = nil
				r.Outcome, r.Conf = fsm.ConfChanged, &a.state.Conf
			}
			a.state.Applied, a.state.Term = ent.Index, ent.Term
			results = append(results, r)
		}
		a.state.Hash = [32]byte{byte(a.state.Applied), byte(a.state.Applied >> 8), 1}
		if a.diverged {
			a.state.Hash[2] = 2
		}
		s.step(a, Applied{Results: results, State: a.state, OverlayBytes: int(a.state.Applied-a.flushed.Applied) * 100})
	}
	return done
}

func (s *stage) deliver(match func(transport.Message) bool) bool {
	was := s.wire
	s.wire = nil
	done := false
	for _, m := range was {
		if !match(m) {
			s.wire = append(s.wire, m)
			continue
		}
		done = true
		s.receive(m)
	}
	return done
}

// receive hands m to its receiver as a wire would: raft keeps what it is given,
// so each delivery is a copy.
func (s *stage) receive(m transport.Message) {
	if m.Raft != nil {
		m.Raft = proto.Clone(m.Raft).(*raftpb.Message)
	}
	if m.Image != nil {
		piece := *m.Image
		piece.Data = slices.Clone(piece.Data)
		m.Image = &piece
	}
	s.step(s.nodes[m.To-1], Receive{Message: m})
}

// run lets everything happen that needs no passing of time.
func (s *stage) run() {
	for busy := true; busy; {
		busy = s.deliver(func(m transport.Message) bool { return !s.hold || m.Image == nil })
		for _, a := range s.nodes {
			busy = s.disk(a) || busy
			busy = s.apply(a) || busy
			busy = s.handle(a) || busy
		}
	}
}

func (s *stage) tick(a *actor, n int) {
	for range n {
		a.now += 50 * time.Millisecond
		s.linger(a)
		s.step(a, Tick{Now: a.now})
	}
}

// linger ends the time that a asked for, if it did.
func (s *stage) linger(a *actor) {
	if a.lingers {
		a.lingers = false
		s.step(a, Lingered{})
	}
}

// elect ticks a until it leads; the others' clocks stand still.
func (s *stage) elect(a *actor) {
	for range 100 {
		s.tick(a, 1)
		s.run()
		if a.core.Status().Role == Leader {
			return
		}
	}
	s.t.Fatalf("node %d was not elected", a.id)
}

func (s *stage) command() []byte {
	cmd := fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "k", Value: []byte("v"), ContentType: "text/plain"}}}
	b, err := cmd.Encode()
	require.NoError(s.t, err)
	return b
}

func TestCoreConversations(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		seedRaft(t, 1)
		var s *stage
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			arg := func(name string, def int) int {
				if d.HasArg(name) {
					d.ScanArgs(t, name, &def)
				}
				return def
			}
			if d.Cmd == "nodes" {
				s = newStage(t, arg("n", 3), d.HasArg("maintain"))
				return ""
			}
			s.out.Reset()
			var a *actor
			if d.HasArg("node") {
				a = s.nodes[arg("node", 1)-1]
			}
			kind := func(m transport.Message) bool {
				switch {
				case d.HasArg("forwards"):
					return m.Forward != nil
				case d.HasArg("replies"):
					return m.ForwardReply != nil
				case d.HasArg("raft"):
					return m.Raft != nil
				case d.HasArg("pieces"):
					return m.Image != nil
				case d.HasArg("image-replies"):
					return m.ImageReply != nil
				case d.HasArg("digests"):
					return m.Digest != nil
				}
				return true
			}
			match := func(m transport.Message) bool {
				return kind(m) && (!d.HasArg("from") || m.From == uint64(arg("from", 0))) && (!d.HasArg("to") || m.To == uint64(arg("to", 0)))
			}
			switch d.Cmd {
			case "elect":
				s.elect(a)
			case "run":
				s.run()
			case "tick":
				s.tick(a, arg("count", 1))
			case "pass": // time, for all, with everything else at once
				for range arg("count", 1) {
					for _, a := range s.nodes {
						s.tick(a, 1)
					}
					s.run()
				}
			case "cut":
				s.cut = a.id
			case "heal":
				s.cut = 0
			case "rot":
				a.log.fail = errors.New("segment 1 at 512: damaged")
			case "propose":
				deadline := a.now + time.Duration(arg("seconds", 5))*time.Second
				s.step(a, Propose{Request: uint64(arg("request", 1)), Command: s.command(), Deadline: deadline})
			case "read":
				s.step(a, ReadIndex{Request: uint64(arg("request", 1)), Deadline: a.now + time.Duration(arg("seconds", 5))*time.Second})
			case "disk":
				s.disk(a)
			case "busy":
				s.busy = arg("is", 1) == 1
			case "behind":
				s.behind = arg("is", 1) == 1
			case "full":
				a.full, a.room = arg("is", 1) == 1, false
			case "room": // it has room, and its log will find out when it looks
				a.room = true
			case "apply":
				s.apply(a)
			case "deliver":
				s.deliver(match)
			case "drop":
				s.wire = slices.DeleteFunc(s.wire, match)
			case "repeat": // the network delivers a copy and keeps one
				was := slices.Clone(s.wire)
				s.deliver(match)
				s.wire = append(slices.DeleteFunc(was, func(m transport.Message) bool { return !match(m) }), s.wire...)
			case "hold":
				s.hold = true
			case "release":
				s.hold = false
			case "rival": // the first piece of another image of the same index is there once the next one is verified
				m := &transport.Image{Incarnation: 1, Transfer: 9, Term: uint64(arg("term", 1)), Index: uint64(arg("index", 1)), Size: 3000, Data: make([]byte, 1000)}
				m.Sum = imageSum(m)
				s.rival = &transport.Message{From: uint64(arg("from", 1)), To: a.id, Image: m}
			case "flip": // a bit of each piece of an image on its way
				for _, m := range s.wire {
					if m.Image != nil {
						m.Image.Data[0] ^= 1
					}
				}
			case "images":
				s.handle(a)
			case "damage":
				a.damaged = errors.New("record k of bucket keys: checksum does not match")
				if !a.down {
					s.step(a, Damaged{Err: a.damaged})
				}
			case "diverge":
				a.diverged = true
			case "kill":
				s.kill(a)
			case "start":
				s.start(a)
			case "status":
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			if d.Cmd == "status" || d.HasArg("status") {
				for _, a := range s.nodes {
					st := a.core.Status()
					if a.down {
						s.say("%d: down", a.id)
						continue
					}
					damage := ""
					if st.Damage != nil {
						damage = fmt.Sprintf(" damage: %v", st.Damage)
					}
					s.say("%d: %v term %d leader %d commit %d applied %d proposals %d reads %d fresh %v%s", a.id, st.Role, st.Term, st.Leader, st.Commit, st.Applied, st.Proposals, st.Reads, st.Fresh, damage)
				}
			}
			return s.out.String()
		})
	})
}

var _ raft.Storage = (*tail)(nil)
