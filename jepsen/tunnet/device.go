package tunnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const deviceName = "tun0"

// openDevice makes an interface with the address in the calling thread's namespace, and loopback there.
func openDevice(address netip.Prefix) (io.ReadWriteCloser, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	if err := configure(fd, address); err != nil {
		_ = unix.Close(fd) // why it is no use is known
		return nil, err
	}
	// Not before the interface is there: until then the poller is told of an error.
	return os.NewFile(uintptr(fd), deviceName), nil
}

func configure(device int, address netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a socket: %w", err)
	}
	defer unix.Close(s)
	bits := net.CIDRMask(address.Bits(), 32)
	ip := address.Addr().As4()
	for _, step := range []struct {
		what string
		name string
		fd   int
		ask  uint
		with func(*unix.Ifreq) error
	}{
		{"making the interface", deviceName, device, unix.TUNSETIFF, number16(unix.IFF_TUN | unix.IFF_NO_PI)},
		{"the length of its queue", deviceName, s, unix.SIOCSIFTXQLEN, number32(deviceQueue)},
		{"its largest packet", deviceName, s, unix.SIOCSIFMTU, number32(MTU)},
		{"its address", deviceName, s, unix.SIOCSIFADDR, inet4(ip[:])},
		{"its network", deviceName, s, unix.SIOCSIFNETMASK, inet4(bits)},
		{"turning it on", deviceName, s, unix.SIOCSIFFLAGS, number16(unix.IFF_UP | unix.IFF_RUNNING)},
		{"turning loopback on", "lo", s, unix.SIOCSIFFLAGS, number16(unix.IFF_UP | unix.IFF_RUNNING)},
	} {
		r, err := unix.NewIfreq(step.name)
		if err != nil {
			return err
		}
		if err := step.with(r); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(step.fd, step.ask, r); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func number16(n uint16) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { r.SetUint16(n); return nil }
}

func number32(n uint32) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { r.SetUint32(n); return nil }
}

func inet4(ip []byte) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { return r.SetInet4Addr(ip) }
}
