package lane

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// Answer is one answer. What it holds is the connection's and good until its next request.
type Answer struct {
	Status int
	Head   []byte // from the status line to the empty line
	Body   []byte
}

// Header is a header's value, nil if there is none; name as the server writes it, with ": ".
func (a *Answer) Header(name string) []byte {
	for at := 0; ; {
		i := bytes.Index(a.Head[at:], []byte(name))
		if i < 0 {
			return nil
		}
		at += i
		if at > 0 && a.Head[at-1] == '\n' {
			value := a.Head[at+len(name):]
			if end := bytes.IndexByte(value, '\r'); end >= 0 {
				value = value[:end]
			}
			return value
		}
		at += len(name)
	}
}

const (
	// firstBuffer holds an answer to everything but large values; a buffer grows with what comes.
	firstBuffer = 8 << 10
	// maxAnswer bounds what an answer may have: a value of 1 MiB in base64, with room.
	maxAnswer = 4 << 20
)

// conn is one connection, whose socket does not block.
type conn struct {
	fd   int
	addr string

	out []byte // of the request, what is not written yet
	in  []byte // all that came of the answer
	// Of the answer, once its head is there.
	head    int // its size, 0: not there yet
	status  int
	size    int // of the body, -1: in chunks
	decoded []byte
}

func dial(addr string) (*conn, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	to := &unix.SockaddrInet4{Port: tcp.Port}
	copy(to.Addr[:], tcp.IP.To4())
	// To connect blocks, which on loopback is short.
	if err := errors.Join(unix.Connect(fd, to), unix.SetNonblock(fd, true), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", addr, err), unix.Close(fd))
	}
	return &conn{fd: fd, addr: addr, in: make([]byte, 0, firstBuffer)}, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// send begins a request: what the socket does not take stays in out.
func (c *conn) send(request []byte) error {
	c.in, c.head = c.in[:0], 0
	c.out = request
	return c.flush()
}

func (c *conn) flush() error {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("%s: sending: %w", c.addr, err)
		default:
			c.out = c.out[n:]
		}
	}
	return nil
}

// receive reads once; done says that the answer is there.
func (c *conn) receive(a *Answer) (done bool, err error) {
	if len(c.in) == cap(c.in) {
		if len(c.in) >= maxAnswer {
			return false, fmt.Errorf("%s: an answer of more than %d bytes", c.addr, maxAnswer)
		}
		c.in = append(make([]byte, 0, 2*cap(c.in)), c.in...)
	}
	n, err := unix.Read(c.fd, c.in[len(c.in):cap(c.in)])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%s: receiving: %w", c.addr, err)
	case n == 0:
		return false, fmt.Errorf("%s: the server ended the connection", c.addr)
	}
	c.in = c.in[:len(c.in)+n]
	return c.parse(a)
}

var (
	emptyLine     = []byte("\r\n\r\n")
	contentLength = []byte("content-length")
	encoding      = []byte("transfer-encoding")
)

// parse looks whether the answer is whole, and takes it apart.
func (c *conn) parse(a *Answer) (done bool, err error) {
	if c.head == 0 {
		end := bytes.Index(c.in, emptyLine)
		if end < 0 {
			return false, nil
		}
		c.head = end + len(emptyLine)
		if c.status, c.size, err = parseHead(c.in[:end+2]); err != nil {
			return false, fmt.Errorf("%s: %w", c.addr, err)
		}
	}
	body := c.in[c.head:]
	if c.size >= 0 {
		if len(body) < c.size {
			return false, nil
		}
		if len(body) > c.size {
			return false, fmt.Errorf("%s: %d bytes after the answer", c.addr, len(body)-c.size)
		}
	} else {
		var rest []byte
		if c.decoded, rest, done, err = chunks(c.decoded[:0], body); err != nil || !done {
			return false, err
		}
		if len(rest) > 0 {
			return false, fmt.Errorf("%s: %d bytes after the answer", c.addr, len(rest))
		}
		body = c.decoded
	}
	*a = Answer{Status: c.status, Head: c.in[:c.head], Body: body}
	return true, nil
}

// parseHead takes what is needed of a head that ends with a line's end: the status, and the size of the body, -1: it comes
// in chunks.
func parseHead(head []byte) (status, size int, err error) {
	const version = "HTTP/1.1 "
	if len(head) < len(version)+3 || string(head[:len(version)]) != version {
		return 0, 0, fmt.Errorf("no answer of HTTP/1.1: %.40q", head)
	}
	status, ok := number(head[len(version) : len(version)+3])
	if !ok {
		return 0, 0, fmt.Errorf("no status: %.40q", head)
	}
	size, sized := 0, status == 204 || status == 304
	for rest := head; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, emptyLine[:2])
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		switch name := line[:colon]; {
		case bytes.EqualFold(name, contentLength):
			if size, ok = number(bytes.TrimSpace(line[colon+1:])); !ok {
				return 0, 0, fmt.Errorf("%q", line)
			}
			sized = true
		case bytes.EqualFold(name, encoding):
			size, sized = -1, true
		}
	}
	if !sized {
		return 0, 0, errors.New("an answer whose size nothing says")
	}
	return status, size, nil
}

// number is the decimal number that all of text is.
func number(text []byte) (n int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<40 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(text) > 0
}

// chunks decodes what came of a body in chunks; done says that it is whole, rest is what follows it.
func chunks(to, body []byte) (decoded, rest []byte, done bool, err error) {
	for {
		line, after, ok := bytes.Cut(body, emptyLine[:2])
		if !ok {
			return to, nil, false, nil
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return to, nil, false, fmt.Errorf("a chunk's size: %.20q", line)
		}
		if uint64(len(after)) < size+2 {
			return to, nil, false, nil
		}
		to = append(to, after[:size]...)
		body = after[size+2:] // an end of line follows each, and the last one without trailers
		if size == 0 {
			return to, body, true, nil
		}
	}
}
