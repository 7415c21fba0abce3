package sim

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
	"github.com/confman/confman/wal"
)

var (
	// errCut is what a disk says that lost its power in the middle of something.
	errCut = errors.New("power lost here")
	// errDisk is a fault of the disk itself.
	errDisk = errors.New("input/output error")
)

// excused tells whether err comes of a fault of the disk that the world brought:
// then the node is right to stop.
func excused(err error) bool {
	return errors.Is(err, errDisk) || errors.Is(err, errShort) || errors.Is(err, wal.ErrFull) || errors.Is(err, syscall.ENOSPC)
}

// ending is how a process ends that does not end by itself.
type ending int

const (
	// powerLost: what was not synced is lost, kept or torn.
	powerLost ending = iota
	// killed: what was written is there, if the machine lives on.
	killed
)

// cutAfter lets n more operations on the machine's disks succeed; then the power is off.
func (r *replica) cutAfter(n int) { r.failAfter(n, errCut) }

// failAfter lets n more operations on the machine's disks succeed; all others fail with err.
func (r *replica) failAfter(n int, err error) {
	cut := func(Op, string) error {
		if n--; n < 0 {
			return err
		}
		return nil
	}
	r.home.Fault = cut
	if r.disk != nil {
		r.disk.Fault = cut
	}
}

// cutInSwitch does the same, n operations after a new segment got its name, if there
// is one.
func (r *replica) cutInSwitch(n int) {
	named := false
	r.disk.Fault = func(op Op, _ string) error {
		if named {
			n--
		}
		named = named || op == OpRename
		if n < 0 {
			if n == -1 {
				r.w.judge.count(tenderSwitch.String())
			}
			return errCut
		}
		return nil
	}
}

func (r *replica) uncut() {
	r.home.Fault = nil
	if r.disk != nil {
		r.disk.Fault = nil
	}
}

// crash ends the process at once. What its disk was at work on happened, did not
// happen, or happened in part.
func (r *replica) crash(how ending) {
	if !r.up {
		return
	}
	w := r.w
	text := "killed"
	if how == powerLost {
		text = "power lost"
		w.judge.count("power lost")
	} else {
		w.judge.count("killed")
	}
	w.note(linearizability.Event{Kind: linearizability.Crashed, Node: r.name, Text: text})
	r.breakOff()
	r.uncut()
	r.breakOffStore()
	r.abandon()
	if how == powerLost {
		r.home = r.home.Crash()
		if r.disk != nil {
			r.disk = r.disk.Crash()
		}
		r.bootClock()
	} else {
		r.home = r.home.Kill()
		if r.disk != nil {
			r.disk = r.disk.Kill()
		}
	}
	if how == killed {
		w.net.gone(r)
	}
	w.clients.dropped(r)
	w.after(w.nemesis.downtime(r), event{kind: evStart, node: r, life: r.life})
}

// breakOff does a part of what the log was at work on.
func (r *replica) breakOff() {
	if len(r.storage.appending) == 0 || r.log == nil || r.timing.IntN(3) == 0 {
		return
	}
	r.w.judge.count("crash: during an append")
	// Most appends are a write and a sync; a new segment takes more.
	r.cutAfter(pick(r.timing, 0, 1, 1, 2, 2, 3, 4, 6, 8, 10))
	if err := r.write(); err != nil && !errors.Is(err, errCut) && !excused(err) {
		r.w.fail(JudgeStop, "%s: writing the log: %w", r.name, err)
	}
}

// excuses tells whether err is of a store that the world has damaged.
func (r *replica) excuses(err error) bool { return r.tainted && errors.Is(err, fsm.ErrDamaged) }

// breakOffStore does, or does not, what the store and the image were at work on:
// each comes to one step that happens or not.
func (r *replica) breakOffStore() {
	s, w := &r.storage, r.w
	if s.flush != nil && r.db != nil && !s.broken && r.timing.IntN(2) == 0 {
		w.judge.count("crash: flush was done")
		if err := r.breakOffFlush(); err != nil && !r.excuses(err) {
			w.fail(JudgeStop, "%s: writing the database: %w", r.name, err)
		}
	}
	if s.swapping && r.db != nil && !s.broken {
		w.judge.count("crash: swapping in a copy")
		if r.timing.IntN(2) == 0 {
			if _, err := r.swap(); err != nil && !r.excuses(err) {
				w.fail(JudgeStop, "%s: swapping in a copy: %w", r.name, err)
			}
		}
	}
	if len(s.images.queue) > 0 {
		if e, ok := s.images.queue[0].(node.VerifyImage); ok {
			w.judge.count("crash: verifying an image")
			if r.timing.IntN(2) == 0 {
				if _, err := r.verifyImage(e.Index); err != nil {
					w.fail(JudgeStop, "%s: verifying an image: %w", r.name, err)
				}
			}
		}
	}
	if s.applying {
		if e, ok := s.applies[0].(node.Install); ok {
			w.judge.count("crash: installing an image")
			if r.timing.IntN(2) == 0 {
				if _, err := r.install(e.Index); err != nil && !errors.Is(err, errCut) {
					w.fail(JudgeStop, "%s: installing an image: %w", r.name, err)
				}
			}
		}
	}
}

// shutDown ends the process in order: what was applied is flushed, the log proven.
func (r *replica) shutDown() {
	w := r.w
	if !r.formed() || r.paused {
		r.crash(killed)
		return
	}
	w.judge.count("clean stop")
	w.note(linearizability.Event{Kind: linearizability.Crashed, Node: r.name, Text: "stopped in order"})
	r.uncut()
	if r.db != nil && !r.storage.broken && r.core.Status().Damage == nil {
		if r.storage.flush == nil {
			r.storage.flush = r.db.BeginFlush()
		}
		if err := r.commit(); err != nil && !r.excuses(err) {
			w.fail(JudgeStop, "%s: writing the database: %w", r.name, err)
			return
		}
	}
	if err := r.log.Close(); excused(err) {
		r.storage.flush = nil
		r.crash(killed)
		return
	} else if err != nil {
		w.fail(JudgeStop, "%s: closing the log: %w", r.name, err)
		return
	}
	r.shadow.synced()
	r.abandon()
	r.home, r.disk = r.home.Kill(), r.disk.Kill()
	w.clients.dropped(r)
	w.after(w.nemesis.downtime(r), event{kind: evStart, node: r, life: r.life})
}

// pause stops the process for a while; its machine runs on.
func (r *replica) pause(d time.Duration) {
	if !r.up || r.paused {
		return
	}
	r.paused = true
	r.w.judge.count("pause")
	r.w.note(linearizability.Event{Kind: linearizability.Paused, Node: r.name})
	r.w.after(d, event{kind: evResume, node: r, life: r.life})
}

func (r *replica) resume() {
	if !r.paused {
		return
	}
	r.paused, r.resumed = false, r.w.now
	r.w.note(linearizability.Event{Kind: linearizability.Resumed, Node: r.name})
	life := r.life
	r.drain()
	if r.life == life {
		r.work()
	}
}

// answer takes a request off the list of those without an answer.
func (r *replica) answer(request uint64) bool {
	i, ok := slices.BinarySearch(r.pending, request)
	if ok {
		r.pending = slices.Delete(r.pending, i, i+1)
	}
	return ok
}

// traceInputs and traceEffect put what a node is given and asks for into the hash;
// of messages the network does.
func (r *replica) traceInputs(ins []node.Input) {
	t := &r.w.trace
	t.add(r.id, uint64(len(ins)), uint64(r.now()))
	for _, in := range ins {
		switch in := in.(type) {
		case node.Tick:
			t.add(1, uint64(in.Now))
		case node.Receive:
			t.add(2, in.Message.From) // what it says was traced as it came
		case node.Propose:
			t.add(3, in.Request, uint64(in.Deadline), digest(in.Command))
		case node.ReadIndex:
			t.add(4, in.Request, uint64(in.Deadline))
		case node.Appended:
			t.add(5, in.Seq)
		case node.Applied:
			t.add(6, uint64(len(in.Results)), uint64(in.OverlayBytes))
		case node.Flushed:
			t.add(7, uint64(in.Index), uint64(in.OverlayBytes), uint64(in.Took))
		case node.Proved:
			t.add(8)
		case node.Scrubbed:
			t.add(9)
		case node.Unreachable:
			t.add(10, in.Peer)
		case node.Gone:
			t.add(25, in.Peer)
		case node.TransferLeadership:
			t.add(11, in.Peer)
		case node.Truncated:
			t.add(12)
		case node.ImageOpened:
			t.add(13, in.Transfer, uint64(in.State.Applied), in.Size)
		case node.ImageRead:
			t.add(14, in.Transfer, in.Offset, digest(in.Data))
		case node.ImageWritten:
			t.add(15, in.Offset)
		case node.ImageVerified:
			t.add(16, uint64(in.State.Applied))
		case node.Installed:
			t.add(17, uint64(in.State.Applied))
		case node.Damaged:
			t.add(18)
		case node.Drain:
			t.add(19)
			if in.On {
				t.add(1)
			}
		case node.Dismissed:
			t.add(20, in.Peer)
		case node.DiskLow:
			t.add(21)
		case node.FlushNow:
			t.add(22)
		case node.Lingered:
			t.add(26)
		case node.Repacked:
			t.add(23) // how far it came depends on bbolt's pages
		case node.Swapped:
			t.add(24)
		}
	}
}

func (r *replica) traceEffect(e node.Effect) {
	t := &r.w.trace
	switch e := e.(type) {
	case node.Send:
		t.add(1, e.Message.To)
	case node.Append:
		t.add(2, e.Seq, uint64(len(e.Batch.Entries)), e.Batch.HardState.GetTerm(), e.Batch.HardState.GetVote(), e.Batch.HardState.GetCommit())
	case node.Apply:
		t.add(3, uint64(e.Entries[0].Index), uint64(len(e.Entries)))
	case node.Flush:
		t.add(4)
	case node.Prove:
		t.add(5)
	case node.Scrub:
		t.add(6)
	case node.ProposeReply:
		t.add(7, e.Request, uint64(e.Result.Index), uint64(e.Result.Revision), uint64(e.Result.Outcome))
		if e.Err != nil {
			t.add(uint64(e.Err.Outcome))
		}
	case node.ReadReply:
		t.add(8, e.Request, uint64(e.Index))
		if e.Err != nil {
			t.add(1)
		}
	case node.Stop:
		t.add(9)
	case node.Truncate:
		t.add(10, e.Index)
	case node.OpenImage:
		t.add(11, e.Transfer)
	case node.ReadImage:
		t.add(12, e.Transfer, e.Offset, uint64(e.Bytes))
	case node.CloseImage:
		t.add(13, e.Transfer)
	case node.WriteImage:
		t.add(14, e.Offset, uint64(len(e.Data)))
	case node.VerifyImage:
		t.add(15, e.Index)
	case node.DropImage:
		t.add(16)
	case node.Install:
		t.add(17, e.Index)
	case node.Reconfigure:
		t.add(18, uint64(len(e.Members)), e.LastRaftID)
	case node.Repack:
		t.add(19, uint64(e.Budget))
	case node.Swap:
		t.add(20)
	case node.Linger:
		t.add(21)
	}
}
