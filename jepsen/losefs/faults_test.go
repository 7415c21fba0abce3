package losefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/jepsen/losefs"
)

func TestFullDisk(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	r.disk.SetState(losefs.State{Bytes: 16 * 4096})
	free := func() (free uint64) {
		require.NoError(t, r.do(func() error {
			var st unix.Statfs_t
			err := unix.Statfs(r.at, &st)
			free = st.Bavail * uint64(st.Bsize)
			assert.Equal(t, uint64(16), st.Blocks)
			return err
		}))
		return free
	}
	require.NoError(t, r.step("create f"))
	require.NoError(t, r.step("allocate f 64"))
	assert.Equal(t, uint64(8*4096), free())
	require.ErrorIs(t, r.step("allocate f 129"), unix.ENOSPC)
	require.NoError(t, r.step("write f 127 a"))
	require.Zero(t, free())
	require.ErrorIs(t, r.step("write f 128 a"), unix.ENOSPC)
	require.ErrorIs(t, r.step("truncate f 200"), unix.ENOSPC)
	require.NoError(t, r.step("write f 0 a"), "what is there can be overwritten")
	require.NoError(t, r.step("create g"))
	require.ErrorIs(t, r.step("write g 0 b"), unix.ENOSPC)
	require.NoError(t, r.step("truncate f 120"))
	require.NoError(t, r.step("write g 0 b"))
	require.NoError(t, r.step("rename g f"), "what is replaced gives back its room")
	assert.Equal(t, uint64(15*4096), free())
	require.NoError(t, r.step("remove f"))
	assert.Equal(t, uint64(16*4096), free())
	r.disk.SetState(losefs.State{Bytes: 1})
	require.NoError(t, r.step("write g 1 b"), "it has no name any more, and takes no room")
}

func TestErrors(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	read := func() error {
		return r.do(func() error {
			_, err := unix.Pread(r.files["f"], make([]byte, losefs.PieceBytes), 0)
			return err
		})
	}
	r.steps("", "create f\nwrite f 0 ab\nsync f\nsyncdir .")
	require.NoError(t, r.step("open f"))
	require.NoError(t, read())
	for _, c := range []struct {
		name  string
		state losefs.State
		fails map[string]error
		works []string
	}{
		{"syncs", losefs.State{SyncError: true}, map[string]error{"sync f": unix.EIO, "syncdir .": unix.EIO}, []string{"write f 0 c"}},
		{"read-only", losefs.State{ReadOnly: true}, map[string]error{
			"write f 0 x": unix.EROFS, "truncate f 0": unix.EROFS, "allocate f 9": unix.EROFS, "create g": unix.EROFS, "remove f": unix.EROFS,
			"rename f g": unix.EROFS, "mkdir d": unix.EROFS,
		}, []string{"sync f"}},
		{"reads", losefs.State{ReadError: true}, map[string]error{"read": unix.EIO}, []string{"write f 0 c", "sync f"}},
		{"none", losefs.State{}, nil, []string{"read", "write f 0 c", "sync f", "syncdir ."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.disk.SetState(c.state)
			step := func(line string) error {
				if line == "read" {
					return read()
				}
				return r.step(line)
			}
			for line, want := range c.fails {
				require.ErrorIs(t, step(line), want, line)
			}
			for _, line := range c.works {
				require.NoError(t, step(line), line)
			}
		})
	}
}

// TestSlowSync: a sync takes its time, and power that is lost meanwhile ends the wait: the sync has not been.
func TestSlowSync(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	const delay = 50 * time.Millisecond
	r.disk.SetState(losefs.State{SyncDelay: delay})
	require.NoError(t, r.step("create f"))
	require.NoError(t, r.step("write f 0 a"))
	began := time.Now()
	require.NoError(t, r.step("sync f"))
	require.GreaterOrEqual(t, time.Since(began), delay)
	r.disk.SetState(losefs.State{SyncDelay: time.Hour})
	syncing := make(chan error)
	go func() { syncing <- r.step("sync f") }()
	r.disk.Cut()
	require.ErrorIs(t, <-syncing, unix.EIO)
}

// syncChild waits for a sync.
func syncChild(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fmt.Println("syncing")
	return f.Sync()
}

// TestKilledInSlowSync: who is killed does not wait for its sync to end.
func TestKilledInSlowSync(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	require.NoError(t, r.step("create f"))
	r.disk.SetState(losefs.State{SyncDelay: time.Hour})
	out := &syncingWriter{begun: make(chan struct{})}
	cmd := r.start("sync", out)
	<-out.begun
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

// syncingWriter waits for something to be written.
type syncingWriter struct {
	once  sync.Once
	begun chan struct{}
}

func (w *syncingWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	return len(b), nil
}

func TestCutAfter(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	require.NoError(t, r.step("create f"))
	r.disk.CutAfter(3)
	require.NoError(t, r.step("write f 0 a"))
	require.NoError(t, r.step("sync f"))
	require.ErrorIs(t, r.step("write f 1 b"), unix.EIO)
	require.ErrorIs(t, r.step("sync f"), unix.EIO)
}

// TestSettle: what was not synced is durable after it.
func TestSettle(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	r.steps("", "create f\nwrite f 0 a\ncreate g\nremove g")
	require.Error(t, r.disk.Settle(), "it is mounted")
	require.NoError(t, r.do(r.disk.Unmount))
	require.NoError(t, r.disk.Settle())
	l, err := r.disk.LosePower()
	require.NoError(t, err)
	assert.Zero(t, l)
	assert.Equal(t, "f=a", r.holds(""))
}

// TestUnmountLosesNothing: without a loss of power, all that was written is there, over mounts, too.
func TestUnmountLosesNothing(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	r.steps("", "create f\nwrite f 0 a")
	require.NoError(t, r.do(r.disk.Unmount))
	r.mount()
	r.steps("", "open f\nwrite f 1 b\nsync f\nsyncdir .")
	r.losePower()
	assert.Equal(t, "f=ab", r.holds(""))
}

func init() {
	children["lock"] = lockChild
	children["map"] = mapChild
	children["sync"] = syncChild
}

// lockChild takes the lock, if nobody has it.
func lockChild(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func TestLocks(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	require.NoError(t, r.step("create f"))
	var out strings.Builder
	require.NoError(t, r.start("lock", &out).Wait(), "%s", &out)
	require.NoError(t, r.do(func() error { return unix.Flock(r.files["f"], unix.LOCK_EX|unix.LOCK_NB) }))
	require.Error(t, r.start("lock", &out).Wait(), "it is locked")
	assert.Contains(t, out.String(), unix.EWOULDBLOCK.Error())
}

// mapChild maps a file once, and sees there all that is written to it by calls, also what makes it longer.
func mapChild(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	const page, pages = 4096, 32
	mem, err := unix.Mmap(int(f.Fd()), 0, page*pages, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := range 3 * pages {
		at := i % pages * page
		want := bytes.Repeat([]byte{byte(i + 1)}, page)
		if _, err := f.WriteAt(want, int64(at)); err != nil {
			return err
		}
		if !bytes.Equal(mem[at:at+page], want) {
			return fmt.Errorf("page %d is not as it was written", i%pages)
		}
		if i%5 == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return errors.Join(unix.Munmap(mem), f.Close())
}

func TestMappedFile(t *testing.T) {
	r := newRig(t, losefs.Options{})
	r.mount()
	var out strings.Builder
	require.NoError(t, r.start("map", &out).Wait(), "%s", &out)
}
