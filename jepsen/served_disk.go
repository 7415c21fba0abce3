package jepsen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
)

// What lies in the directory of a run on a machine, beside what ssh.sh has there.
const (
	diskSocket  = "disk.sock" // where the disk takes orders
	diskContent = "disk"      // what it holds
	diskNotes   = "disk.log"  // what was done to it
)

// diskOrder is what a disk that another process serves is told, and diskAnswer what comes of it.
type (
	diskOrder struct {
		Do     string    // see nodeDisk.obey
		State  DiskState // to be
		Damage Damage    // to be done
	}
	diskAnswer struct {
		Plain string // why it is a plain directory; "": it is not
		Did   string // what was damaged
		Error string
		// Hits is how many requests it refused, or took longer for; Forgot what it lost with its power.
		Hits, Forgot uint64
	}
)

// ServeDisk serves the disk of a node, on its machine, until ctx ends: what it holds is in dir, and it is mounted at data. It obeys
// [TellDisk]. If plain says why, or a file system of this process cannot be mounted, data is a directory like others.
func ServeDisk(ctx context.Context, dir, data string, seed uint64, plain string) error {
	d := &nodeDisk{at: data, log: filepath.Join(dir, diskNotes), on: func(do func() error) error { return do() }}
	if plain == "" {
		if err := d.insert(filepath.Join(dir, diskContent), seed); err != nil {
			plain = err.Error()
		}
	}
	// Who waits for the socket finds somebody who listens.
	socket := filepath.Join(dir, diskSocket)
	var c net.ListenConfig
	l, err := c.Listen(ctx, "unix", socket+".new")
	if err != nil {
		return errors.Join(err, d.close())
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	err = os.Rename(socket+".new", socket)
	for err == nil {
		var conn net.Conn
		if conn, err = l.Accept(); err == nil {
			d.answer(conn, plain)
		}
	}
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, d.close())
}

// answer does what one caller wants. Only one does at a time.
func (d *nodeDisk) answer(conn net.Conn, plain string) {
	defer conn.Close()
	var order diskOrder
	answer := diskAnswer{Plain: plain}
	err := json.NewDecoder(conn).Decode(&order)
	if err == nil {
		err = d.obey(order, &answer)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(answer) // whoever does not wait for it does not want it
}

func (d *nodeDisk) obey(order diskOrder, answer *diskAnswer) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch order.Do {
	case "nothing":
	case "be":
		if !d.set(order.State) && order.State != (DiskState{}) {
			return errors.New("it is a directory")
		}
	case "lose power":
		if d.disk == nil {
			return errors.New("it is a directory")
		}
		d.cut()
	case "be ready": // with what it did not forget
		return d.ready()
	case "be damaged":
		answer.Did, err = d.harm(order.Damage)
	case "count":
		answer.Hits, answer.Forgot = d.hits(), d.forgot.Load()
	default:
		return fmt.Errorf("a disk cannot %q", order.Do)
	}
	return err
}

// TellDisk has a disk that is served obey an order, which is JSON, as is the answer.
func TellDisk(ctx context.Context, dir string, order io.Reader, answer io.Writer) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(dir, diskSocket))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := io.Copy(conn, order); err != nil {
		return err
	}
	var a diskAnswer
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return fmt.Errorf("the disk does not answer: %w", err)
	}
	if a.Error != "" {
		return fmt.Errorf("the disk: %s", a.Error)
	}
	return json.NewEncoder(answer).Encode(a)
}
