package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"github.com/confman/confman/wal"
)

func diskRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestDiskIsAFileSystem(t *testing.T) {
	d := NewDisk(diskRand(1))
	_, err := d.Open("b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, err := d.Create("b")
	require.NoError(t, err)
	_, err = d.Create("b")
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = f.WriteAt([]byte("abc"), 2)
	require.NoError(t, err)
	require.NoError(t, f.Allocate(1000))
	b := make([]byte, 7)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	assert.Equal(t, "\x00\x00abc\x00\x00", string(b))
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Sync(), fs.ErrClosed)
	require.NoError(t, d.Rename("b", "a"))
	_, err = d.Create("c")
	require.NoError(t, err)
	names, err := d.List()
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "c"}, names)
	require.NoError(t, d.Remove("a"))
	require.ErrorIs(t, d.Remove("a"), fs.ErrNotExist)
}

// TestDiskCrash crashes many times and sees everything that may become of what was not synced.
func TestDiskCrash(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(300) {
		d := NewDisk(diskRand(seed))
		f, err := d.Create("a")
		require.NoError(t, err)
		require.NoError(t, f.Allocate(3*sectorBytes))
		write := func(c byte, sector int64) {
			_, err := f.WriteAt(bytes.Repeat([]byte{c}, sectorBytes), sector*sectorBytes)
			require.NoError(t, err)
		}
		write('d', 0)
		require.NoError(t, f.Sync())
		require.NoError(t, d.SyncDir())
		write('1', 1)
		write('2', 1)
		write('3', 2)
		_, err = d.Create("unsynced")
		require.NoError(t, err)

		d = d.Crash()
		_, err = f.WriteAt([]byte("x"), 0)
		require.ErrorIs(t, err, ErrPowerLost)
		_, err = d.Open("unsynced")
		seen[fmt.Sprintf("unsynced name: %v", err == nil)]++
		f, err = d.Open("a")
		require.NoError(t, err)
		b := make([]byte, 3*sectorBytes)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte("d"), sectorBytes), b[:sectorBytes])
		one, two := b[sectorBytes:2*sectorBytes], b[2*sectorBytes:]
		state := func(b []byte) string {
			if b[0] == b[sectorBytes-1] {
				return string(b[:1])
			}
			return "torn"
		}
		seen["overwritten: "+state(one)]++
		seen["written once: "+state(two)]++
		if state(one) == "\x00" && state(two) == "3" {
			seen["the later write only"]++
		}
	}
	for _, what := range []string{
		"unsynced name: true", "unsynced name: false", "the later write only",
		"overwritten: \x00", "overwritten: 1", "overwritten: 2", "overwritten: torn",
		"written once: \x00", "written once: 3", "written once: torn",
	} {
		assert.Greater(t, seen[what], 3, what)
	}
}

// TestDiskFailedSync: what a failed sync lost is there to see until the power
// goes, a further sync does not bring it to the disk, writing it again does.
func TestDiskFailedSync(t *testing.T) {
	lost := 0
	for seed := range uint64(100) {
		for _, again := range []bool{false, true} {
			d := NewDisk(diskRand(seed))
			f, err := d.Create("a")
			require.NoError(t, err)
			require.NoError(t, f.Allocate(sectorBytes))
			require.NoError(t, f.Sync())
			require.NoError(t, d.SyncDir())
			_, err = f.WriteAt([]byte("abc"), 0)
			require.NoError(t, err)
			d.Fault = func(op Op, _ string) error {
				if op == OpSync {
					return syscall.EIO
				}
				return nil
			}
			require.ErrorIs(t, f.Sync(), syscall.EIO)
			d.Fault = nil
			d = d.Kill()
			f, err = d.Open("a")
			require.NoError(t, err)
			b := make([]byte, 3)
			_, err = f.ReadAt(b, 0)
			require.NoError(t, err)
			require.Equal(t, "abc", string(b))
			if again {
				_, err = f.WriteAt(b, 0)
				require.NoError(t, err)
			}
			require.NoError(t, f.Sync())
			f, err = d.Crash().Open("a")
			require.NoError(t, err)
			_, err = f.ReadAt(b, 0)
			require.NoError(t, err)
			if again {
				require.Equal(t, "abc", string(b))
			} else if string(b) != "abc" {
				lost++
			}
		}
	}
	assert.InDelta(t, 50, lost, 25)
}

func TestDiskCapacity(t *testing.T) {
	d := NewDisk(diskRand(1))
	d.Capacity = 1000
	f, err := d.Create("a")
	require.NoError(t, err)
	require.NoError(t, f.Allocate(900))
	require.ErrorIs(t, f.Allocate(1001), syscall.ENOSPC)
	_, err = f.WriteAt(make([]byte, 50), 980)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = f.WriteAt(make([]byte, 50), 850)
	require.NoError(t, err)
	require.NoError(t, d.Remove("a"))
	assert.Zero(t, d.Used())
}

func TestDiskDamage(t *testing.T) {
	d := NewDisk(diskRand(1))
	f, err := d.Create("a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("abc"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir())
	require.NoError(t, d.FlipBit("a", 1))
	require.NoError(t, d.Truncate("a", 2))
	require.Error(t, d.FlipBit("a", 2))
	require.Error(t, d.Truncate("b", 0))
	f, err = d.Crash().Open("a")
	require.NoError(t, err)
	b := make([]byte, 2)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	assert.Equal(t, byte('a'), b[0])
	assert.NotEqual(t, byte('b'), b[1])
	size, err := f.Size()
	require.NoError(t, err)
	assert.EqualValues(t, 2, size)
}

// logState is what a log holds: the entries as "term:data", and the hard state.
type logState struct {
	entries []string
	hard    string
}

func (s logState) append(b wal.Batch) logState {
	if len(b.Entries) > 0 {
		keep := b.Entries[0].GetIndex() - 1
		s.entries = s.entries[:keep:keep]
		for _, e := range b.Entries {
			s.entries = append(s.entries, entryString(e))
		}
	}
	if b.HardState != nil {
		s.hard = hardString(b.HardState)
	}
	return s
}

func entryString(e *raftpb.Entry) string { return fmt.Sprintf("%d:%s", e.GetTerm(), e.GetData()) }

func hardString(hs *raftpb.HardState) string {
	return fmt.Sprintf("%d %d %d", hs.GetTerm(), hs.GetVote(), hs.GetCommit())
}

// differs says how a log that was opened differs from s.
func (s logState) differs(l *wal.Log, hs *raftpb.HardState) error {
	if got := hardString(hs); got != s.hard {
		return fmt.Errorf("hard state %s, want %s", got, s.hard)
	}
	if l.LastIndex() != uint64(len(s.entries)) {
		return fmt.Errorf("%d entries, want %d", l.LastIndex(), len(s.entries))
	}
	got, err := l.Entries(1, l.LastIndex()+1, 1<<30)
	if err != nil {
		return err
	}
	for i, e := range got {
		if e.GetIndex() != uint64(i+1) || entryString(e) != s.entries[i] {
			return fmt.Errorf("entry %d is %v, want %s", i+1, e, s.entries[i])
		}
	}
	return nil
}

// loggingNode is a log on a Disk, and what it may hold after a crash: the state
// that was last durable for sure, and that after each batch since.
type loggingNode struct {
	disk   *Disk
	opts   wal.Options
	log    *wal.Log
	states []logState
	term   uint64

	crashes, cuts, poisoned, full int
}

func (n *loggingNode) now() logState { return n.states[len(n.states)-1] }

func (n *loggingNode) settle() { n.states = n.states[len(n.states)-1:] }

// open opens the log: it must hold one of the states, and then that is what it holds.
func (n *loggingNode) open() error {
	l, found, err := wal.Open(n.disk, n.opts)
	if err != nil {
		return err
	}
	n.disk.Fault = nil // it was for the log, not for what follows
	if found.Cut != nil {
		n.cuts++
	}
	for _, s := range n.states {
		if err = s.differs(l, found.HardState); err == nil {
			n.log, n.states = l, []logState{s}
			return nil
		}
	}
	return fmt.Errorf("none of %d states; not the last, for: %w", len(n.states), err)
}

// act does something that a node does to its log.
func (n *loggingNode) act(rng *rand.Rand) error {
	last := uint64(len(n.now().entries))
	switch k := rng.IntN(20); k {
	case 0:
		if err := n.log.Prove(); err != nil {
			return err
		}
		n.settle()
		return nil
	case 1:
		if err := n.log.Close(); err != nil {
			return err
		}
		n.settle()
		return n.open()
	}
	b := wal.Batch{Sync: rng.IntN(3) > 0}
	if rng.IntN(2) == 0 {
		b.HardState = &raftpb.HardState{Term: new(n.term), Vote: new(uint64(rng.IntN(3))), Commit: new(rng.Uint64N(last + 1))}
	}
	from := last + 1
	if rng.IntN(8) == 0 {
		from = 1 + rng.Uint64N(last+1)
		n.term++
	}
	for i := range rng.Uint64N(6) {
		b.Entries = append(b.Entries, &raftpb.Entry{
			Index: new(from + i), Term: new(n.term),
			Data: bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(700)),
		})
	}
	n.states = append(n.states, n.now().append(b)) // if it fails, it may be there or not
	if err := n.log.Append(b); err != nil {
		return err
	}
	if b.Sync {
		n.settle()
	}
	return nil
}

// runLog lives through crashes, failures of the disk and full disks, decided by the seed.
func runLog(seed uint64, steps int) (*loggingNode, error) {
	rng := diskRand(seed)
	n := &loggingNode{
		disk:   NewDisk(rng),
		opts:   wal.Options{SegmentBytes: 1 << 10 << rng.IntN(4), ReserveBytes: 8 << 10, Nonce: rng.Uint64()},
		states: []logState{{hard: "0 0 0"}},
		term:   1,
	}
	if err := wal.Create(n.disk, n.opts); err != nil {
		return n, err
	}
	if err := n.open(); err != nil {
		return n, err
	}
	faulty := rng.IntN(2) == 0
	if rng.IntN(4) == 0 {
		n.disk.Capacity = 64 << 10
	}
	for range steps {
		countdown := rng.IntN(200)
		n.disk.Fault = func(Op, string) error {
			if countdown--; faulty && countdown == 0 {
				return syscall.EIO
			}
			return nil
		}
		// A crash comes between two operations of the disk, not of the log.
		var err error
		died := errors.New("died")
		if rng.IntN(10) == 0 {
			fault, left := n.disk.Fault, rng.IntN(20)
			n.disk.Fault = func(op Op, name string) error {
				if left--; left < 0 {
					return died
				}
				return fault(op, name)
			}
			for range 20 {
				if err = n.act(rng); err != nil {
					break
				}
			}
		} else {
			err = n.act(rng)
		}
		if err == nil {
			if n.log.Full() {
				n.full++
			}
			continue
		}
		switch {
		case errors.Is(err, died):
		case errors.Is(err, wal.ErrFull):
			n.disk.Capacity += 64 << 10
		case errors.Is(err, syscall.EIO):
			n.poisoned++
		default:
			return n, err
		}
		// The log is opened until that is not interrupted either.
		for {
			if rng.IntN(3) == 0 {
				n.disk = n.disk.Kill()
			} else {
				n.disk = n.disk.Crash()
				n.crashes++
			}
			n.disk.Fault = nil
			if rng.IntN(3) == 0 {
				left := rng.IntN(30)
				n.disk.Fault = func(Op, string) error {
					if left--; left < 0 {
						return died
					}
					return nil
				}
			}
			if err := n.open(); err == nil {
				break
			} else if !errors.Is(err, died) {
				return n, err
			}
		}
	}
	return n, nil
}

// TestLogSurvivesCrashes: what was synced is there after every crash, what was not
// is there up to some batch and nothing of it behind, and the log always opens.
func TestLogSurvivesCrashes(t *testing.T) {
	var all loggingNode
	for seed := range uint64(1500) {
		n, err := runLog(seed, 60)
		require.NoError(t, err, "seed %d", seed)
		all.crashes += n.crashes
		all.cuts += n.cuts
		all.poisoned += n.poisoned
		all.full += n.full
	}
	t.Logf("%d crashes, %d torn tails, %d failed operations, %d steps on a full disk", all.crashes, all.cuts, all.poisoned, all.full)
	assert.Greater(t, all.crashes, 1000)
	assert.Greater(t, all.cuts, 100)
	assert.Greater(t, all.poisoned, 100)
	assert.Greater(t, all.full, 100)
}

// TestLogSurvivesCrashesShrinking is the same with seeds that rapid chooses.
func TestLogSurvivesCrashesShrinking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, err := runLog(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 100).Draw(t, "steps"))
		require.NoError(t, err)
	})
}
