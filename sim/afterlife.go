package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/confman/confman/fsm"
)

// afterlife has all stores apply what a log may hold though no world of this length
// comes to it: copies of writes that come very late, from around the edges of what is
// remembered of their origin, and of other lives; idempotency keys when they expire, and
// compaction of almost everything. The model says what they do.
func (w *World) afterlife() {
	w.judge.lived = len(w.judge.model.changes)
	for round := range 2 {
		var ents []fsm.Entry
		for _, r := range w.members() {
			if w.err != nil || r.tainted {
				continue
			}
			if ents == nil {
				ents = w.lateCopies(r.db.State(), round)
			}
			if err := r.outlive(ents); err != nil {
				w.fail(JudgeState, "%s: applying late copies of writes: %w", r.name, err)
			}
		}
	}
}

// lateCopies are entries of all origins that any node has seen.
func (w *World) lateCopies(s fsm.State, round int) []fsm.Entry {
	var out []fsm.Entry
	enter := func(cmd fsm.Command) {
		data, err := cmd.Encode()
		if err != nil {
			w.fail(JudgeInvariant, "a command does not encode: %w", err)
		}
		out = append(out, fsm.Entry{Index: s.Applied + fsm.Index(len(out)) + 1, Term: s.Term, Data: data})
	}
	add := func(o fsm.Origin, request string, op fsm.Op) {
		enter(fsm.Command{Origin: o, RequestID: request, Ops: []fsm.Op{op}})
	}
	write := func(o fsm.Origin) {
		name := fmt.Sprintf("late.%d.%d", o.Node, len(out))
		add(o, fmt.Sprintf("%s.%d", name, round), putOf(name, name))
	}
	for _, node := range slices.Sorted(maps.Keys(w.judge.model.origins)) {
		from := w.judge.model.origins[node]
		life, n := from.incarnation, from.newest
		for _, seq := range []uint64{n + 1, n + 1, n + 1 + fsm.WindowSize, n + 1, n + 2, n + 2, n + fsm.WindowSize, n + 1 + fsm.WindowSize} {
			write(fsm.Origin{Node: node, Incarnation: life, Seq: seq})
		}
		if life > 1 {
			write(fsm.Origin{Node: node, Incarnation: life - 1, Seq: n + 2 + fsm.WindowSize})
		}
		if round == 0 {
			continue
		}
		write(fsm.Origin{Node: node, Incarnation: life + 1, Seq: 2})
		write(fsm.Origin{Node: node, Incarnation: life, Seq: n + 3})
		write(fsm.Origin{Node: node, Incarnation: life + 1, Seq: 1})
	}
	for i, cmd := range lateCommands(round, s) {
		const stranger = 1 << 40 // a node that was a member once
		if cmd.Maintenance == nil {
			cmd.Origin = fsm.Origin{Node: stranger, Incarnation: uint64(round) + 1, Seq: uint64(i) + 1}
			cmd.RequestID = fmt.Sprintf("late.%d.%d", i, round)
		}
		enter(cmd)
	}
	return out
}

// lateCommands are of a node that nobody knows any more, and of leaders that let much time pass.
func lateCommands(round int, s fsm.State) []fsm.Command {
	do := func(ops ...fsm.Op) fsm.Command { return fsm.Command{Ops: ops} }
	under := func(key string, request byte, cmd fsm.Command) fsm.Command {
		cmd.Idempotency = fsm.Idempotency{Key: key, Request: [32]byte{request}}
		return cmd
	}
	pass := func(m fsm.Maintenance) fsm.Command { return fsm.Command{Maintenance: &m} }
	refused := do(putOf("late", "refused"))
	refused.Compares = []fsm.Compare{{Kind: fsm.RevisionIs, Key: "late", Revision: 1 << 50}}
	patch := under("patch", 1, refused)
	patch.Idempotency.OnlyIfDone = true
	otherwise := do(putOf("late", "then"))
	otherwise.Compares = []fsm.Compare{{Kind: fsm.KeyExists, Key: "late"}, {Kind: fsm.ValueIs, Key: "late", Value: []byte("y")}}
	otherwise.Else = []fsm.Op{putOf("late", "else"), putOf("late/2", "else")}
	cmds := []fsm.Command{
		do(putOf("late", "x")),
		do(fsm.Op{Kind: fsm.Put, Key: "late", Value: []byte("x"), ContentType: "text/html"}), // the type alone is another
		do(fsm.Op{Kind: fsm.Put, Key: "late", Value: []byte("x"), ContentType: "text/html"}),
		otherwise,
		do(fsm.Op{Kind: fsm.Delete, Key: "late"}),
		do(fsm.Op{Kind: fsm.Delete, Key: "late"}),
		do(fsm.Op{Kind: fsm.DeleteTree, Key: "late/"}), // what was put a moment ago
		do(fsm.Op{Kind: fsm.Restore, Revision: s.Revision + 1}),
	}
	if round == 0 {
		return append(cmds,
			under("late", 1, do(putOf("late", "keyed"))),
			under("refused", 1, refused), patch,
			pass(fsm.Maintenance{Elapsed: fsm.IdempotencyRetention - 1, KeepVersions: 2}),
			under("late", 1, do(putOf("late", "keyed"))), under("late", 2, do(putOf("late", "another"))),
			under("refused", 1, refused), under("patch", 1, do(putOf("late", "patched"))),
		)
	}
	return append(cmds,
		pass(fsm.Maintenance{Elapsed: 1}), // what was said first expires now, what was said last does not
		under("late", 1, do(putOf("late", "keyed again"))), under("patch", 1, do(putOf("late", "not patched"))),
		do(fsm.Op{Kind: fsm.Restore, Key: "late", Revision: s.Revision + 1}),
		pass(fsm.Maintenance{KeepVersions: 1}),
		do(fsm.Op{Kind: fsm.Restore, Key: "late", Revision: s.Revision + 2}), // not held
		do(fsm.Op{Kind: fsm.Restore, Key: "late/", Revision: s.Revision}),
		pass(fsm.Maintenance{Elapsed: 1, KeepFor: 1}),
		do(fsm.Op{Kind: fsm.Restore, Revision: s.Revision + 3}), // below the floor
		do(putOf("late", "last")),
	)
}

// outlive applies ents to r's store, has it written, and opens it again: what comes next
// meets what was read from the disk.
func (r *replica) outlive(ents []fsm.Entry) error {
	if r.storage.flush == nil {
		r.storage.flush = r.db.BeginFlush()
	}
	if err := r.commit(); err != nil {
		return err
	}
	for len(ents) > 0 {
		results, err := r.db.Apply(ents)
		if err != nil {
			return err
		}
		r.w.judge.appliedEntries(r, ents[:len(results)], results)
		ents = ents[len(results):] // what there was no room for
		r.storage.flush = r.db.BeginFlush()
		if err := r.commit(); err != nil {
			return err
		}
		r.storage.flush = nil
	}
	r.w.judge.count("late copies applied")
	r.closeViews()
	r.closeImage()
	if err := r.db.Close(); err != nil {
		return err
	}
	db, err := fsm.Open(r.store, r.storeOptions())
	if err != nil {
		return err
	}
	r.db = db
	return r.w.judge.opened(r, r.db.State())
}
