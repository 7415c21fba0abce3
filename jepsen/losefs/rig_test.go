package losefs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/jepsen/losefs"
	"github.com/confman/confman/jepsen/tunnet"
)

// children are what the test's program does when it is started as another process: a process must not use a mapped file that it
// serves itself.
var children = map[string]func(dir string) error{}

const childVar = "LOSEFS_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		if err := children[name](os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// rig is a disk, and a thread on which it is mounted for nobody else.
type rig struct {
	t     *testing.T
	disk  *losefs.Disk
	at    string
	work  chan func() error
	done  chan error
	dir   string         // in which steps are done
	files map[string]int // open ones
}

// newRig makes a disk that is not mounted yet.
func newRig(t *testing.T, o losefs.Options) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, at: filepath.Join(dir, "mount"), work: make(chan func() error), done: make(chan error), files: map[string]int{}}
	require.NoError(t, os.Mkdir(r.at, 0o700))
	var err error
	r.disk, err = losefs.New(filepath.Join(dir, "disk"), o)
	require.NoError(t, err)
	tunnet.Go(func() { // the namespace ends with the thread
		for do := range r.work {
			r.done <- do()
		}
	})
	t.Cleanup(func() {
		r.closeFiles()
		require.NoError(t, r.do(r.disk.Unmount))
		close(r.work)
		require.NoError(t, r.disk.Close())
	})
	err = r.do(func() error {
		n, err := losefs.NewNamespace()
		if err != nil {
			return err
		}
		return n.Close()
	})
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("only root can mount here: %v", err)
	}
	require.NoError(t, err)
	return r
}

// do runs f on the thread.
func (r *rig) do(f func() error) error {
	r.work <- f
	return <-r.done
}

func (r *rig) mount() {
	r.t.Helper()
	err := r.do(func() error { return r.disk.Mount(r.at) })
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENODEV) {
		r.t.Skipf("there is no FUSE here: %v", err)
	}
	require.NoError(r.t, err)
}

func (r *rig) closeFiles() {
	for name, fd := range r.files {
		require.NoError(r.t, unix.Close(fd))
		delete(r.files, name)
	}
}

// losePower loses power while nobody uses the disk. It is not mounted then.
func (r *rig) losePower() losefs.Loss {
	r.t.Helper()
	r.closeFiles()
	r.disk.Cut()
	require.NoError(r.t, r.do(r.disk.Unmount))
	l, err := r.disk.LosePower()
	require.NoError(r.t, err)
	return l
}

// start starts a child in the mount.
func (r *rig) start(name string, out io.Writer) *exec.Cmd {
	r.t.Helper()
	self, err := os.Executable()
	require.NoError(r.t, err)
	cmd := exec.Command(self, r.at)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(r.t, r.do(cmd.Start))
	return cmd
}

// steps does, in a directory of the mount, what a text says, a line each.
func (r *rig) steps(dir, text string) {
	r.t.Helper()
	r.dir = dir
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			require.NoError(r.t, r.step(line), line)
		}
	}
	r.closeFiles()
}

// step does one thing. Pieces are named by the letter that they are full of.
func (r *rig) step(line string) error {
	if rest, fails := strings.CutPrefix(line, "fails "); fails {
		if err := r.step(rest); !errors.Is(err, unix.EIO) {
			return fmt.Errorf("it should have failed with EIO: %w", err)
		}
		return nil
	}
	var verb, a, b string
	var n int64
	_, _ = fmt.Sscan(line, &verb, &a, &n, &b) // what is not there is empty
	if verb == "rename" {
		_, _ = fmt.Sscan(line, &verb, &a, &b)
	}
	path := func(name string) string { return filepath.Join(r.at, r.dir, name) }
	open := func(flags int) error {
		fd, err := unix.Open(path(a), flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			r.files[a] = fd
		}
		return err
	}
	return r.do(func() error {
		switch verb {
		case "create":
			return open(unix.O_RDWR | unix.O_CREAT | unix.O_EXCL)
		case "open":
			return open(unix.O_RDWR)
		case "replace":
			return open(unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC)
		case "close":
			fd := r.files[a]
			delete(r.files, a)
			return unix.Close(fd)
		case "write":
			for i, x := range []byte(b) {
				if _, err := unix.Pwrite(r.files[a], []byte(strings.Repeat(string(x), losefs.PieceBytes)), (n+int64(i))*losefs.PieceBytes); err != nil {
					return err
				}
			}
			return nil
		case "truncate":
			return unix.Ftruncate(r.files[a], n*losefs.PieceBytes)
		case "allocate":
			return unix.Fallocate(r.files[a], 0, 0, n*losefs.PieceBytes)
		case "sync":
			return unix.Fdatasync(r.files[a])
		case "syncdir":
			fd, err := unix.Open(path(a), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Fsync(fd), unix.Close(fd))
		case "rename":
			return unix.Rename(path(a), path(b))
		case "remove":
			return unix.Unlink(path(a))
		case "mkdir":
			return unix.Mkdir(path(a), 0o700)
		case "rmdir":
			return unix.Rmdir(path(a))
		case "sound":
			r.disk.SetState(losefs.State{})
			return nil
		case "syncs-fail":
			r.disk.SetState(losefs.State{SyncError: true})
			return nil
		default:
			return fmt.Errorf("there is no step %q", verb)
		}
	})
}

// holds is what the disk holds in a directory: each file with the letters of its pieces, 0 for zeros, ~ for a piece that is cut off, ? for a mixture.
func (r *rig) holds(dir string) string {
	r.t.Helper()
	var all []string
	top := filepath.Join(r.disk.Files(), dir)
	require.NoError(r.t, filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			all = append(all, name+"/")
			return nil
		}
		b, err := os.ReadFile(path)
		all = append(all, name+"="+letters(b))
		return err
	}))
	return strings.Join(all, " ")
}

func letters(b []byte) string {
	text := ""
	for len(b) > 0 {
		piece := b[:min(len(b), losefs.PieceBytes)]
		b = b[len(piece):]
		letter := string(piece[0])
		switch {
		case strings.Trim(string(piece), letter) != "":
			letter = "?"
		case piece[0] == 0:
			letter = "0"
		}
		if len(piece) < losefs.PieceBytes {
			letter = "~"
		}
		text += letter
	}
	return text
}
