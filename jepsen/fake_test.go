package jepsen

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeGround is a ground on which nothing runs: it does what it is told to as far as nemeses see, and complains of what no
// nemesis should ask for.
type fakeGround struct {
	machines []Machine
	cannot   []Capability

	mu         sync.Mutex
	lives      map[string]*fakeLife
	logs       map[string]string
	paused     map[string]bool
	links      map[Link]Condition
	disks      map[string]DiskState
	clocks     map[string]Clock
	lost       map[string]bool   // directories
	damaged    map[string]bool   // closed segments of the log
	seats      map[string]string // that nobody came for, by name
	given      int
	members    map[string]string // what they are, by name
	draining   map[string]bool
	complaints []string
}

type fakeLife struct {
	ended chan struct{}
	err   error
}

func newFake(nodes, spares int) *fakeGround {
	g := &fakeGround{
		lives: map[string]*fakeLife{}, logs: map[string]string{}, paused: map[string]bool{}, disks: map[string]DiskState{}, clocks: map[string]Clock{},
		lost: map[string]bool{}, damaged: map[string]bool{}, seats: map[string]string{}, members: map[string]string{}, draining: map[string]bool{},
	}
	for i := range nodes + spares {
		name := fmt.Sprintf("node%d", i+1)
		g.machines = append(g.machines, Machine{Name: name, URL: "http://" + name + ":5000", Spare: i >= nodes, Address: name, APIPort: 5000, RaftPort: 5001})
		if i < nodes {
			g.members[name] = "voter"
		}
	}
	return g
}

// complain needs mu.
func (g *fakeGround) complain(format string, args ...any) {
	g.complaints = append(g.complaints, fmt.Sprintf(format, args...))
}

func (g *fakeGround) Means() []string             { return []string{"nothing"} }
func (g *fakeGround) Machines() []Machine         { return g.machines }
func (g *fakeGround) Close(context.Context) error { return nil }

func (g *fakeGround) Can(c Capability) error {
	if slices.Contains(g.cannot, c) {
		return errors.New("not here")
	}
	return nil
}

// runs needs mu.
func (g *fakeGround) runs(name string) bool {
	l := g.lives[name]
	if l == nil {
		return false
	}
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

func (g *fakeGround) Runs(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs(name)
}

// end needs mu.
func (g *fakeGround) end(name string, err error, words string) {
	if !g.runs(name) {
		return
	}
	if words != "" {
		g.logs[name] += "time=12:00 level=INFO msg=serving\nconfman: " + words + "\n"
	}
	delete(g.paused, name)
	delete(g.draining, name)
	g.lives[name].err = err
	close(g.lives[name].ended)
}

var (
	errFakeKilled = errors.New("signal: killed")
	errFakeExit   = errors.New("exit status 1")
)

func (g *fakeGround) Start(_ context.Context, name string, args ...string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.runs(name) {
		g.complain("%s runs, and is started", name)
		return errRuns
	}
	g.lives[name] = &fakeLife{ended: make(chan struct{})}
	seat := ""
	if len(args) == 2 && args[0] == "--seat" {
		seat = args[1]
	}
	switch {
	case g.members[name] == "" || g.lost[name]:
		if seat == "" || seat != g.seats[name] {
			g.end(name, errFakeExit, "this node's data directory was lost or replaced\nwhat to do: replace the node")
			return nil
		}
		delete(g.seats, name)
		delete(g.lost, name)
		if g.members[name] == "" {
			g.members[name] = "learner"
		}
	case g.damaged[name]:
		g.end(name, errFakeExit, "wal: damaged\nwhat to do: keep the directory for an inquiry, and replace the node")
	case g.fails(name) != "":
		g.end(name, errFakeExit, g.fails(name))
	}
	return nil
}

// fails is why a node does not bear its disk. It needs mu.
func (g *fakeGround) fails(name string) string {
	switch d := g.disks[name]; {
	case d.SyncError, d.ReadError:
		return "sync: input/output error"
	case d.ReadOnly:
		return "write: read-only file system"
	}
	return ""
}

func (g *fakeGround) Signal(_ context.Context, name string, s Signal) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case s == Kill:
		g.end(name, errFakeKilled, "")
	case s == Terminate && g.paused[name]:
		g.complain("%s is paused, and told to stop", name)
	case s == Terminate:
		g.end(name, nil, "")
	case s == Stop && g.paused[name]:
		g.complain("%s is paused twice", name)
	case s == Stop:
		g.paused[name] = g.runs(name)
	case s == Continue:
		delete(g.paused, name)
	}
	return nil
}

func (g *fakeGround) Ended(ctx context.Context, name string) error {
	g.mu.Lock()
	l := g.lives[name]
	g.mu.Unlock()
	select {
	case <-l.ended:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *fakeGround) SetLinks(ctx context.Context, links map[Link]Condition) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.links = maps.Clone(links)
	return nil
}

func (g *fakeGround) SetDisk(ctx context.Context, name string, d DiskState) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if d != (DiskState{}) && g.disks[name] != (DiskState{}) {
		g.complain("the disk of %s is broken twice", name)
	}
	g.disks[name] = d
	if d.Bytes != 0 {
		g.logs[name] += "time=12:00 level=WARN msg=\"the room on the disk changed\" storage_full=true\n"
	}
	if why := g.fails(name); why != "" {
		time.AfterFunc(50*time.Millisecond, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.end(name, errFakeExit, why)
		})
	}
	return nil
}

func (g *fakeGround) LosePower(_ context.Context, names ...string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		g.end(name, errFakeKilled, "")
	}
	return nil
}

func (g *fakeGround) Damage(_ context.Context, name string, d Damage) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.runs(name) {
		g.complain("%s runs, and is damaged", name)
	}
	if d.Kind == LoseDirectory {
		g.lost[name] = true
		delete(g.damaged, name)
		return "all is gone", nil
	}
	for other := range g.damaged {
		g.complain("%s and %s are damaged", other, name)
	}
	g.damaged[name] = d.Kind == FlipLog || d.Kind == TruncateLog
	if !g.damaged[name] {
		delete(g.damaged, name)
	}
	return fmt.Sprintf("%s, %x", d.Kind, d.Seed), nil
}

func (g *fakeGround) SetClock(_ context.Context, name string, c Clock) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c != (Clock{}) && g.clocks[name] != (Clock{}) {
		g.complain("the clock of %s is wrong twice", name)
	}
	g.clocks[name] = c
	return nil
}

func (g *fakeGround) Collect(_ context.Context, dir string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, text := range g.logs {
		if err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Confman knows what nemeses ask for.
func (g *fakeGround) Confman(_ context.Context, args ...string) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for _, a := range args[2:] {
		if strings.HasPrefix(a, "--") {
			break
		}
		names = append(names, a)
	}
	switch args[1] {
	case "add", "replace":
		if g.seats[names[0]] != "" {
			return nil, errors.New("is there already")
		}
		g.given++
		g.seats[names[0]] = fmt.Sprintf("seat%d", g.given)
		return fmt.Appendf(nil, `{"id":%q,"seat":%q}`, names[0], g.seats[names[0]]), nil
	case "seat":
		return fmt.Appendf(nil, `{"id":%q,"seat":%q}`, names[0], g.seats[names[0]]), nil
	case "promote":
		for _, name := range promoted(args) {
			g.members[name] = "voter"
		}
	case "remove":
		for _, name := range promoted(args) {
			delete(g.members, name)
			g.end(name, errFakeExit, "this node was removed from its cluster")
		}
	case "drain":
		g.draining[names[0]] = !slices.Contains(args, "--off")
	}
	return []byte("{}"), nil
}

// promoted are the names after the flag that promote and remove get.
func promoted(args []string) (names []string) {
	for _, a := range args[2:] {
		if strings.HasPrefix(a, "node") {
			names = append(names, a)
		}
	}
	return names
}

// leader needs mu.
func (g *fakeGround) leader() string {
	for _, name := range slices.Sorted(maps.Keys(g.members)) {
		if g.runs(name) && !g.paused[name] && !g.draining[name] {
			return name
		}
	}
	return ""
}

// Dial is a connection to a node for one request.
func (g *fakeGround) Dial(_ context.Context, _, address string) (net.Conn, error) {
	name, _, _ := strings.Cut(address, ":")
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.runs(name) || g.paused[name] {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	go g.serve(there, name)
	return here, nil
}

func (g *fakeGround) serve(c net.Conn, name string) {
	defer c.Close()
	if c.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	g.mu.Lock()
	var answer any
	if strings.HasSuffix(req.URL.Path, "/members") {
		var items []map[string]any
		for _, m := range slices.Sorted(maps.Keys(g.members)) {
			items = append(items, map[string]any{"id": m, "membership": g.members[m], "wanted": g.members[m]})
		}
		answer = map[string]any{"items": items}
	} else {
		role := "follower"
		if g.leader() == name {
			role = "leader"
		}
		answer = map[string]any{"node": name, "role": role, "leader": g.leader(), "term": 1, "ready": !g.draining[name], "store_bytes": 1 << 20, "log_bytes": 1 << 20, "applied_index": 1, "state_hash": "00"}
	}
	g.mu.Unlock()
	text, err := json.Marshal(answer)
	if err == nil {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

// whole tells what is broken.
func (g *fakeGround) whole() (broken []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l, c := range g.links {
		if c != (Condition{}) {
			broken = append(broken, fmt.Sprintf("%v: %v", l, c))
		}
	}
	for _, m := range g.machines {
		name := m.Name
		if g.disks[name] != (DiskState{}) {
			broken = append(broken, "the disk of "+name)
		}
		if g.clocks[name] != (Clock{}) {
			broken = append(broken, "the clock of "+name)
		}
		if g.paused[name] {
			broken = append(broken, name+" is paused")
		}
		if g.draining[name] {
			broken = append(broken, name+" drains")
		}
		if g.members[name] != "" && (!g.runs(name) || g.damaged[name] || g.lost[name]) {
			broken = append(broken, name+" does not serve")
		}
		if g.members[name] == "" && g.runs(name) {
			broken = append(broken, name+" runs, and is no member")
		}
	}
	return append(broken, g.complaints...)
}
