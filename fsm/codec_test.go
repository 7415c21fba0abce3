package fsm

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

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
	Compares: []Compare{
		{Kind: KeyExists, Key: "a"}, {Kind: KeyAbsent, Key: "b"}, {Kind: RevisionIs, Key: "c/d", Revision: 300},
	},
	Ops: []Op{
		{Kind: Put, Key: "c/d", Value: []byte("30"), ContentType: "application/json"},
		{Kind: Delete, Key: "a"},
		{Kind: DeleteTree, Key: "t/"},
	},
}

// The encoding is in logs on disk: it changes only together with its version.
func TestGoldenCommand(t *testing.T) {
	const path = "testdata/command_v1.hex"
	b := encode(t, goldenCommand)
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(hex.Dump(b)), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), hex.Dump(b))
	got, err := Decode(b)
	require.NoError(t, err)
	require.Equal(t, &goldenCommand, got)
}

var genText = func(limit int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.StringN(0, 20, limit).Draw(t, "text")
		return strings.ToValidUTF8(s, "")
	})
}

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
		cmp := Compare{Kind: rapid.SampledFrom([]CompareKind{KeyExists, KeyAbsent, RevisionIs}).Draw(t, "compare"), Key: genKey.Draw(t, "key")}
		if cmp.Kind == RevisionIs {
			cmp.Revision = Revision(rapid.Uint64().Draw(t, "revision"))
		}
		c.Compares = append(c.Compares, cmp)
	}
	for _, key := range rapid.SliceOfNDistinct(genKey, 0, 4, rapid.ID[string]).Draw(t, "keys") {
		op := del(key)
		if rapid.Bool().Draw(t, "put") {
			op = Op{
				Kind: Put, Key: key, ContentType: genText(MaxContentTypeBytes).Draw(t, "content type"),
				Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value"),
			}
		}
		c.Ops = append(c.Ops, op)
	}
	return c
})

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
	f.Add(encode(f, Command{}))
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			if len(b) > 0 && b[0] != commandVersion {
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
		{"newer version", edit(0, 2), ErrUnknownVersion},
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
		{"key twice", Command{Ops: []Op{put("b", ""), put("a", ""), del("b")}}, `key "b" has two operations`},
		{"delete with a value", Command{Ops: []Op{{Kind: Delete, Key: "a", Value: []byte("x")}}}, "carries a value"},
		{"subtree without its slash", Command{Ops: []Op{{Kind: DeleteTree, Key: "a"}}}, "starts or ends with a slash"},
		{"subtree with a value", Command{Ops: []Op{{Kind: DeleteTree, Key: "a/", ContentType: "text/plain"}}}, "carries a value"},
		{"key in a subtree", Command{Ops: []Op{put("a/b", ""), {Kind: DeleteTree, Key: "a/"}}}, `it is below "a/"`},
		{"subtree in a subtree", Command{Ops: []Op{{Kind: DeleteTree, Key: ""}, {Kind: DeleteTree, Key: "a/"}}}, `it is below ""`},
		{"subtree twice", Command{Ops: []Op{{Kind: DeleteTree, Key: "a/"}, {Kind: DeleteTree, Key: "a/"}}}, "two operations"},
		{"unknown operation", Command{Ops: []Op{{Kind: 7, Key: "a"}}}, "operation of unknown kind 7"},
		{"unknown compare", Command{Compares: []Compare{{Key: "a"}}}, "compare of unknown kind 0"},
		{"revision not asked for", Command{Compares: []Compare{{Kind: KeyExists, Key: "a", Revision: 1}}}, "does not ask for one"},
		{"bad key", Command{Ops: []Op{put("a//b", "")}}, "has an empty segment"},
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
