package sim

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/transport"
)

// fill sets every field that v has to something that is not zero.
func fill(v reflect.Value, seed *uint64) {
	*seed++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), seed)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), seed)
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		}
		for i := range v.Len() {
			fill(v.Index(i), seed)
		}
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(*seed%200 + 1)
	case reflect.Int32:
		v.SetInt(int64(*seed%3 + 1))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*seed))
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *seed))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic(v.Kind().String())
	}
}

// everyMessage is a message of each kind with all fields set.
func everyMessage(t *testing.T) []transport.Message {
	t.Helper()
	seed := uint64(0)
	raft := &raftpb.Message{}
	v := reflect.ValueOf(raft).Elem()
	for i := range v.NumField() {
		// The two that never travel between nodes.
		if f := v.Type().Field(i); f.IsExported() && f.Name != "Snapshot" && f.Name != "Responses" {
			fill(v.Field(i), &seed)
		}
	}
	out := []transport.Message{{Raft: raft}, {Forward: new(transport.Forward)}, {ForwardReply: new(transport.ForwardReply)}, {Form: new(transport.Form)}}
	fill(reflect.ValueOf(out[1].Forward).Elem(), &seed)
	fill(reflect.ValueOf(out[2].ForwardReply).Elem(), &seed)
	fill(reflect.ValueOf(out[3].Form).Elem(), &seed)
	for i := range out {
		out[i].From, out[i].To = 1, 2
	}
	return out
}

// TestCloneForgetsNothing: a field that a new version adds must not get lost.
func TestCloneForgetsNothing(t *testing.T) {
	for _, m := range everyMessage(t) {
		c := cloneMessage(&m)
		require.True(t, proto.Equal(m.Raft, c.Raft))
		m.Raft, c.Raft = nil, nil
		require.Equal(t, m, c)
	}
}

func TestCloneSharesNothing(t *testing.T) {
	for _, m := range everyMessage(t) {
		before := encodeMessage(nil, &m)
		c := cloneMessage(&m)
		if c.Raft != nil {
			*c.Raft.Term++
			c.Raft.Context[0]++
			*c.Raft.Entries[0].Index++
			c.Raft.Entries[1].Data[0]++
		}
		if c.Forward != nil {
			c.Forward.Command[0]++
		}
		assert.Equal(t, before, encodeMessage(nil, &m))
	}
}

// TestEncodingTellsAllFieldsApart: no change of a field leaves the encoding as it was.
func TestEncodingTellsAllFieldsApart(t *testing.T) {
	for _, m := range everyMessage(t) {
		for _, p := range []any{m.Raft, m.Forward, m.ForwardReply, m.Form} {
			v := reflect.ValueOf(p)
			if v.IsNil() {
				continue
			}
			for i := range v.Elem().NumField() {
				field := v.Elem().Field(i)
				name := v.Elem().Type().Field(i).Name
				if !v.Elem().Type().Field(i).IsExported() || name == "Snapshot" || name == "Responses" {
					continue
				}
				before := encodeMessage(nil, &m)
				was := reflect.New(field.Type()).Elem()
				was.Set(field)
				field.SetZero()
				assert.NotEqual(t, before, encodeMessage(nil, &m), "%T.%s", p, name)
				field.Set(was)
			}
		}
	}
}

// TestTraceTellsOperationsApart: no change of a field, also of a part, leaves the
// encoding as it was.
func TestTraceTellsOperationsApart(t *testing.T) {
	var o linearizability.Op
	seed := uint64(0)
	fill(reflect.ValueOf(&o).Elem(), &seed)
	before := encodeOp(nil, &o)
	for _, part := range []reflect.Value{
		reflect.ValueOf(&o).Elem(), reflect.ValueOf(&o.Compares[1]).Elem(), reflect.ValueOf(&o.Steps[1]).Elem(),
	} {
		for i := range part.NumField() {
			field := part.Field(i)
			was := reflect.New(field.Type()).Elem()
			was.Set(field)
			field.SetZero()
			assert.NotEqual(t, before, encodeOp(nil, &o), "%v.%s", part.Type(), part.Type().Field(i).Name)
			field.Set(was)
		}
	}
	assert.Equal(t, before, encodeOp(nil, &o))
}

func TestQueueOrder(t *testing.T) {
	g := newGenerator(1, "queue")
	var q queue
	for range 1000 {
		q.push(event{at: g.Int64N(50)})
	}
	var last event
	for range 1000 {
		e := q.pop()
		require.True(t, last.at < e.at || last.at == e.at && last.seq < e.seq)
		last = e
	}
	require.Empty(t, q.heap)
	require.Len(t, q.free, len(q.events))
}

func TestClockMapsBack(t *testing.T) {
	g := newGenerator(1, "clock")
	for range 1000 {
		c := clock{base: g.between(0, 1<<40), since: g.Int64N(1 << 40), ppm: g.Int64N(200_001) - 100_000}
		now := c.since + 1 + g.Int64N(1<<42)
		back := c.world(c.at(now))
		require.Less(t, back, now)
		require.InDelta(t, now, back, 4)
	}
}
