package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckJSON(t *testing.T) {
	cases := []struct {
		name, text   string
		line, column int // 0: valid
		reason       string
	}{
		{name: "object", text: ` {"a":[1,-0.5e-3,true,false,null,"\u00e4\n"],"b":{}} `},
		{name: "nothing", text: "", line: 1, column: 1, reason: "text ends, want a value"},
		{name: "space only", text: " \n ", line: 2, column: 2, reason: "text ends, want a value"},
		{name: "word", text: "[true, nul]", line: 1, column: 8, reason: "'n' is not expected, want a value"},
		{name: "leading zero", text: "01", line: 1, column: 2, reason: "'1' is not expected, want the end"},
		{name: "bare point", text: "1.", line: 1, column: 3, reason: "text ends, want a digit"},
		{name: "plus", text: "+1", line: 1, column: 1, reason: "'+' is not expected, want a value"},
		{name: "trailing comma", text: "[1,\n]", line: 2, column: 1, reason: "']' is not expected, want a value"},
		{name: "missing comma", text: "[1 2]", line: 1, column: 4, reason: "'2' is not expected, want a comma or ']'"},
		{name: "name without quotes", text: "{a:1}", line: 1, column: 2, reason: "'a' is not expected, want a member name in quotes"},
		{name: "missing colon", text: `{"a" 1}`, line: 1, column: 6, reason: "'1' is not expected, want a colon"},
		{name: "open string", text: `"ab`, line: 1, column: 4, reason: "text ends, want the end of the string"},
		{name: "line break in a string", text: "\"ä\n\"", line: 1, column: 3, reason: "string holds the control character U+000A; write it as an escape"},
		{name: "bad escape", text: `"\x"`, line: 1, column: 3, reason: "'x' is not expected, want an escape"},
		{name: "short escape", text: `"\u12g4"`, line: 1, column: 6, reason: "'g' is not expected, want four hexadecimal digits"},
		{name: "two documents", text: "{} {}", line: 1, column: 4, reason: "'{' is not expected, want the end"},
		{name: "not UTF-8", text: "[\n\"ä\xff\"]", line: 2, column: 3, reason: "byte 0xff is not UTF-8"},
		{name: "too deep", text: strings.Repeat("[", MaxJSONDepth+2), line: 1, column: MaxJSONDepth + 2, reason: "value is nested more than 1000 deep"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			err := checkJSON([]byte(tc.text))
			if tc.line == 0 {
				require.Nil(t, err)
				return
			}
			require.NotNil(t, err)
			line, column := position([]byte(tc.text), err.offset)
			assert.Equal(t, tc.reason, err.reason)
			assert.Equal(t, []int{tc.line, tc.column}, []int{line, column})
		})
	}
}

// FuzzJSON holds the scanner against encoding/json.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e-3,true,null,"\u00e4\ud83d\ude00"]}`, `"\ud800"`, "[1,]", "1e", "{\"\xff\":1}", "-", "\ufeff1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if strings.Count(string(b), "[")+strings.Count(string(b), "{") > MaxJSONDepth {
			return // ours is stricter there
		}
		err := checkJSON(b)
		require.Equal(t, json.Valid(b) && utf8.Valid(b), err == nil, "%v", err)
		if err != nil {
			require.LessOrEqual(t, err.offset, len(b))
			position(b, err.offset)
			return
		}
		var want string
		if json.Unmarshal(b, &want) == nil && len(b) > 0 && b[0] == '"' {
			s := scanner{b: b}
			got, fault := s.unquote()
			if fault == nil { // half a surrogate pair is refused by ours only
				require.Equal(t, want, got)
				var again string
				require.NoError(t, json.Unmarshal(appendString(nil, got), &again))
				require.Equal(t, got, again)
			} else {
				require.Contains(t, want, "\ufffd")
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"path":"a/b","value":1,"revision":3}`))
	f.Add([]byte(`{"path":"a","value":"eA==","encoding":"base64","content_type":"text/plain"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		op, fault := parseRecord(line, target{}, 1<<20)
		if fault != nil {
			require.LessOrEqual(t, fault.offset, len(line))
			return
		}
		require.Empty(t, checkKey(op.Key))
		if isJSONType(op.ContentType) {
			require.Nil(t, checkJSON(op.Value))
		}
	})
}
