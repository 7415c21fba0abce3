package httpapi

import (
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// memberBody is what the body of an operation on members may say.
type memberBody struct {
	scanner
	ids       []string
	spec      fsm.MemberSpec
	evenFewer bool
	version   uint8
	to        string
	on        bool
	seen      []string
}

// parseMembers reads the body of an operation on members, in which there may be the named members, and must be
// the first so many of them.
func parseMembers(text []byte, required int, known ...string) (*memberBody, *syntaxError) {
	b := &memberBody{scanner: scanner{b: text}}
	if fault := b.begin(); fault != nil {
		return nil, fault
	}
	fault := b.object("an object", func(name string, at int) *syntaxError {
		if !slices.Contains(known, name) {
			return b.fault(at, "member %q is not one of this body: %s", name, strings.Join(known, ", "))
		}
		b.seen = append(b.seen, name)
		return b.member(name)
	})
	if fault == nil {
		fault = b.end()
	}
	if fault != nil {
		return nil, fault
	}
	for _, name := range known[:required] {
		if !slices.Contains(b.seen, name) {
			return nil, b.fault(0, "member %q is missing", name)
		}
	}
	if err := b.spec.Validate(); err != nil {
		return nil, b.fault(0, "address, api_port and raft_port go together: %s", strings.TrimPrefix(err.Error(), "fsm: "))
	}
	return b, nil
}

func (b *memberBody) member(name string) (fault *syntaxError) {
	at := b.i
	switch name {
	case "id":
		return b.id()
	case "ids":
		if fault = b.expect('[', "a list of names"); fault == nil {
			fault = b.members(']', b.id)
		}
		if fault == nil && len(b.ids) == 0 {
			fault = b.fault(at, "ids is empty: name a member")
		}
	case "address":
		b.spec.Address, fault = b.text()
	case "api_port":
		b.spec.APIPort, fault = b.port()
	case "raft_port":
		b.spec.RaftPort, fault = b.port()
	case "even_fewer":
		b.evenFewer, fault = b.flag()
	case "on":
		b.on, fault = b.flag()
	case "to":
		if b.to, fault = b.text(); fault == nil && b.to != "" {
			fault = b.name(at, b.to)
		}
	case "version":
		var n uint64
		if n, fault = b.number(fsm.Version); fault == nil {
			b.version = uint8(n)
		}
	}
	return fault
}

// id reads the name of a member, each once.
func (b *memberBody) id() *syntaxError {
	at := b.i
	id, fault := b.text()
	if fault == nil {
		fault = b.name(at, id)
	}
	if fault == nil && slices.Contains(b.ids, id) {
		fault = b.fault(at, "member %q is named twice", id)
	}
	if fault == nil && len(b.ids) == fsm.MaxMembers {
		fault = tooMany(b.fault(at, "more than %d members are named", fsm.MaxMembers), fsm.MaxMembers)
	}
	b.ids = append(b.ids, id)
	return fault
}

func (b *memberBody) name(at int, id string) *syntaxError {
	if err := fsm.ValidateMemberName(id); err != nil {
		return b.fault(at, "%s", strings.TrimPrefix(err.Error(), "fsm: "))
	}
	return nil
}

func (b *memberBody) port() (uint16, *syntaxError) {
	n, fault := b.number(1<<16 - 1)
	return uint16(n), fault
}

// number reads a whole number from 1 to most.
func (b *memberBody) number(most uint64) (uint64, *syntaxError) {
	start := b.i
	if c := b.peek(); c != '-' && (c < '0' || c > '9') {
		return 0, b.unexpected("a number")
	}
	if fault := b.skipNumber(); fault != nil {
		return 0, fault
	}
	n, err := strconv.ParseUint(string(b.b[start:b.i]), 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, b.fault(start, "%s is no whole number from 1 to %d", short(string(b.b[start:b.i])), most)
	}
	return n, nil
}
