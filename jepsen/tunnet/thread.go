package tunnet

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Go runs f in a goroutine on a thread that is nobody else's, whatever f makes of it: it ends with f. It is not the
// first thread of the process, which cannot end before the process does.
func Go(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		begun := make(chan struct{})
		go func() {
			runtime.LockOSThread() // another one: the first is still taken
			close(begun)
			f()
		}()
		<-begun
		runtime.UnlockOSThread()
	}()
}
