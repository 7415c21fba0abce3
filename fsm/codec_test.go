package fsm

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"flag"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// goldenCommand has every field set, and each kind of compare and operation.
var goldenCommand = Command{
	Origin:     Origin{Node: 1, Incarnation: 2, Seq: 3},
	RequestID:  "req-42",
	AcceptedAt: 1769162400000000000,
	Source:     netip.MustParseAddr("10.0.1.10"),
	Comment:    "Zahlungsziel erhöht",
	Principal: Principal{
		Kind: User, Issuer: "https://login.example/t/v2.0", Tenant: "t-1", Object: "o-1", App: "a-1",
		Roles: []string{"Config.Write"}, Groups: [][16]byte{{1, 2, 3}, {0xff}},
	},
	Idempotency: Idempotency{Key: "try-7", Request: [32]byte{0: 0xaa, 31: 0xbb}, OnlyIfDone: true},
	Compares: []Compare{
		{Kind: KeyExists, Key: "a"},
		{Kind: KeyAbsent, Key: "b"},
		{Kind: RevisionIs, Key: "c/d", Revision: 300},
		{Kind: ValueIs, Key: "e", Value: []byte("29")},
	},
	Ops: []Op{
		{Kind: Put, Key: "c/d", Value: []byte("30"), ContentType: "application/json"},
		{Kind: Delete, Key: "a"},
		{Kind: DeleteTree, Key: "t/"},
		{Kind: Restore, Key: "r/", Revision: 299},
	},
	Else: []Op{
		{Kind: Put, Key: "e", Value: []byte{0xff}, ContentType: "application/octet-stream"},
		{Kind: Delete, Key: "f"},
		{Kind: Restore, Key: "c/d", Revision: 298},
	},
}

// goldenMaintenance has every field set.
var goldenMaintenance = Command{
	Maintenance: &Maintenance{Elapsed: time.Second, KeepFor: 30 * 24 * time.Hour, KeepVersions: 100},
}

// goldenNamespace has every field of a namespace set, goldenDenials every one of a denial.
var (
	goldenNamespace = Command{
		Origin:   Origin{Node: 1, Incarnation: 2, Seq: 4},
		Compares: []Compare{{Kind: NamespaceIs, Revision: 7}},
		Ops: []Op{putNamespace("", Namespace{
			Owner: "platform", Description: "Zahlungen", KeepVersions: 300,
			Bindings: []Binding{
				{"admin", []string{"cert:break-glass", "group:entra/t/0123abcd-0000-0000-0000-000000000001"}},
				{"deployer", []string{"app:entra/t/a%2Fb"}},
			},
			Roles:  []Role{{"deployer", VerbRead | VerbWrite | VerbAudit}},
			Denied: []string{"user:entra/t/gone"},
		})},
	}
	goldenBootstrap = Command{
		Origin: Origin{Node: 1, Incarnation: 2, Seq: 5},
		Ops:    []Op{{Kind: Bootstrap, Value: []byte("user:entra/t/first")}},
	}
	goldenMember = Command{
		Origin: Origin{Node: 1, Incarnation: 2, Seq: 7},
		Ops:    []Op{{Kind: ReplaceMember, Key: "node2", Value: (&MemberSpec{Address: "10.0.1.12", APIPort: 5000, RaftPort: 5001}).Encode()}},
	}
	goldenReport  = Command{Report: &Report{RaftID: 4, Life: Life{0xab, 15: 0xcd}, Version: 2}}
	goldenDenials = Command{
		Origin: Origin{Node: 1, Incarnation: 2, Seq: 6}, AcceptedAt: 9,
		Denials: []Denial{
			{
				Kind: DeniedRead, Principal: "user:entra/t/o", Verbs: VerbRead | VerbAudit, Path: "teams/", Reason: "forbidden",
				RequestID: "req-43", Source: netip.MustParseAddr("10.0.1.11"), Count: 300, First: 7, Last: 8,
			},
			{Kind: DeniedAccess, Reason: "expired", Count: 1},
		},
	}
)

// The encoding is in logs on disk: it changes only together with its version.
func TestGoldenCommand(t *testing.T) {
	traced := goldenCommand
	traced.Trace = Trace{ID: [16]byte{0x4b, 15: 0x36}, Span: [8]byte{0xf0, 7: 0xb7}, Flags: 1}
	b, err := traced.EncodeAs(1)
	require.NoError(t, err)
	requireGolden(t, "command_v1", b)
	got, err := Decode(b)
	require.NoError(t, err)
	require.Equal(t, &goldenCommand, got, "version 1 has no trace")
	b = encode(t, traced)
	requireGolden(t, "command_v2", b)
	got, err = Decode(b)
	require.NoError(t, err)
	require.Equal(t, &traced, got)
	_, err = decodeAs(b, 1)
	require.ErrorIs(t, err, ErrUnknownVersion)

	for name, cmd := range map[string]Command{
		"namespace_v1": goldenNamespace, "bootstrap_v1": goldenBootstrap, "denials_v1": goldenDenials, "member_v1": goldenMember,
	} {
		b, err = cmd.EncodeAs(1)
		require.NoError(t, err)
		requireGolden(t, name, b)
		got, err = Decode(b)
		require.NoError(t, err)
		require.Equal(t, &cmd, got)
		o, ok := OriginOf(b)
		require.True(t, ok)
		require.Equal(t, cmd.Origin, o)
		for cut := range len(b) {
			_, err = Decode(b[:cut])
			require.ErrorIs(t, err, ErrUndecodable, "%s cut at %d", name, cut)
		}
		_, err = Decode(append(bytes.Clone(b), 0))
		require.ErrorIs(t, err, ErrUndecodable, "%s, and a byte", name)
	}

	b = encode(t, goldenReport)
	requireGolden(t, "report_v1", b)
	got, err = Decode(b)
	require.NoError(t, err)
	require.Equal(t, &goldenReport, got)

	b = encode(t, goldenMaintenance)
	requireGolden(t, "maintenance_v1", b)
	got, err = Decode(b)
	require.NoError(t, err)
	require.Equal(t, &goldenMaintenance, got)
	_, ok := OriginOf(b)
	require.False(t, ok, "it is no client's")
}

// requireGolden compares b with a file in testdata.
func requireGolden(t *testing.T, name string, b []byte) {
	t.Helper()
	path := "testdata/" + name + ".hex"
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(hex.Dump(b)), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), hex.Dump(b))
}

var genText = func(limit int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.StringN(0, 20, limit).Draw(t, "text")
		return strings.ToValidUTF8(s, "")
	})
}

var genMaintenance = rapid.Custom(func(t *rapid.T) Command {
	return Command{Maintenance: &Maintenance{
		Elapsed:      time.Duration(rapid.Int64Range(0, int64(MaxElapsed)).Draw(t, "elapsed")),
		KeepFor:      time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "keep for")),
		KeepVersions: rapid.IntRange(0, math.MaxInt).Draw(t, "keep versions"),
	}}
})

// genOps draws the operations of one branch.
var genOps = rapid.Custom(func(t *rapid.T) (ops []Op) {
	for _, key := range rapid.SliceOfNDistinct(genKey, 0, 4, rapid.ID[string]).Draw(t, "keys") {
		op := Op{Kind: rapid.SampledFrom([]OpKind{Put, Delete, Restore}).Draw(t, "op"), Key: key}
		switch op.Kind {
		case Put:
			op.ContentType = genText(MaxContentTypeBytes).Draw(t, "content type")
			op.Value = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		case Restore:
			op.Revision = Revision(rapid.Uint64().Draw(t, "revision"))
		default:
		}
		ops = append(ops, op)
	}
	tree := Op{Kind: rapid.SampledFrom([]OpKind{DeleteTree, Restore}).Draw(t, "tree"), Key: "tree/"}
	if tree.Kind == Restore {
		tree.Revision = Revision(rapid.Uint64().Draw(t, "revision"))
	}
	if rapid.Bool().Draw(t, "with a tree") {
		ops = append(ops, tree)
	}
	return ops
})

var genCommand = rapid.Custom(func(t *rapid.T) Command {
	c := Command{
		Origin: Origin{
			rapid.Uint64().Draw(t, "node"), rapid.Uint64().Draw(t, "incarnation"), rapid.Uint64().Draw(t, "seq"),
		},
		RequestID:  genText(MaxRequestIDBytes).Draw(t, "request id"),
		AcceptedAt: rapid.Int64().Draw(t, "accepted at"),
		Comment:    genText(MaxCommentBytes).Draw(t, "comment"),
		Principal: Principal{
			Kind:   rapid.SampledFrom([]PrincipalKind{Anonymous, User, ServicePrincipal, Certificate}).Draw(t, "kind"),
			Issuer: genText(MaxPrincipalBytes).Draw(t, "issuer"),
			Tenant: genText(MaxPrincipalBytes).Draw(t, "tenant"),
			Object: genText(MaxPrincipalBytes).Draw(t, "object"),
			App:    genText(MaxPrincipalBytes).Draw(t, "app"),
		},
	}
	if p := &c.Principal; p.Kind != Anonymous {
		p.Issuer, p.Object, p.App = cmp.Or(p.Issuer, "i"), cmp.Or(p.Object, "o"), cmp.Or(p.App, "a")
	}
	switch rapid.IntRange(0, 2).Draw(t, "source") {
	case 1:
		c.Source = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ipv4")))
	case 2:
		c.Source = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ipv6")))
	}
	for range rapid.IntRange(0, 3).Draw(t, "roles") {
		c.Principal.Roles = append(c.Principal.Roles, genText(MaxPrincipalBytes).Draw(t, "role"))
	}
	for range rapid.IntRange(0, 3).Draw(t, "groups") {
		c.Principal.Groups = append(c.Principal.Groups, [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "group")))
	}
	for range rapid.IntRange(0, 3).Draw(t, "compares") {
		cmp := Compare{Kind: rapid.SampledFrom([]CompareKind{KeyExists, KeyAbsent, RevisionIs, ValueIs}).Draw(t, "compare"), Key: genKey.Draw(t, "key")}
		if cmp.Kind == RevisionIs {
			cmp.Revision = Revision(rapid.Uint64().Draw(t, "revision"))
		}
		if cmp.Kind == ValueIs {
			cmp.Value = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		}
		c.Compares = append(c.Compares, cmp)
	}
	if rapid.Bool().Draw(t, "keyed") {
		c.Idempotency = Idempotency{
			Key:        "k" + genText(MaxIdempotencyKeyBytes-1).Draw(t, "idempotency key"),
			Request:    [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "request")),
			OnlyIfDone: rapid.Bool().Draw(t, "only if done"),
		}
	}
	if rapid.Bool().Draw(t, "traced") {
		c.Trace = Trace{ID: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace")), Flags: 1}
	}
	if rapid.Bool().Draw(t, "of members") {
		c.Compares = nil
		c.Ops = []Op{rapid.SampledFrom([]Op{
			{Kind: AddMember, Key: "n4", Value: (&MemberSpec{}).Encode()},
			{Kind: ReplaceMember, Key: "n4", Value: (&MemberSpec{Address: "10.0.0.4", APIPort: 5000, RaftPort: 5001}).Encode()},
			{Kind: PromoteMember, Key: "n4,n5"},
			{Kind: RemoveMember, Key: "n4,n5", Value: []byte(EvenFewer)},
			{Kind: FinalizeUpgrade, Value: []byte{Version}},
		}).Draw(t, "operation")}
		return c
	}
	c.Ops = genOps.Draw(t, "operations")
	if len(c.Compares) > 0 {
		c.Else = genOps.Draw(t, "else")
	}
	return c
})

func TestDecodeMaintenanceIsTheInverseOfEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genMaintenance.Draw(t, "maintenance")
		b := encode(t, c)
		got, err := Decode(b)
		require.NoError(t, err)
		require.Equal(t, &c, got)
		cut := rapid.IntRange(1, len(b)-1).Draw(t, "cut")
		_, err = Decode(b[:cut])
		require.ErrorIs(t, err, ErrUndecodable, "cut at %d", cut)
		_, err = Decode(append(bytes.Clone(b), 0))
		require.ErrorIs(t, err, ErrUndecodable, "a byte follows")
		b[rapid.IntRange(originAt, acceptedAt-1).Draw(t, "at")] = 1
		_, err = Decode(b)
		require.ErrorIs(t, err, ErrUndecodable, "it has an origin")
	})
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genCommand.Draw(t, "command")
		b := encode(t, c)
		got, err := Decode(b)
		require.NoError(t, err)
		require.Equal(t, &c, got)

		o := Origin{rapid.Uint64().Draw(t, "node"), 7, 8}
		SetOrigin(b, o)
		c.Origin = o
		require.Equal(t, encode(t, c), b, "stamping is the same as encoding")
		read, ok := OriginOf(b)
		require.True(t, ok)
		require.Equal(t, o, read)

		cut := rapid.IntRange(1, len(b)-1).Draw(t, "cut")
		_, err = Decode(b[:cut])
		require.ErrorIs(t, err, ErrUndecodable, "cut at %d", cut)
		_, err = Decode(append(bytes.Clone(b), 0))
		require.ErrorIs(t, err, ErrUndecodable, "a byte follows")
	})
}

// FuzzDecode: what decodes encodes to the same bytes, so no two encodings mean
// the same, and nothing past a limit gets in.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, goldenCommand))
	f.Add(encode(f, goldenMaintenance))
	f.Add(encode(f, goldenNamespace))
	f.Add(encode(f, goldenBootstrap))
	f.Add(encode(f, goldenDenials))
	f.Add(encode(f, Command{}))
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			if len(b) > 0 && b[0] != Version {
				require.ErrorIs(t, err, ErrUnknownVersion)
			} else {
				require.ErrorIs(t, err, ErrUndecodable)
			}
			return
		}
		again, err := c.Encode()
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := encode(t, goldenCommand)
	edit := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	long := bytes.Replace(good, []byte("\x06req-42"), []byte("\x86\x00req-42"), 1)
	require.NotEqual(t, good, long)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrUndecodable},
		{"version 0", edit(0, 0), ErrUnknownVersion},
		{"newer version", edit(0, Version+1), ErrUnknownVersion},
		{"newer version, nothing else", []byte{9}, ErrUnknownVersion},
		{"header only", good[:sourceAt], ErrUndecodable},
		{"unknown principal", edit(kindAt, 4), ErrUndecodable},
		{"address of 5 bytes", edit(sourceAt, 5), ErrUndecodable},
		{"length not in its shortest form", long, ErrUndecodable},
		{"invalid UTF-8", bytes.Replace(good, []byte("req"), []byte("r\xffq"), 1), ErrUndecodable},
		{"bad key", bytes.Replace(good, []byte("c/d"), []byte("c//"), 1), ErrUndecodable},
	} {
		_, err := Decode(c.b)
		assert.ErrorIs(t, err, c.want, c.name)
	}
}

func TestEncodeRefusesWhatIsOverALimit(t *testing.T) {
	many := func(n int) (ops []Op) {
		for i := range n {
			ops = append(ops, put("k/"+strings.Repeat("x", i/26+1)+string(rune('a'+i%26)), ""))
		}
		return ops
	}
	big := func(n int) (ops []Op) {
		ops = many(n)
		for i := range ops {
			ops[i].Value = make([]byte, MaxValueBytes)
		}
		return ops
	}
	compares := make([]Compare, MaxTxnOps+1)
	for i := range compares {
		compares[i] = Compare{Kind: KeyExists, Key: "a"}
	}
	for _, c := range []struct {
		name string
		cmd  Command
		text string // "" if it is allowed
	}{
		{"operations at the limit", Command{Ops: many(MaxTxnOps)}, ""},
		{"too many operations", Command{Ops: many(MaxTxnOps + 1)}, "operations of the transaction: 513, at most 512"},
		{"too many compares", Command{Compares: compares}, "compares of the transaction: 513, at most 512"},
		{"value at the limit", Command{Ops: big(1)}, ""},
		{"value too large", Command{Ops: []Op{put("a", strings.Repeat("x", MaxValueBytes+1))}}, `bytes of the value of "a": 1048577, at most 1048576`},
		{"transaction too large", Command{Ops: big(4)}, "bytes of the transaction"},
		{"comment too long", Command{Comment: strings.Repeat("x", MaxCommentBytes+1)}, "comment: 1025, at most 1024"},
		{"request id too long", Command{RequestID: strings.Repeat("x", MaxRequestIDBytes+1)}, "request id"},
		{"comment not UTF-8", Command{Comment: "\xff"}, "comment is not valid UTF-8"},
		{"content type too long", Command{Ops: []Op{{Kind: Put, Key: "a", ContentType: strings.Repeat("x", 256)}}}, "content type"},
		{"too many groups", Command{Principal: Principal{Groups: make([][16]byte, MaxGroups+1)}}, "groups of the principal"},
		{"too many roles", Command{Principal: Principal{Roles: make([]string, MaxRoles+1)}}, "roles of the principal"},
		{"issuer too long", Command{Principal: Principal{Issuer: strings.Repeat("x", MaxPrincipalBytes+1)}}, "issuer"},
		{"unknown principal", Command{Principal: Principal{Kind: 9}}, "principal of unknown kind 9"},
		{"user without an issuer", Command{Principal: Principal{Kind: User, Tenant: "i", Object: "o"}}, "principal of kind 1 lacks its issuer or its id"},
		{"user without an object", Command{Principal: Principal{Kind: User, Issuer: "i", Tenant: "o"}}, "principal of kind 1 lacks its issuer or its id"},
		{"application without its id", Command{Principal: Principal{Kind: ServicePrincipal, Issuer: "i", Tenant: "t", Object: "o"}}, "principal of kind 2 lacks its issuer or its id"},
		{"application without an issuer", Command{Principal: Principal{Kind: ServicePrincipal, Tenant: "t", App: "a"}}, "principal of kind 2 lacks its issuer or its id"},
		{"certificate without a name", Command{Principal: Principal{Kind: Certificate, Issuer: "i"}}, "principal of kind 3 lacks its issuer or its id"},
		{"key twice", Command{Ops: []Op{put("b", ""), put("a", ""), del("b")}}, `key "b" has two operations`},
		{"delete with a value", Command{Ops: []Op{{Kind: Delete, Key: "a", Value: []byte("x")}}}, "carries a value"},
		{"subtree without its slash", Command{Ops: []Op{{Kind: DeleteTree, Key: "a"}}}, "starts or ends with a slash"},
		{"subtree with a value", Command{Ops: []Op{{Kind: DeleteTree, Key: "a/", ContentType: "text/plain"}}}, "carries a value"},
		{"key in a subtree", Command{Ops: []Op{put("a/b", ""), {Kind: DeleteTree, Key: "a/"}}}, `it is below "a/"`},
		{"subtree in a subtree", Command{Ops: []Op{{Kind: DeleteTree, Key: ""}, {Kind: DeleteTree, Key: "a/"}}}, `it is below ""`},
		{"subtree twice", Command{Ops: []Op{{Kind: DeleteTree, Key: "a/"}, {Kind: DeleteTree, Key: "a/"}}}, "two operations"},
		{"unknown operation", Command{Ops: []Op{{Kind: 99, Key: "a"}}}, "operation of unknown kind 99"},
		{"unknown compare", Command{Compares: []Compare{{Key: "a"}}}, "compare of unknown kind 0"},
		{"revision not asked for", Command{Compares: []Compare{{Kind: KeyExists, Key: "a", Revision: 1}}}, "does not ask for one"},
		{"bad key", Command{Ops: []Op{put("a//b", "")}}, "has an empty segment"},
		{"idempotency key at the limit", Command{Idempotency: Idempotency{Key: strings.Repeat("x", MaxIdempotencyKeyBytes)}}, ""},
		{"idempotency key too long", Command{Idempotency: Idempotency{Key: strings.Repeat("x", MaxIdempotencyKeyBytes+1)}}, "idempotency key: 256, at most 255"},
		{"request without its key", Command{Idempotency: Idempotency{Request: [32]byte{1}}}, "without an idempotency key"},
		{"only if done without a key", Command{Idempotency: Idempotency{OnlyIfDone: true}}, "without an idempotency key"},
		{"else without a compare", Command{Else: []Op{del("a")}}, "but no compare"},
		{"key in both branches", Command{Compares: compares[:1], Ops: []Op{del("a")}, Else: []Op{del("a")}}, ""},
		{"key twice in the other branch", Command{Compares: compares[:1], Else: []Op{del("a"), del("a")}}, `key "a" has two operations`},
		{"too many operations in the other branch", Command{Compares: compares[:1], Else: many(MaxTxnOps + 1)}, "operations of the transaction: 513"},
		{"value not asked for", Command{Compares: []Compare{{Kind: KeyExists, Key: "a", Value: []byte("x")}}}, "has a value but does not ask for one"},
		{"restore with a value", Command{Ops: []Op{{Kind: Restore, Key: "a", Value: []byte("x")}}}, "carries a value"},
		{"revision of a put", Command{Ops: []Op{{Kind: Put, Key: "a", Revision: 1}}}, "does not restore one"},
		{"key in a subtree to restore", Command{Ops: []Op{restore("a/", 1), put("a/b", "")}}, `it is below "a/"`},
		{"key beside a subtree to restore", Command{Ops: []Op{restore("a/", 1), restore("a", 1)}}, ""},
		{"maintenance", goldenMaintenance, ""},
		{"maintenance and more", Command{Maintenance: goldenMaintenance.Maintenance, Ops: []Op{del("a")}}, "maintenance, and more"},
		{"time that goes back", Command{Maintenance: &Maintenance{Elapsed: -1}}, "lets -1ns pass"},
		{"time that goes too fast", Command{Maintenance: &Maintenance{Elapsed: MaxElapsed + 1}}, "want at most 24h0m0s"},
		{"negative retention", Command{Maintenance: &Maintenance{KeepFor: -1}}, "negative"},
		{"negative versions", Command{Maintenance: &Maintenance{KeepVersions: -1}}, "negative"},
		{"bad key in a compare", Command{Compares: []Compare{{Kind: KeyExists, Key: "/a"}}}, "starts or ends with a slash"},
	} {
		_, err := c.cmd.Encode()
		if c.text == "" {
			assert.NoError(t, err, c.name)
		} else {
			assert.ErrorContains(t, err, c.text, c.name)
		}
	}
}

func TestZoneOfTheSourceIsLeftOut(t *testing.T) {
	c, err := Decode(encode(t, Command{Source: netip.MustParseAddr("fe80::1%eth0")}))
	require.NoError(t, err)
	assert.Equal(t, netip.MustParseAddr("fe80::1"), c.Source)
}

func TestValidateKey(t *testing.T) {
	deep := strings.TrimSuffix(strings.Repeat("a/", MaxKeyDepth), "/")
	for _, c := range []struct {
		name string
		key  string
		want error
	}{
		{"one segment", "a", nil},
		{"segments", "teams/payments/timeout-ms", nil},
		{"not ASCII", "größe/日本", nil},
		{"dots within", "a/...b/.c", nil},
		{"at the length", strings.Repeat("x", MaxKeyBytes), nil},
		{"at the depth", deep, nil},
		{"empty", "", ErrKeyEmpty},
		{"too long", strings.Repeat("x", MaxKeyBytes+1), ErrKeyTooLong},
		{"too deep", deep + "/a", ErrKeyTooDeep},
		{"leading slash", "/a", ErrKeySlash},
		{"trailing slash", "a/", ErrKeySlash},
		{"only a slash", "/", ErrKeySlash},
		{"empty segment", "a//b", ErrKeyEmptySegment},
		{"dot", "a/./b", ErrKeyDots},
		{"dot at the end", "a/.", ErrKeyDots},
		{"dots", "../a", ErrKeyDots},
		{"zero byte", "a\x00b", ErrKeyControl},
		{"newline", "a\nb", ErrKeyControl},
		{"delete", "a\x7fb", ErrKeyControl},
		{"control beyond ASCII", "a\u0085b", ErrKeyControl},
		{"invalid UTF-8", "a\xffb", ErrKeyUTF8},
	} {
		err := ValidateKey(c.key)
		if c.want == nil {
			require.NoError(t, err, c.name)
			require.NoError(t, ValidatePrefix(c.key+"/"), c.name)
			continue
		}
		require.ErrorIs(t, err, c.want, c.name)
		var typed *KeyError
		require.ErrorAs(t, err, &typed, c.name)
		assert.Equal(t, c.key, typed.Key, c.name)
	}
	require.NoError(t, ValidatePrefix(""))
	for _, prefix := range []string{"a", "/", "//", "a//", "../"} {
		require.Error(t, ValidatePrefix(prefix), prefix)
	}
	require.EqualError(t, ValidateKey(""), `fsm: key "" is empty`)
}
