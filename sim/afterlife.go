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
	sovereign := principals[w.judge.sovereign()]
	enter := func(cmd fsm.Command) {
		if cmd.Maintenance == nil && len(cmd.Denials) == 0 && cmd.Principal.Kind == fsm.Anonymous {
			cmd.Principal = sovereign
		}
		data, err := cmd.EncodeAs(w.judge.model.members().version)
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
	for i, cmd := range append(lateCommands(round, s), w.lateRules(round)...) {
		const stranger = 1 << 40 // a node that was a member once
		if cmd.Maintenance == nil {
			cmd.Origin = fsm.Origin{Node: stranger, Incarnation: uint64(round) + 1, Seq: uint64(i) + 1}
		}
		if cmd.Maintenance == nil && len(cmd.Denials) == 0 {
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
	begins := do(putOf("late", "more"))
	begins.Compares = []fsm.Compare{{Kind: fsm.ValueIs, Key: "late", Value: []byte("el")}}
	cmds := []fsm.Command{
		do(putOf("late", "x")),
		do(fsm.Op{Kind: fsm.Put, Key: "late", Value: []byte("x"), ContentType: "text/html"}), // the type alone is another
		do(fsm.Op{Kind: fsm.Put, Key: "late", Value: []byte("x"), ContentType: "text/html"}),
		otherwise, begins, // what is there begins so, and is more
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

// lateRules change who may do what in ways that no world is sure to come to, and have some try what
// they may not any more.
func (w *World) lateRules(round int) []fsm.Command {
	const own, name = "ruled/", "late-scribe"
	subject := func(who int) string { return namesOfPrincipal(&principals[who])[0] }
	first := fsm.Op{Kind: fsm.Bootstrap, Value: []byte(subject(root))}
	p := w.judge.model.policy()
	by := root
	if p.required() {
		by = w.judge.sovereign()
	} else {
		p = p.after(&first)
	}
	do := func(who int, op fsm.Op) fsm.Command {
		return fsm.Command{Principal: principals[who], AcceptedAt: int64(round + 1), Ops: []fsm.Op{op}}
	}
	keyed := func(cmd fsm.Command, key string) fsm.Command {
		cmd.Idempotency = fsm.Idempotency{Key: fmt.Sprint(key, round), Request: [32]byte{7}}
		return cmd
	}
	put := func(path string, change func(n *fsm.Namespace)) fsm.Op {
		n := p.space(path).Namespace
		n.Bindings, n.Roles, n.Denied = slices.Clone(n.Bindings), slices.Clone(n.Roles), slices.Clone(n.Denied)
		change(&n)
		return fsm.Op{Kind: fsm.PutNamespace, Key: path, Value: n.Encode()}
	}
	scribe := func(n *fsm.Namespace) {
		n.Roles = slices.DeleteFunc(n.Roles, func(r fsm.Role) bool { return r.Name == name })
		n.Roles = append(n.Roles, fsm.Role{Name: name, Verbs: fsm.VerbWrite})
		bind(n, "editor", subject(alice))
	}
	write := func(n int) fsm.Op { return putOf(own+"x", fmt.Sprint(round, n)) }
	asks := do(robot, write(0))
	asks.Compares = []fsm.Compare{{Kind: fsm.ValueIs, Key: own + "x", Value: []byte("guessed")}}
	either := do(robot, write(0))
	either.Compares = []fsm.Compare{{Kind: fsm.KeyExists, Key: own + "x"}}
	either.Else = []fsm.Op{putOf("elsewhere", "may not")}
	cmds := []fsm.Command{
		do(nobody, put("", func(n *fsm.Namespace) { bind(n, administrator, subject(stranger)) })), // not by asking
		{Ops: []fsm.Op{first}},
		do(by, put("", func(n *fsm.Namespace) { n.Denied = nil; scribe(n) })),
		do(by, put(own, func(n *fsm.Namespace) {
			n.KeepVersions = 1
			bind(n, name, subject(robot))
			bind(n, "keeper-of-nothing", subject(robot))
		})), // there is no such role
		do(by, put(own, func(n *fsm.Namespace) { n.KeepVersions = 1; bind(n, name, subject(robot)) })),
		asks, either, // who may only write asks what is there, and would do something else otherwise
		do(robot, write(1)), do(robot, write(2)), do(robot, write(3)), keyed(do(robot, write(4)), "ruled"),
		do(alice, putOf("ruler", "may")),
		do(by, put("", func(n *fsm.Namespace) { scribe(n); n.Denied = []string{throughWhom(&principals[alice])} })),
		do(alice, putOf("ruler", "may not: her application is denied")),
		do(by, put("", func(n *fsm.Namespace) { scribe(n); n.Denied = []string{hisTeam()}; bind(n, "editor", subject(bob)) })),
		do(bob, putOf("ruler", "may not: his group is denied")),
		do(by, put("", func(n *fsm.Namespace) { n.Denied = nil; n.Roles = nil })), // one is in use
		do(by, fsm.Op{Kind: fsm.DeleteNamespace}),                                 // and so is the administrator
		do(by, put("", func(n *fsm.Namespace) { scribe(n); n.Denied = []string{subject(root), subject(second)} })),
		do(by, put("", func(n *fsm.Namespace) { // another would be left, but not who does it
			bind(n, administrator, subject(root))
			bind(n, administrator, subject(second))
			n.Denied = []string{subject(by)}
		})),
		do(robot, putOf("elsewhere", "may not")), do(robot, putOf("elsewhere", "may not")),
		do(robot, fsm.Op{Kind: fsm.DeleteTree, Key: own}),
		{Denials: []fsm.Denial{{Kind: fsm.DeniedAccess, Reason: "expired", Count: 3, First: 1, Last: 2}, {Kind: fsm.DeniedRead, Principal: subject(stranger), Path: "x", Verbs: fsm.VerbRead, Reason: "forbidden", Count: 1}}},
		do(robot, putOf("elsewhere", "may not")),
		do(robot, put(own, func(n *fsm.Namespace) { bind(n, administrator, subject(robot)) })),
		do(by, fsm.Op{Kind: fsm.DeleteNamespace, Key: own}),
		do(robot, write(5)), keyed(do(robot, write(4)), "ruled"), keyed(do(robot, write(6)), "other"),
		{Maintenance: &fsm.Maintenance{Elapsed: 1}},
		do(by, put(own, func(n *fsm.Namespace) { n.KeepVersions = 2; bind(n, "viewer", subject(robot)) })),
	}
	if round > 0 {
		cmds = append(cmds, fsm.Command{Maintenance: &fsm.Maintenance{Elapsed: 2, KeepFor: 1}}, do(stranger, write(7)), do(by, write(8)))
	}
	return cmds
}

// hisTeam is the group that bob is in, and denied with.
func hisTeam() string { return namesOfPrincipal(&principals[bob])[2] }

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
	if err := r.w.judge.opened(r, r.db.State()); err != nil {
		return err
	}
	view, err := r.db.View()
	if err != nil {
		return err
	}
	defer view.Close()
	return r.w.judge.policy(r, view)
}
